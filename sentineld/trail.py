"""Trail: an agent's latest scores, for forecasts; a value, part of the agent's state. Nothing decides by it.

One point is the highest score in one slot of effective time. At most ``MAX_POINTS`` points are kept, 6 bytes
each, and none that is older than ``span`` slots before the newest: the same points, in whatever pieces events
arrive.
"""

import struct
from collections.abc import Iterator

from msgspec import Struct

from sentineld.instant import SECOND_US

#: Points that are kept.
MAX_POINTS = 32
#: Where the activity score decides: minutes, over the last half hour.
ACTIVITY = (60, 32)
#: Where habits decide: hours with any activity, over the last four weeks.
LEARNED = (3600, 24 * 28)

#: The number of the slot, and the score in thousandths.
_POINT = struct.Struct("<IH")
_SIZE = _POINT.size
_THOUSANDTHS = 1000


def end_us(at_us: int, kind: tuple[int, int]) -> int:
    """Return the last instant of the slot in which ``at_us`` lies."""
    width = kind[0] * SECOND_US
    return (at_us // width + 1) * width - 1


class Trail(Struct, omit_defaults=True, gc=False):
    """Points in slots of ``width_s`` seconds: 6 bytes each in ``data``, oldest first."""

    width_s: int = 0
    data: bytes = b""

    def add(self, at_us: int, score: float, kind: tuple[int, int]) -> None:
        """Take note of a score (0..1) at an instant; ``kind`` is ``ACTIVITY`` or ``LEARNED``."""
        width, span = kind
        if width != self.width_s:
            self.width_s, self.data = width, b""
        slot, height = at_us // (width * SECOND_US), min(_THOUSANDTHS, int(score * _THOUSANDTHS))
        if not self.data:
            self.data = _POINT.pack(slot, height)
            return
        newest, highest = _POINT.unpack_from(self.data, len(self.data) - _SIZE)
        if slot <= newest:
            if slot == newest and height > highest:
                self.data = self.data[:-_SIZE] + _POINT.pack(slot, height)
            return
        data = self.data[-_SIZE * (MAX_POINTS - 1) :] + _POINT.pack(slot, height)
        while _POINT.unpack_from(data)[0] <= slot - span:
            data = data[_SIZE:]
        self.data = data

    def clear(self) -> None:
        """Forget everything."""
        self.data = b""

    def shift(self, delta_us: int) -> None:
        """Move all points in time, by whole slots."""
        slots = delta_us // (self.width_s * SECOND_US) if self.width_s else 0
        points = [(slot + slots, height) for slot, height in _POINT.iter_unpack(self.data)]
        self.data = b"".join(_POINT.pack(*point) for point in points if 0 <= point[0] < 1 << 32)

    def points(self) -> Iterator[tuple[float, float]]:
        """Yield pairs of (end of the slot in Unix seconds, score 0..1), oldest first."""
        for slot, height in _POINT.iter_unpack(self.data):
            yield float((slot + 1) * self.width_s), height / _THOUSANDTHS
