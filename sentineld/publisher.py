"""Publisher: builds the state document and hands it to the state file.

In observe mode the publisher cannot publish a tier: what would have been stands under ``would``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentineld import clock
from sentineld.decision import decision_id
from sentineld.instant import iso_ms
from sentineld.keys import SigningKey
from sentineld.published_file import MAX_BYTES, publish
from sentineld.roster import OVERFLOW_ID
from sentineld.state_file import encode_state
from sentineld.state_reader import StateReader
from sentineld.step import AgentState
from sentineld.version import __version__

#: A document that is valid for less is not worth publishing, microseconds.
_MIN_VALID_US = 10_000
#: What is said of an agent at tier 1.
_NORMAL = {"tier": 1}


@dataclass(slots=True)
class Publisher:
    """Publishes to one path. ``valid_for_us`` is how long a reader may rely on a document."""

    path: str
    valid_for_us: int
    isolation: str
    key: SigningKey | None = None
    group: int | None = None
    #: What readers give to an agent that is not listed.
    unlisted_tier: int = 1
    #: The state file and the override beside it, as routers with the same configuration see them.
    reader: StateReader | None = None
    #: What does not work now, and whether everybody is restricted until it does.
    faults: Sequence[str] = ()
    is_restricting: bool = False
    mode = "enforce"
    #: Tier of everybody where there are too many agents to name them.
    _tier_for_all = 3
    #: What was said of an agent after which decision: only a decision changes it.
    _entries: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    #: What was published last: whom it listed, everybody else's tier, and when (boot time, milliseconds).
    _last: tuple[dict[str, dict[str, Any]], int, int] | None = None

    def publish(
        self,
        epoch: int,
        seq: int,
        status: str,
        agents: Iterable[tuple[str, AgentState]],
        known: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Write the state file atomically. Raises ``OSError``; the old file then stays.

        ``agents`` are those above tier 1; ``known`` gives the ids of all, and is asked only where agents that
        are not listed get another tier than 1: then all are listed.
        """
        listed: dict[str, dict[str, Any]] = {}
        unlisted_tier = self._lowest_unlisted_tier()
        for name, state in agents:
            listed[name] = self._entry(name, state)
            if state.agent_id == OVERFLOW_ID and unlisted_tier is not None:
                # Whoever is not profiled for lack of room may be the one who does it.
                unlisted_tier = max(unlisted_tier, state.standing.effective_tier)
        self._entries = {name: self._entries[name] for name in listed}
        if unlisted_tier is not None and unlisted_tier > 1:
            listed = dict.fromkeys(known(), _NORMAL) | listed
        if self.is_restricting and unlisted_tier is not None:
            unlisted_tier = self._tier_for_all
            listed = {name: item for name, item in listed.items() if item["tier"] >= unlisted_tier}
        self._last = None
        self._write(epoch, seq, status, listed, unlisted_tier or 1)
        self._last = (listed, unlisted_tier or 1, clock.boottime_ms())

    def repeat(self, epoch: int, seq: int, status: str) -> None:
        """Publish the last document again with another word and the present faults, but for no longer.

        Raises ``OSError``; nothing is written where there was none, or it has expired.
        """
        if self._last is None:
            return
        listed, unlisted_tier, began_ms = self._last
        left_us = self.valid_for_us - (clock.boottime_ms() - began_ms) * 1000
        if left_us > _MIN_VALID_US:
            self._write(epoch, seq, status, listed, unlisted_tier, left_us)

    def _write(
        self, epoch: int, seq: int, status: str, listed: dict[str, Any], unlisted_tier: int, valid_us: int = 0
    ) -> None:
        valid_us = valid_us or self.valid_for_us
        data = encode_state(self._document(epoch, seq, status, listed, unlisted_tier, valid_us), self.key)
        if len(data) > MAX_BYTES:
            # A larger one restricts everybody instead of naming them.
            document = self._document(epoch, seq, "degraded", {}, self._tier_for_all, valid_us)
            data = encode_state(document, self.key)
        publish(self.path, data, group=self.group)

    def _entry(self, name: str, state: AgentState) -> dict[str, Any]:
        known = self._entries.get(name)
        if known is None or known[0] != state.decision_no:
            known = self._entries[name] = (state.decision_no, entry(state))
        return known[1]

    def _lowest_unlisted_tier(self) -> int | None:
        return self.unlisted_tier

    def _document(
        self, epoch: int, seq: int, status: str, listed: dict[str, Any], unlisted_tier: int, valid_us: int
    ) -> dict[str, Any]:
        now = clock.now_us()
        return {
            "schema": 1,
            "writer": f"sentineld/{__version__}",
            "epoch": epoch,
            "seq": seq,
            "mode": self.mode,
            "status": status,
            **({"faults": list(self.faults)} if self.faults else {}),
            "isolation": self.isolation,
            "generated_at": iso_ms(now),
            "valid_until": iso_ms(now + valid_us),
            "boot_id": clock.boot_id(),
            "boottime_ms": clock.boottime_ms(),
            "valid_for_ms": valid_us // 1000,
            "unlisted_tier": unlisted_tier,
            **self._tiers(listed),
        }

    def _tiers(self, listed: dict[str, Any]) -> dict[str, Any]:
        return {"agents": listed, "would": {}}


class ObservingPublisher(Publisher):
    """A publisher that has no way to name an agent's tier: it says what would have been."""

    mode = "observe"
    _tier_for_all = 1

    def _lowest_unlisted_tier(self) -> None:
        # Everybody is at tier 1, also who is not known.
        return None

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
