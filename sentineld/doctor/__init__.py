"""The doctor: what of this machine keeps sentineld from its work, each with its mending.

One topic a file, of equals: ``read`` looks at the world, ``check`` is a function of what was read and nothing
else. Nothing is changed, and no lock is held longer than to see who holds it.
"""

from collections.abc import Iterator

from sentineld.doctor import clock, daemon, directories, disk, inotify, keys, software, telemetry, unit
from sentineld.doctor.base import Examined, Finding

__all__ = ["Examined", "Finding", "examine"]


def examine(examined: Examined) -> Iterator[Finding]:
    """Yield what every check found, in the order in which one would mend it."""
    installed = software.read(examined.config)
    yield from software.check(installed)
    yield from directories.check(directories.read(examined))
    yield from telemetry.check(telemetry.read(examined))
    yield from inotify.check(inotify.read(examined))
    yield from disk.check(disk.read(examined))
    yield from clock.check(clock.read(examined))
    yield from keys.check(keys.read(examined))
    yield from unit.check(unit.read(examined))
    yield from daemon.check(daemon.read(examined))
    yield from software.check_extras(installed)
