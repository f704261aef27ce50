"""Shapes: functions for items of records whose objects have the same names.

Telemetry is alike: the same few sets of attributes come again and again, and most of what a mapping looks for
stands in none of them. So each shape that comes often gets a function of its own, with nothing in it that the
names of its objects answer already.

Only names that the mapping speaks of tell shapes apart. The number of functions is bounded, and so is what is
kept to count and to find shapes: whoever writes ever new ones gets the slower way, which does the same.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from sentineld.codegen import Place

#: Of so many items without a function one is looked at (to look takes as long as to read some), and how often
#: a shape has to be seen then to get one: to write it takes as long as to read a hundred.
EVERY, MIN_SEEN = 8, 4
#: Functions for shapes that one format can have.
MAX_MADE = 128
#: Shapes that are counted, and that are found by their names, at one place of a function.
_MAX_COUNTED, _MAX_FOUND = 512, 512
#: Shapes of outer items that are told apart at a time.
_MAX_OUTER = 64
#: Names of a shape that is kept, and characters of all of them.
_MAX_NAMES, _MAX_CHARACTERS = 128, 4096

#: The names of objects, each object's behind those of the one before it and a None.
Names: TypeAlias = tuple[str | None, ...]
Shape: TypeAlias = dict[Place, frozenset[str]]
Special: TypeAlias = Callable[..., None]


class Quota:
    """How many more functions may be made for one format."""

    def __init__(self) -> None:
        self.left = MAX_MADE


class Variants:
    """The variants of one function, by the names of the objects at some places.

    ``known`` are the names that the mapping speaks of, place by place; ``make`` writes a variant.
    """

    def __init__(
        self,
        places: Sequence[Place],
        known: Sequence[frozenset[str]],
        make: Callable[[Shape], Special],
        quota: Quota,
    ) -> None:
        self.places = places
        self._known = known
        self._make = make
        self._quota = quota
        self._made: dict[tuple[frozenset[str], ...], Special] = {}
        self._seen: dict[tuple[frozenset[str], ...], int] = {}

    @property
    def is_full(self) -> bool:
        """Whether there will be no further variants."""
        return self._quota.left <= 0

    def names(self, names: Names, start: int = 0) -> tuple[frozenset[str], ...]:
        """Return the names of objects that matter; ``start`` is the place of the first object."""
        return tuple(
            known.intersection(found)
            for known, found in zip(self._known[start:], _parted(names), strict=False)
        )

    def variant(self, shape: tuple[frozenset[str], ...]) -> Special | None:
        """Return the function for a shape, where it has one or has been seen often enough to get one."""
        found = self._made.get(shape)
        if found is not None or self.is_full:
            return found
        count = self._seen.pop(shape, 0) + 1
        if count < MIN_SEEN:
            if len(self._seen) >= _MAX_COUNTED:
                self._seen.clear()
            self._seen[shape] = count
            return None
        self._quota.left -= 1
        self._made[shape] = found = self._make(dict(zip(self.places, shape, strict=True)))
        return found


class Shapes(dict[Names, Special | None]):
    """Functions by the names of objects; ``outer`` are those that matter of objects around them."""

    def __init__(self, variants: Variants, outer: tuple[frozenset[str], ...] = ()) -> None:
        super().__init__()
        self._variants = variants
        self._outer = outer
        self._passed = 0

    def __missing__(self, names: Names) -> Special | None:
        """Count a shape; return the function for it, if it has one."""
        self._passed += 1
        if self._passed < EVERY:
            return None
        self._passed = 0
        variants = self._variants
        shape = (*self._outer, *variants.names(names, len(self._outer)))
        found = variants.variant(shape)
        if (found is not None or variants.is_full) and _is_kept(names):
            if len(self) >= _MAX_FOUND:
                self.clear()
            self[names] = found
        return found


class Parts(dict[int, Special]):
    """The parts of a function by their numbers, each written when it is first needed."""

    def __init__(self, make: Callable[[int], Special]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: int) -> Special:
        """Write a part."""
        self[number] = found = self._make(number)
        return found


class OuterShapes(dict[Names, Shapes]):
    """The shapes of inner items by the names of objects around them."""

    def __init__(self, variants: Variants) -> None:
        super().__init__()
        self._variants = variants

    def __missing__(self, names: Names) -> Shapes:
        """Begin a table of inner shapes."""
        found = Shapes(self._variants, self._variants.names(names))
        if _is_kept(names):
            if len(self) >= _MAX_OUTER:
                self.clear()
            self[names] = found
        return found


def _parted(names: Names) -> Iterator[list[str]]:
    part: list[str] = []
    for name in names:
        if name is None:
            yield part
            part = []
        else:
            part.append(name)
    yield part


def _is_kept(names: Names) -> bool:
    return len(names) <= _MAX_NAMES and sum(len(name) for name in names if name) <= _MAX_CHARACTERS


def names_of(place: Place, paths: Sequence[Place]) -> frozenset[str]:
    """Return which names of an object at a place paths ask for, as they stand or joined by dots."""
    base, above = place
    start = len(above)
    return frozenset(
        ".".join(names[start:end])
        for scope, names in paths
        if scope == base and names[:start] == above
        for end in range(start + 1, len(names) + 1)
    )
