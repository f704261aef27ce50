"""Integrity: what may be done to telemetry besides appending, and what each of it is worth as evidence.

Telemetry is written by those who are judged by it. Whoever destroys it unread, rewrites it, or writes under
another's name is told by an ``Incident``; the tier that an incident calls for depends on its class alone, and
the classes' tiers are configured (``[integrity]``). Tier 1 means: recorded, and nothing follows.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of incident: the class that decides its tier, and what happened, as a sentence."""

    family: str
    sentence: str


#: Every kind of incident.
KINDS: dict[str, Kind] = {
    "gap": Kind("gap", "bytes were removed before they could be read"),
    "truncated": Kind("gap", "a file was cut; what stood behind the last read byte is unknown"),
    "vanished": Kind("gap", "a file was written and removed before it could be read"),
    "unreadable": Kind("gap", "a file that was read before may not be read any more"),
    "rewritten": Kind("tamper", "bytes that had been read were changed"),
    "replaced_directory": Kind("tamper", "a watched directory was exchanged for another one"),
    "foreign_id": Kind("identity", "a record claims the id of an agent of another owner"),
    "id_conflict": Kind("note", "a record id was used again for other content"),
    "forged_id": Kind("forgery", "a record claims an id that the configuration gives to somebody else"),
    "gate_bypassed": Kind("bypass", "a call that the gate had denied was carried out all the same"),
    "too_many_agents": Kind("flood", "more agent ids than one owner may have"),
    "too_many_files": Kind("flood", "more files than one owner may have"),
    "seq_gap": Kind("gap", "numbers that an agent gives its own records are missing"),
    "seq_repeat": Kind("note", "an agent's own numbers came again, or went back"),
    "seq_end": Kind("note", "an agent that numbered its records in a file does so no more"),
    "too_many_denials": Kind("note", "more denials than are remembered for one owner; some were forgotten"),
    "line_too_long": Kind("note", "a line over the limit was skipped unread"),
    "internal_error": Kind("note", "a record was left out unjudged: sentineld itself fails on it"),
    "compressed": Kind("note", "a copy was compressed at once; it is not known whether all of it was read"),
    "missing": Kind(
        "note", "a file was gone when the daemon came back; it may not have been read to its end"
    ),
}

#: The ``cause`` of decisions by family.
CAUSES = {
    "gap": "telemetry_gap",
    "tamper": "tamper",
    "identity": "identity",
    "forgery": "identity",
    "flood": "flood",
    "bypass": "gate_bypassed",
    "note": "note",
}


@dataclass(frozen=True, slots=True)
class Charges:
    """The tier that each family of incidents calls for (1..3; 1: it is only recorded)."""

    gap: int = 2
    tamper: int = 3
    identity: int = 2
    forgery: int = 3
    flood: int = 3
    bypass: int = 3

    @property
    def version(self) -> str:
        """Name these tiers: equal ones have equal names."""
        return f"i{self.gap}{self.tamper}{self.identity}{self.forgery}{self.flood}{self.bypass}"

    def tier(self, kind: str) -> int:
        """Return the tier that an incident of this kind calls for."""
        family = KINDS[kind].family
        return 1 if family == "note" else int(getattr(self, family))
