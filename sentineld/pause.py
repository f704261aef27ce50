"""Pause: how long a scan of all directories waits after the last one.

While the kernel tells of every change, scans find only what it cannot know of: what is written through a
mapping that stays open, or on another machine. With many files a scan takes long, so the next one waits
longer, up to a bound.
"""

#: A pause is this many times as long as the CPU time of the scan before it: 0.2 % of one core.
TIMES = 500
#: What a scan may take, CPU time, for which none is put off, microseconds.
CHEAP_US = 2_000
#: The longest pause that a scan gets for what it took, microseconds. What is new in a file may claim to be as
#: old as the last look at it: that must lie well inside of the window, where it makes no difference.
LONGEST_US = 60_000_000


def after_scan_us(interval_us: int, took_us: int) -> int:
    """Return the pause after a scan that took so much CPU time; never less than the interval."""
    if took_us <= CHEAP_US:
        return interval_us
    return max(interval_us, min(LONGEST_US, TIMES * took_us))
