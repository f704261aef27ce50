"""Python and the libraries, and the optional ones that the configuration asks for."""

import sqlite3
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import NamedTuple

from sentineld import kernel
from sentineld.config import Config
from sentineld.doctor.base import FIX, NOTE, OK, Finding
from sentineld.version import __version__

#: What is always needed, and what extras bring: the distribution, and what it is good for.
_NEEDED = ("click", "msgspec", "numpy", "prometheus-client", "python-daemon", "structlog", "watchdog")
_EXTRAS = {
    "sign": ("cryptography", "keys that readers cannot sign with (Ed25519)"),
    "prognostics": ("statsmodels", "forecasts of scores"),
    "notify": ("apprise", "messengers that sentineld notify could tell"),
    "zstd": ("backports.zstd", "compressed rollouts (.jsonl.zst)"),
}
#: From this Python on, zstd is in the standard library.
_HAS_ZSTD = (3, 14)


class Reading(NamedTuple):
    """``versions`` of what is installed, by distribution; ``wanted`` are extras that the options ask for.

    ``kernel`` is ``compiled`` or ``reference`` (see ``sentineld.kernel``).
    """

    python: tuple[int, int, int]
    sqlite: str
    kernel: str
    versions: Mapping[str, str]
    wanted: frozenset[str]


def read(config: Config) -> Reading:
    """Look at what is installed."""
    versions = {}
    for name in (*_NEEDED, *(name for name, _ in _EXTRAS.values())):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    wanted = frozenset({"prognostics"} if config.prognostics.enabled else ())
    return Reading(sys.version_info[:3], sqlite3.sqlite_version, kernel.name(), versions, wanted)


def check(reading: Reading) -> Iterator[Finding]:
    """Say which versions there are, and which needed ones are missing."""
    found = ", ".join(f"{name} {reading.versions[name]}" for name in _NEEDED if name in reading.versions)
    python = ".".join(map(str, reading.python))
    yield Finding(
        "software", OK, f"sentineld {__version__}, Python {python}, SQLite {reading.sqlite}, {found}"
    )
    if reading.kernel == "compiled":
        yield Finding("software", OK, "the compiled kernel is in use")
    else:
        yield Finding(
            "software",
            NOTE,
            "without the compiled kernel: native telemetry is read at half the speed, with the same results",
            "pip install a wheel of sentineld for this system, or from source with a C compiler",
        )
    missing = [name for name in _NEEDED if name not in reading.versions]
    if missing:
        yield Finding(
            "software", FIX, f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )


def check_extras(reading: Reading) -> Iterator[Finding]:
    """Say which optional libraries are missing."""
    for extra, (name, use) in _EXTRAS.items():
        if name in reading.versions or (extra == "zstd" and reading.python >= _HAS_ZSTD):
            continue
        level = FIX if extra in reading.wanted else NOTE
        yield Finding("extras", level, f"without {name}: no {use}", f"pip install 'sentineld[{extra}]'")
