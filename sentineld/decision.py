"""Decisions: an agent's tier changed, why, and on which evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Why a tier changed. New words may be added; readers must accept unknown ones.
CAUSES = (
    "detected",
    "rule",
    "recovered",
    "pardoned",
    "pinned",
    "unpinned",
    "expired",
    "identity",
    "telemetry_gap",
    "tamper",
    "flood",
    "gate_bypassed",
    "damaged",
    "unreadable",
    "frozen",
    "unfrozen",
    "reset",
    "imported",
    "renamed",
    "retired",
    "erased",
    "mended",
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature's part in a decision.

    ``observed`` and ``expected`` are in the feature's own unit; ``expected`` is the largest value that
    would have kept the agent at its former tier with everything else unchanged, None where no value of
    this feature alone would have changed anything. ``bits`` is the surprise in bits where the detector
    makes a statistical claim, else 0.
    """

    detector: str
    feature: str
    observed: float
    expected: float | None
    bits: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """One record that was seen: file, byte offset of its line (element number in a ``.json`` array)."""

    path: str
    offset: int
    event_id: str
    summary: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of one agent's tier.

    ``decision_no`` is dense and unique over the life of a database; ``decided_at`` is effective time
    (ISO 8601 UTC); ``prior_version`` names the immutable inputs (thresholds, habits) that were in force.
    ``actor`` and ``note`` are set where an operator asked for it, ``attack`` where the operator confirmed
    that the evidence was an attack. ``role`` is set, and ``agent_id`` empty, where something was done to the
    habits of a role; then no tier changes. Where habits decided, ``p`` is the session's p-value (None
    elsewhere), and ``bound`` says which share of honest sessions or weeks ends like this.
    """

    decision_no: int
    decision_id: str
    agent_id: str
    from_tier: int
    to_tier: int
    score: float
    decided_at: str
    cause: str
    prior_version: str
    reasons: list[Reason] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    actor: str = ""
    note: str = ""
    attack: bool = False
    p: float | None = None
    bound: str = ""
    role: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        # By hand: what walks over dataclasses by itself copies each value, and takes twenty times as long.
        return {
            "decision_no": self.decision_no,
            "decision_id": self.decision_id,
            "agent_id": self.agent_id,
            "from_tier": self.from_tier,
            "to_tier": self.to_tier,
            "score": self.score,
            "decided_at": self.decided_at,
            "cause": self.cause,
            "prior_version": self.prior_version,
            "reasons": [
                {
                    "detector": reason.detector,
                    "feature": reason.feature,
                    "observed": reason.observed,
                    "expected": reason.expected,
                    "bits": reason.bits,
                }
                for reason in self.reasons
            ],
            "evidence": [
                {
                    "path": item.path,
                    "offset": item.offset,
                    "event_id": item.event_id,
                    "summary": item.summary,
                }
                for item in self.evidence
            ],
            "actor": self.actor,
            "note": self.note,
            "attack": self.attack,
            "p": self.p,
            "bound": self.bound,
            "role": self.role,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Decision":
        """Read what ``to_dict`` gave; unknown members are ignored, missing ones are a ``KeyError``."""
        return cls(
            decision_no=data["decision_no"],
            decision_id=data["decision_id"],
            agent_id=data["agent_id"],
            from_tier=data["from_tier"],
            to_tier=data["to_tier"],
            score=data["score"],
            decided_at=data["decided_at"],
            cause=data["cause"],
            prior_version=data["prior_version"],
            reasons=[
                Reason(r["detector"], r["feature"], r["observed"], r["expected"], r["bits"])
                for r in data["reasons"]
            ],
            evidence=[
                Evidence(e["path"], e["offset"], e["event_id"], e["summary"]) for e in data["evidence"]
            ],
            actor=data.get("actor", ""),
            note=data.get("note", ""),
            attack=data.get("attack", False),
            p=data.get("p"),
            bound=data.get("bound", ""),
            role=data.get("role"),
        )


def decision_id(decision_no: int) -> str:
    """Name a decision by its number: ``d-000193``."""
    return f"d-{decision_no:06d}"
