"""The clock: synchronised, and not behind what it is compared with."""

import ctypes
from collections.abc import Iterator
from typing import NamedTuple

from sentineld.doctor.base import FIX, NOTE, OK, Examined, Finding, below
from sentineld.errors import SentineldError
from sentineld.instant import SECOND_US, iso
from sentineld.views import look_at_state

#: How far ahead of the clock a file may be: file systems and machines round.
_SLACK_US = 2 * SECOND_US
#: adjtimex(2): what it returns where the clock is not synchronised, and bytes enough for its structure.
_TIME_ERROR, _TIMEX_BYTES = 5, 512


class Reading(NamedTuple):
    """Microseconds since the epoch: now, the newest telemetry file, the state file's own time (0: none).

    ``is_synchronised`` is None where the kernel does not tell.
    """

    now_us: int
    is_synchronised: bool | None
    newest_us: int
    newest_path: str
    published_us: int


def read(examined: Examined) -> Reading:
    """Ask the kernel, and compare with files."""
    newest = max(
        ((item.mtime_s, item.path) for item in below(examined.directories) if not item.is_directory),
        default=(0.0, ""),
    )
    try:
        view = look_at_state(examined.config, examined.paths, examined.env).view
    except SentineldError:
        view = None
    return Reading(
        examined.now_us,
        _is_synchronised(),
        round(newest[0] * SECOND_US),
        newest[1],
        0 if view is None else view.generated_at_us,
    )


def check(reading: Reading) -> Iterator[Finding]:
    """Find a clock that is behind."""
    behind_us = reading.newest_us - reading.now_us
    if behind_us > _SLACK_US:
        yield Finding(
            "clock",
            FIX,
            f"{behind_us // SECOND_US} s behind the newest telemetry, {reading.newest_path}",
            "set the clock of this machine, or of the one that writes: timedatectl",
        )
    if reading.published_us - reading.now_us > _SLACK_US:
        yield Finding(
            "clock",
            FIX,
            f"the state file was written at {iso(reading.published_us)}, and that is yet to come",
            "set the clock, then restart the daemon: timedatectl",
        )
    if reading.is_synchronised is False:
        yield Finding(
            "clock",
            NOTE,
            "nothing synchronises it (a container or virtual machine may be set from outside)",
            "timedatectl set-ntp true",
        )
    elif max(behind_us, reading.published_us - reading.now_us) <= _SLACK_US:
        known = "synchronised" if reading.is_synchronised else "the kernel does not tell if synchronised"
        yield Finding("clock", OK, known)


def _is_synchronised() -> bool | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)
