"""Places: reading, writing or deleting outside of the tree that the session works in, where none ever did.

Formula, source and memory: as ``sink``. The tree is that of the session's first path of work; scratch
directories do not count. How many places were read and how often something was deleted are grades: bits by
how rarely sessions reach so many. Range: 0 to about 12 bits.
Known false alarms: a second checkout, a new data disk, a clean-up that a user asked for.
"""

from typing import TypeAlias

from sentineld.detectors.base import GRAVE, NOTABLE, SERIOUS, SLIGHT, Detector, Kind
from sentineld.event import Feature
from sentineld.features.paths import place_in, root_of, traits
from sentineld.session import Session

Features: TypeAlias = tuple[Feature, ...]

#: Places and deletions from which on their number is a grade.
_MANY_PLACES, _MANY_DELETES = 3, 1
_MAX_TAKEN = 64


def _read(session: Session, value: str) -> Features:
    """Yield features of both detectors: where a path is, is asked once."""
    place = _place(session, value)
    if not place or place == "tmp":
        return ()
    taken, feature = session.taken, (f"take.{_kind_of(place)}", place)
    if place in taken or len(taken) >= _MAX_TAKEN:
        return (feature,)
    taken[place] = 1
    return (feature, ("take.many", str(len(taken).bit_length()))) if len(taken) > _MANY_PLACES else (feature,)


def _written(session: Session, value: str) -> Features:
    place = _place(session, value)
    if place == "tmp":
        return ()
    path = traits(value)
    if not place:
        return (("write.hidden", path.hidden),) if path.hidden else ()
    kind = "home" if path.is_own_work else _kind_of(place)
    return (("write.place" if kind == "home" else f"write.{kind}", place),)


def _deleted(session: Session, value: str) -> Features:
    place = _place(session, value)
    if place:
        return (("delete.place", place),) if place != "tmp" else ()
    hidden = traits(value).hidden
    return (("write.hidden", hidden),) if hidden else ()


def _touched(session: Session, value: str) -> Features:
    place = _place(session, value)
    return (("run.place", place),) if place and place != "tmp" else ()


def _copied(session: Session, value: str) -> Features:
    place = _place(session, value)
    return (("copy.place", place),) if place and place != "tmp" else ()


def _place(session: Session, value: str) -> str:
    if not session.root:
        session.root = root_of(value)
    return place_in(session.root, value)


def _kind_of(place: str) -> str:
    return "dot" if place.startswith("~/.") else "home" if place[0] in "~." else "system"


PLACE = Detector(
    "place",
    {
        "delete.place": "something is deleted outside of the session's tree, where none has deleted",
        "write.system": "something is written into the system, where none has written",
        "write.dot": "settings of the user are written that none has written",
        "write.place": "something is written outside of the session's tree, where none has written",
        "write.hidden": "a hidden directory of the tree is written that none has written",
        "copy.place": "something outside of the tree is copied, moved or packed, where none ever was",
        "run.place": "a program works on a place outside of the session's tree that none has worked on",
        "take.user": "what the user sees, says or has copied is taken in a way that none has used",
        "take.system": "a part of the system is read that none has read",
        "take.dot": "settings of the user are read that none has read",
        "take.home": "a place outside of the session's tree is read that none has read",
    },
    {
        "delete.place": GRAVE,
        "write.system": GRAVE,
        "write.dot": SERIOUS,
        "copy.place": SERIOUS,
        "run.place": NOTABLE,
        "take.user": GRAVE,
        "take.system": SERIOUS,
        "write.place": NOTABLE,
        "take.dot": NOTABLE,
        "take.home": NOTABLE,
        "write.hidden": SLIGHT,
    },
    reads={"path.source": _read, "path.sink": _written, "path.setting": _written, "path.delete": _deleted}
    | {"path.touched": _touched, "path.copied": _copied},
    groups={"write.hidden": "later", "write.dot": "later"},
)


def _count_deletes(session: Session, _value: str) -> Features:
    session.deletes += 1
    if session.deletes <= _MANY_DELETES:
        return ()
    return (("delete.many", str(session.deletes.bit_length())),)


SCOPE = Detector(
    "scope",
    {
        "take.many": "so many places outside of the session's tree are read",
        "delete.many": "so many times something is deleted",
    },
    {"take.many": GRAVE, "delete.many": SERIOUS},
    Kind.GRADE,
    reads={"deletes": _count_deletes},
    groups={"take.many": "take.many", "delete.many": "delete.many"},
)
