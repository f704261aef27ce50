"""Publisher: builds the state document and hands it to the state file.

In observe mode the publisher cannot publish a tier: what would have been stands under ``would``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sentineld import clock
from sentineld.decision import decision_id
from sentineld.instant import iso_ms
from sentineld.state_file import SigningKey, encode_state, publish
from sentineld.step import AgentState
from sentineld.version import __version__

#: Largest state document; a larger one restricts everybody instead of naming them.
MAX_BYTES = 16 << 20


@dataclass(slots=True)
class Publisher:
    """Publishes to one path. ``valid_for_us`` is how long a reader may rely on a document."""

    path: str
    valid_for_us: int
    isolation: str
    key: SigningKey | None = None
    group: int | None = None
    mode = "enforce"
    #: Tier of everybody where there are too many agents to name them.
    _tier_for_all = 3
    #: What was said of an agent after which decision: only a decision changes it.
    _entries: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)

    def publish(self, epoch: int, seq: int, status: str, agents: Iterable[tuple[str, AgentState]]) -> None:
        """Write the state file atomically. Raises ``OSError``; the old file then stays."""
        listed = {name: self._entry(name, state) for name, state in agents}
        self._entries = {name: self._entries[name] for name in listed}
        data = encode_state(self._document(epoch, seq, status, listed), self.key)
        if len(data) > MAX_BYTES:
            document = self._document(epoch, seq, "degraded", {}) | {"unlisted_tier": self._tier_for_all}
            data = encode_state(document, self.key)
        publish(self.path, data, group=self.group)

    def _entry(self, name: str, state: AgentState) -> dict[str, Any]:
        known = self._entries.get(name)
        if known is None or known[0] != state.decision_no:
            known = self._entries[name] = (state.decision_no, entry(state))
        return known[1]

    def _document(self, epoch: int, seq: int, status: str, listed: dict[str, Any]) -> dict[str, Any]:
        now = clock.now_us()
        return {
            "schema": 1,
            "writer": f"sentineld/{__version__}",
            "epoch": epoch,
            "seq": seq,
            "mode": self.mode,
            "status": status,
            "isolation": self.isolation,
            "generated_at": iso_ms(now),
            "valid_until": iso_ms(now + self.valid_for_us),
            "boot_id": clock.boot_id(),
            "boottime_ms": clock.boottime_ms(),
            "valid_for_ms": self.valid_for_us // 1000,
            "unlisted_tier": 1,
            **self._tiers(listed),
        }

    def _tiers(self, listed: dict[str, Any]) -> dict[str, Any]:
        return {"agents": listed, "would": {}}


class ObservingPublisher(Publisher):
    """A publisher that has no way to name an agent's tier: it says what would have been."""

    mode = "observe"
    _tier_for_all = 1

    def _tiers(self, listed: dict[str, Any]) -> dict[str, Any]:
        return {"agents": {}, "would": listed}


def entry(state: AgentState) -> dict[str, Any]:
    """Return what the state file says of one agent."""
    standing = state.standing
    until = standing.pinned_until_us if standing.pinned_tier is not None else None
    return {
        "tier": standing.effective_tier,
        "score": round(state.decision_score, 6),
        "since": iso_ms(standing.since_us),
        "until": None if until is None else iso_ms(until),
        "decision": decision_id(state.decision_no),
        "reason_code": state.reason_code,
    }
