"""Events: what an agent did, as the library shows it and as the pipeline moves it.

``BehavioralEvent`` is the public form, one object an event. Inside the pipeline an event is an
``Observation``: a plain tuple, because millions of them pass between stages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from sentineld.clock import now_us
from sentineld.instant import iso

FILE_OPERATIONS = frozenset({"file_read", "file_write", "file_create", "file_delete"})
NETWORK_OPERATIONS = frozenset({"network_request", "network_response", "api_call"})

#: Every event class; an ``event_type`` outside of this set belongs to the class ``other``.
EVENT_CLASSES = (
    *sorted(FILE_OPERATIONS),
    *sorted(NETWORK_OPERATIONS),
    "shell_exec",
    "credential_access",
    "model_call",
    "agent_spawn",
    "approval",
    "plan",
    "error",
    "tool_call",
    "other",
)

#: Operation kinds that the activity score counts.
OTHER, FILE, NETWORK = 0, 1, 2

#: Kind of every counted event type; all others are ``OTHER``.
OPERATION_KIND: dict[str, int] = {
    **dict.fromkeys(FILE_OPERATIONS, FILE),
    **dict.fromkeys(NETWORK_OPERATIONS, NETWORK),
}

#: What became of a tool call, where telemetry tells: it worked, it failed, the user refused it.
OK, ERROR, REFUSED = "ok", "error", "refused"
OUTCOMES = (OK, ERROR, REFUSED)

#: Types of events that are what a user said to an agent: nothing that the agent did. Of class ``other``.
PROMPTS = frozenset({"prompt", "user_prompt"})

_CLASSES = frozenset(EVENT_CLASSES)


def event_class(event_type: str) -> str:
    """Name the class that an event type belongs to: itself where it is known, else ``other``."""
    return event_type if event_type in _CLASSES else "other"


class Entity(NamedTuple):
    """What an event touches: ``kind`` is path, host, recipient or account; ``role`` is source or sink."""

    kind: str
    role: str
    value: str


#: One thing that an event does, as habits count it: in which respect (a name of ``sentineld.features``), and
#: what: ``("out.host", "api.example.com")``. A plain tuple, because an event has a dozen of them.
Feature: TypeAlias = tuple[str, str]


class Facts(NamedTuple):
    """What a record tells of an event beside its type: what detectors judge by.

    ``call_id`` joins a tool's call and its result; ``outcome`` is one of ``OUTCOMES`` or empty;
    ``duration_ms`` is in milliseconds, tokens are counts (None: not told). ``features`` are there where
    learned detection decides. ``asked`` are hashes of what a user's prompt names (``features.intent``).
    """

    tool: str = ""
    role: str = ""
    call_id: str = ""
    outcome: str = ""
    entities: tuple[Entity, ...] = ()
    duration_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    session: str = ""
    features: tuple[Feature, ...] = ()
    asked: tuple[int, ...] = ()


#: ``(at_us, kind, entropy_units, event_type, source_id, offset, facts)``. ``at_us`` is effective time;
#: ``entropy_units`` are billionths (0..10**9); source and offset say where the record stands; ``facts`` are
#: there where the record has any, and gone from what is kept as evidence.
Observation: TypeAlias = tuple[int, int, int, str, int, int, Facts | None]


@dataclass(frozen=True, slots=True)
class Tick:
    """The passing of time as an input: it is now ``at_us`` (microseconds since the epoch)."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Incident:
    """What was done to telemetry itself: evidence against the file's owner, never against the named agent.

    ``kind`` is one of ``sentineld.integrity.KINDS``. ``owner`` is the uid that is charged; ``source_id`` the
    file (0: none is known), ``path`` its name, ``start`` to ``end`` the bytes concerned (both 0: the whole).
    ``at_us`` is when it was found, microseconds; ``count`` how many alike are told in one.
    """

    at_us: int
    kind: str
    owner: int
    source_id: int
    path: str
    start: int
    end: int
    detail: str
    count: int = 1


@dataclass(slots=True)
class BehavioralEvent:
    """One thing that one agent did.

    ``entropy`` is 0..1 (see ``sentineld.entropy``), ``timestamp`` ISO 8601 UTC as claimed by the
    record, ``metadata`` the record's payload.
    """

    event_id: str
    agent_id: str
    event_type: str
    entropy: float = 0.0
    timestamp: str = field(default_factory=lambda: iso(now_us()))
    metadata: dict[str, Any] = field(default_factory=dict)

    def calculate_entropy(self) -> float:
        """Store and return the entropy of the metadata, 0..1; empty metadata is 0."""
        # Imported here: this module is vocabulary and loads in a router, which needs no numpy.
        from sentineld.entropy import metadata_entropy

        self.entropy = metadata_entropy(self.metadata)
        return self.entropy

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, from which ``from_dict`` makes an equal event."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "BehavioralEvent":
        """Read what ``to_dict`` gave; unknown members are ignored, the first three are required."""
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})
