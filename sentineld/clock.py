"""The clocks: the only module that reads one. Everything below the edges takes time as an argument."""

import time
from functools import cache
from pathlib import Path


def now_us() -> int:
    """Wall clock, microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Microseconds of CLOCK_MONOTONIC, for schedules: nobody can set this clock."""
    return time.monotonic_ns() // 1000


def boottime_ms() -> int:
    """Milliseconds since boot, suspend included (CLOCK_BOOTTIME); no one can set this clock back."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


@cache
def boot_id() -> str:
    """Name this boot (``/proc/sys/kernel/random/boot_id``); empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
