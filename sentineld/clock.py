"""The clocks: the only module that reads one. Everything below the edges takes time as an argument."""

import time
from functools import cache


def now_us() -> int:
    """Wall clock, microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Microseconds of CLOCK_MONOTONIC, for schedules: nobody can set this clock."""
    return time.monotonic_ns() // 1000


def thread_us() -> int:
    """CPU time of the calling thread, microseconds: what it took, however busy the machine is."""
    return time.thread_time_ns() // 1000


def boottime_ms() -> int:
    """Milliseconds since boot, suspend included (CLOCK_BOOTTIME); no one can set this clock back."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


#: A smaller step of the wall clock is taken as it comes: windows are wide enough for it, microseconds.
MIN_STEP_US = 60_000_000


class Steps:
    """Finds out that somebody set the wall clock; suspend is no step, for it passes on both clocks."""

    def __init__(self) -> None:
        self._offset_us = now_us() - boottime_ms() * 1000

    def take(self) -> int:
        """Return by how much the wall clock was set since the last call, microseconds; 0 below 60 s."""
        offset_us = now_us() - boottime_ms() * 1000
        step_us, self._offset_us = offset_us - self._offset_us, offset_us
        return step_us if abs(step_us) >= MIN_STEP_US else 0


@cache
def boot_id() -> str:
    """Name this boot (``/proc/sys/kernel/random/boot_id``); empty where the kernel does not tell."""
    try:
        # Not by pathlib, which takes as long to import as a small router.
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
