"""Places: reading, writing or deleting outside of the tree that the session works in, where none ever did.

Formula, source and memory: as ``sink``. The tree is that of the session's first path of work; scratch
directories do not count. How many places were read and how often something was deleted are grades: bits by
how rarely sessions reach so many.
Known false alarms: a second checkout, a new data disk, a clean-up that a user asked for.
"""

from collections.abc import Iterator

from sentineld.detectors.base import GRAVE, NOTABLE, SERIOUS, SLIGHT, Detector, Kind
from sentineld.event import Facts, Feature
from sentineld.features.paths import hidden, is_own_work, place_of, root_of
from sentineld.session import Session

#: Places and deletions from which on their number is a grade.
_MANY_PLACES, _MANY_DELETES = 3, 1
_MAX_TAKEN = 64


def _derive(session: Session, facts: Facts, _at_us: int) -> Iterator[Feature]:
    for name, path in facts.features:
        if name not in _PATHS:
            continue
        if not session.root:
            session.root = root_of(path)
        place = place_of(path, session.root)
        if place == "tmp":
            continue
        if name == "path.source":
            if place:
                yield Feature(_kind_of(place, "take"), place)
                if len(session.taken) < _MAX_TAKEN:
                    session.taken.setdefault(place, 1)
        elif not place:
            part = hidden(path)
            if part:
                yield Feature("write.hidden", part)
        elif name == "path.delete":
            yield Feature("delete.place", place)
        elif is_own_work(path):
            yield Feature("write.place", place)
        else:
            what = _kind_of(place, "write")
            yield Feature("write.place" if what == "write.home" else what, place)


def _derive_grades(session: Session, facts: Facts, _at_us: int) -> Iterator[Feature]:
    places = len(session.taken)
    if places > _MANY_PLACES:
        yield Feature("take.many", str(places.bit_length()))
    if any(name == "deletes" for name, _ in facts.features):
        session.deletes += 1
        if session.deletes > _MANY_DELETES:
            yield Feature("delete.many", str(session.deletes.bit_length()))


def _kind_of(place: str, what: str) -> str:
    return f"{what}.dot" if place.startswith("~/.") else f"{what}.home" if place[0] in "~." else f"{what}.system"


_PATHS = frozenset({"path.source", "path.sink", "path.delete"})

PLACE = Detector(
    "place",
    {
        "delete.place": "something is deleted outside of the session's tree, where none has deleted",
        "write.system": "something is written into the system, where none has written",
        "write.dot": "settings of the user are written that none has written",
        "write.place": "something is written outside of the session's tree, where none has written",
        "write.hidden": "a hidden directory of the tree is written that none has written",
        "take.system": "a part of the system is read that none has read",
        "take.dot": "settings of the user are read that none has read",
        "take.home": "a place outside of the session's tree is read that none has read",
    },
    {
        "delete.place": GRAVE,
        "write.system": GRAVE,
        "write.dot": SERIOUS,
        "take.system": SERIOUS,
        "write.place": NOTABLE,
        "take.dot": NOTABLE,
        "take.home": NOTABLE,
        "write.hidden": SLIGHT,
    },
    derive=_derive,
    groups={"write.hidden": "later", "write.dot": "later"},
)

SCOPE = Detector(
    "scope",
    {
        "take.many": "so many places outside of the session's tree are read",
        "delete.many": "so many times something is deleted",
    },
    {"take.many": GRAVE, "delete.many": SERIOUS},
    Kind.GRADE,
    _derive_grades,
    groups={"take.many": "take.many", "delete.many": "delete.many"},
)
