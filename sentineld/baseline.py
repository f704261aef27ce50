"""Baseline: learned habits as one JSON document that people can read and another machine can start with.

Values (hosts, paths, commands, arguments) stand in it as hashes of 64 bits; names of features, tools and
actions in plain text. A digest shows damage; it is no signature: whoever may import a document is trusted
with what it says.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sentineld.calibration import MAX_SCORES
from sentineld.habits import MAX_FEATURES, MAX_FOLLOWERS, MAX_ORDERS, MAX_VALUES, VERSION, Origin, Role
from sentineld.instant import iso
from sentineld.learned import Own

#: Version of the document: the value of ``sentineld_baseline``.
FORMAT: Literal[1] = 1
#: Size of a document, bytes.
MAX_BYTES = 8 << 20
#: Distinct actions, and grades of one feature.
_MAX_SYMBOLS, _MAX_GRADES = 16_384, 4096

_Count = Annotated[int, Meta(ge=0, le=1 << 53)]
_Positive = Annotated[int, Meta(ge=1, le=1 << 53)]
_Weight = Annotated[float, Meta(ge=0, le=1e12)]
_Score = Annotated[float, Meta(ge=-1e12, le=1e12)]
_Scores = Annotated[list[_Score], Meta(max_length=MAX_SCORES)]
_Name = Annotated[str, Meta(max_length=512)]
#: Several actions in a row.
_Context = Annotated[str, Meta(max_length=2048)]
_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
_Grades = Annotated[
    dict[
        _Name,
        Annotated[
            dict[Annotated[int, Meta(ge=-(1 << 31), le=1 << 31)], _Count], Meta(max_length=_MAX_GRADES)
        ],
    ],
    Meta(max_length=MAX_FEATURES),
]
_New = Annotated[dict[_Name, _Weight], Meta(max_length=4 * MAX_FEATURES)]


class RoleHabits(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What ``habits.Role`` knows; see there."""

    known: Annotated[dict[_Hash, _Positive], Meta(max_length=MAX_VALUES)]
    uses: Annotated[dict[_Name, tuple[_Positive, _Count, _Positive]], Meta(max_length=MAX_FEATURES)]
    new: _New
    weight: _Weight
    grades: _Grades
    order: Annotated[
        dict[_Context, Annotated[dict[_Name, _Positive], Meta(min_length=1, max_length=MAX_FOLLOWERS)]],
        Meta(max_length=MAX_ORDERS),
    ]
    symbols: Annotated[dict[_Name, _Positive], Meta(max_length=_MAX_SYMBOLS)]
    scores: _Scores
    tails: Annotated[dict[_Name, _Scores], Meta(max_length=256)]
    together: _Count
    #: Of each score, see ``calibration.Scored``; empty: nobody knows.
    strata: Annotated[
        list[tuple[_Score, _Score, Annotated[int, Meta(ge=0, le=2)]]], Meta(max_length=MAX_SCORES)
    ] = []
    #: How many events each session had; empty: nobody knows.
    lengths: Annotated[list[_Count], Meta(max_length=MAX_SCORES)] = []
    #: The starter that they began with, if they did.
    starter: Origin | None = None


class OwnHabits(Struct, forbid_unknown_fields=True, frozen=True):
    """What ``learned.Own`` knows; see there."""

    weight: _Weight
    new: _New
    grades: _Grades


class Baseline(Struct, forbid_unknown_fields=True, frozen=True):
    """The document. ``name`` is the role's or the agent's; times are ISO 8601, empty where nobody knows.

    ``sessions`` were learned from, the kept ones of them between ``first`` and ``last``, in telemetry of
    ``formats``.
    """

    sentineld_baseline: Literal[1]
    kind: Literal["role", "agent"]
    name: Annotated[str, Meta(max_length=512)]
    exported_at: Annotated[str, Meta(max_length=40)]
    writer: Annotated[str, Meta(max_length=80)]
    habits_version: Annotated[int, Meta(ge=1, le=1 << 31)]
    sessions: _Count
    first: Annotated[str, Meta(max_length=40)]
    last: Annotated[str, Meta(max_length=40)]
    formats: Annotated[list[Annotated[str, Meta(max_length=80)]], Meta(max_length=256)]
    role: RoleHabits | None = None
    own: OwnHabits | None = None
    digest: Annotated[str, Meta(max_length=64)] = ""


class Told(Struct, frozen=True):
    """What is said of a baseline beside the habits. Times are microseconds, 0 where nobody knows."""

    name: str
    exported_us: int
    writer: str
    first_us: int = 0
    last_us: int = 0
    formats: Sequence[str] = ()


def of_role(role: Role, told: Told) -> Baseline:
    """Return a role's habits as a document."""
    plain = _plain(role)
    for name in ("version", "is_frozen", "sessions"):
        del plain[name]
    plain["known"] = {f"{key:016x}": times for key, times in plain["known"].items()}
    return _sealed("role", told, role.sessions, role=msgspec.convert(plain, RoleHabits))


def of_agent(own: Own, told: Told) -> Baseline:
    """Return an agent's own habits as a document."""
    habits = OwnHabits(own.weight, dict(own.new), {name: dict(counts) for name, counts in own.grades.items()})
    return _sealed("agent", told, own.sessions, own=habits)


def read(data: bytes) -> Baseline:
    """Read and check a document. Raises ``ValueError`` that says what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"it is no JSON document: {error}") from error
    if not isinstance(plain, dict) or "sentineld_baseline" not in plain:
        raise ValueError("it is no baseline of sentineld: sentineld baseline export writes them")
    if plain["sentineld_baseline"] != FORMAT or plain.get("habits_version") != VERSION:
        raise ValueError(
            f"it has format {plain['sentineld_baseline']!r} with habits of version "
            f"{plain.get('habits_version')!r}; this program reads format {FORMAT} with version {VERSION}"
        )
    document = msgspec.convert(plain, Baseline, str_keys=True)
    check(document)
    return document


def check(document: Baseline) -> None:
    """Raise ``ValueError`` where a document contradicts itself or was changed since it was written."""
    if document.habits_version != VERSION:
        raise ValueError(f"habits of version {document.habits_version}, this program reads {VERSION}")
    if (document.role is None) != (document.kind == "agent") or (document.own is None) != (
        document.kind == "role"
    ):
        raise ValueError(f"a baseline of kind {document.kind} holds the habits of that kind alone")
    if document.digest != _digest(document):
        raise ValueError("it is damaged, or was changed by hand: its digest is not that of its content")
    if document.role is not None and any(
        once > values or values > all_ for all_, once, values in document.role.uses.values()
    ):
        raise ValueError("it counts more values than occurrences of a feature")


def role_of(document: Baseline) -> Role:
    """Return the habits of a document of the kind ``role``."""
    habits: dict[str, Any] = msgspec.to_builtins(document.role)
    known = {int(key, 16): times for key, times in habits["known"].items()}
    plain = {**habits, "version": 0, "is_frozen": False, "sessions": document.sessions, "known": known}
    return Role.load(b"%d:" % VERSION + msgspec.msgpack.encode(plain))


def own_of(document: Baseline) -> Own:
    """Return the habits of a document of the kind ``agent``."""
    assert document.own is not None
    own = document.own
    return Own(document.sessions, own.weight, dict(own.new), {k: dict(v) for k, v in own.grades.items()})


def encode(document: Baseline) -> bytes:
    """Return the document as JSON text, indented, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _sealed(
    kind: Literal["role", "agent"],
    told: Told,
    sessions: int,
    *,
    role: RoleHabits | None = None,
    own: OwnHabits | None = None,
) -> Baseline:
    document = Baseline(
        FORMAT,
        kind,
        told.name,
        iso(told.exported_us),
        told.writer,
        VERSION,
        sessions,
        iso(told.first_us) if told.first_us else "",
        iso(told.last_us) if told.last_us else "",
        sorted(told.formats),
        role,
        own,
    )
    return msgspec.structs.replace(document, digest=_digest(document))


def _digest(document: Baseline) -> str:
    plain = msgspec.to_builtins(msgspec.structs.replace(document, digest=""), str_keys=True)
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def _plain(role: Role) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.msgpack.decode(role.dump().partition(b":")[2], strict=False)
    return plain
