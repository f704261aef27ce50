"""Publisher: builds the state document and hands it to the state file.

In observe mode the publisher cannot publish a tier: what would have been stands under ``would``.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

from sentineld import clock
from sentineld.decision import decision_id
from sentineld.instant import SECOND_US, iso_ms
from sentineld.keys import SigningKey
from sentineld.published_file import MAX_BYTES, Replacement, publish
from sentineld.roster import OVERFLOW_ID
from sentineld.signed_document import compact_json, sign_body
from sentineld.state_file import CONTEXT
from sentineld.state_reader import StateReader
from sentineld.step import AgentState
from sentineld.version import __version__

#: A document that is valid for less is not worth publishing, microseconds.
_MIN_VALID_US = 10_000
#: An agent's tier, and its member of ``agents`` as JSON.
_Listed = tuple[int, str]


class Listable(Protocol):
    """Agents as the state file tells of them; ``edition`` is another number whenever it would say more."""

    edition: int

    def demoted(self) -> Iterator[tuple[str, AgentState]]:
        """Yield published id and state of every agent above tier 1, in the order of ids."""

    def known(self) -> Iterable[str]:
        """Return every published id; asked only where agents that are not listed get another tier than 1."""

    def changes(self, since: int) -> Sequence[tuple[str, AgentState | None]] | None:
        """Return who is published otherwise than with an edition (state None: not above tier 1).

        None: it is not known any more.
        """


class _Ahead(NamedTuple):
    """A document that was written ahead: its number and status, by what it was made and when, its file.

    ``listing`` is as ``Publisher._last``.
    """

    told: tuple[int, int, str]
    made_by: tuple[int, bool]
    listing: tuple[str, int, int]
    file: Replacement


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
    #: How far a catch-up is, and how the daemon steps back, where there is anything to tell.
    catching_up: Mapping[str, object] | None = None
    throttle: Mapping[str, object] | None = None
    #: Highest number of an override that was ever seen: readers refuse older ones.
    override_floor: int = 0
    mode = "enforce"
    #: Tier of everybody where there are too many agents to name them.
    _tier_for_all = 3
    #: What was said of an agent, and after which decision and since when, for only these change it.
    _entries: dict[str, tuple[int, int, _Listed]] = field(default_factory=dict)
    #: Who is listed, in the order of ids, what is said of each, and with which edition; None: all anew.
    _names: list[str] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _edition: int | None = None
    #: What is said of every known agent while it is at tier 1, where all are listed.
    _normal: dict[str, _Listed] = field(default_factory=dict)
    #: Whom the last document listed, as JSON, everybody else's tier, and when (boot time, milliseconds).
    _last: tuple[str, int, int] | None = None
    #: By what that listing was made: as long as it is the same, so is the listing.
    _made_by: tuple[int, bool] | None = None
    _ahead: _Ahead | None = None

    def publish_ahead(self, epoch: int, seq: int, status: str, agents: Listable) -> None:
        """Bring to the disk, in a thread, what ``publish`` will be called with; nobody sees it before.

        Raises ``OSError``. What is published at last may be something else: then this is thrown away.
        """
        self.withdraw()
        listing = (*self._list(agents), clock.boottime_ms())
        data = self._fitting(epoch, seq, status, *listing[:2])
        try:
            file = Replacement(self.path, data, group=self.group, is_ahead=True)
        except OSError:
            self._forget()
            raise
        made_by = agents.edition, self.is_restricting
        self._ahead = _Ahead((epoch, seq, status), made_by, listing, file)

    def withdraw(self) -> None:
        """Throw away what was written ahead, if anything was: it came to nothing."""
        if self._ahead is not None:
            self._ahead.file.discard()
            self._ahead = None
            self._forget()

    def _forget(self) -> None:
        # The decision that an entry was made after may become another one.
        self._entries, self._edition = {}, None

    def publish(self, epoch: int, seq: int, status: str, agents: Listable) -> None:
        """Write the state file atomically. Raises ``OSError``; the old file then stays.

        Cost: writing, and O(log n) for each agent that is published otherwise than before; O(n) where agents
        that are not listed get another tier than 1, for then all are listed.
        """
        made_by = agents.edition, self.is_restricting
        ahead, self._ahead = self._ahead, None
        if ahead is not None and (ahead.told, ahead.made_by) == ((epoch, seq, status), made_by):
            age_us = (clock.boottime_ms() - ahead.listing[2]) * 1000
            # On a disk that stalled, readers would get what is about to expire.
            if age_us < self.valid_for_us // 3:
                self._last = self._made_by = None
                ahead.file.release()
                self._last, self._made_by = ahead.listing, ahead.made_by
                return
        if ahead is not None:
            ahead.file.discard()
        if made_by != self._made_by or self._last is None:
            text, unlisted_tier = self._list(agents)
        else:
            text, unlisted_tier, _ = self._last
        self._last = self._made_by = None
        began_ms = clock.boottime_ms()
        self._write(epoch, seq, status, text, unlisted_tier)
        self._last, self._made_by = (text, unlisted_tier, began_ms), made_by

    def _list(self, agents: Listable) -> tuple[str, int]:
        """Return what is said of agents, as JSON, and the tier of the others."""
        if self._edition is None or self.is_restricting:
            return self._list_all(agents)
        changes = agents.changes(self._edition)
        if changes is None or any(name.startswith(OVERFLOW_ID) for name, _ in changes):
            return self._list_all(agents)
        names, texts = self._names, self._texts
        for name, state in changes:
            at = bisect_left(names, name)
            is_listed = at < len(names) and names[at] == name
            if state is None:
                del names[at : at + is_listed], texts[at : at + is_listed]
            else:
                names[at : at + is_listed], texts[at : at + is_listed] = [name], [_listed(name, state)[1]]
        self._edition = agents.edition
        return f"{{{','.join(texts)}}}", 1

    def _list_all(self, agents: Listable) -> tuple[str, int]:
        listed: dict[str, _Listed] = {}
        entries: dict[str, tuple[int, int, _Listed]] = {}
        unlisted_tier = self._lowest_unlisted_tier()
        for name, state in agents.demoted():
            entry = self._entries.get(name)
            if entry is None or entry[0] != state.decision_no or entry[1] != state.standing.since_us:
                entry = state.decision_no, state.standing.since_us, _listed(name, state)
            entries[name] = entry
            listed[name] = entry[2]
            if state.agent_id == OVERFLOW_ID and unlisted_tier is not None:
                # Whoever is not profiled for lack of room may be the one who does it.
                unlisted_tier = max(unlisted_tier, state.standing.effective_tier)
        self._entries = entries
        if unlisted_tier is not None and unlisted_tier > 1:
            former = self._normal
            # Only who is known now: an id that was taken from its owner must not be normal for that.
            self._normal = {
                name: former.get(name) or (1, f'{compact_json(name)}:{{"tier":1}}') for name in agents.known()
            }
            others = {name: item for name, item in self._normal.items() if name not in listed}
            listed = others | listed
        if self.is_restricting and unlisted_tier is not None:
            unlisted_tier = self._tier_for_all
            listed = {name: item for name, item in listed.items() if item[0] >= self._tier_for_all}
        texts = [text for _, text in listed.values()]
        self._edition = None
        if unlisted_tier in (None, 1) and not self.is_restricting:
            # From here on, only what changes is looked at.
            self._names, self._texts, self._edition = [*listed], texts, agents.edition
        return f"{{{','.join(texts)}}}", unlisted_tier or 1

    def repeat(self, epoch: int, seq: int, status: str) -> None:
        """Publish the last document again with another word and the present faults, but for no longer.

        Raises ``OSError``; nothing is written where there was none, or it has expired.
        """
        if self._last is None:
            return
        listed, unlisted_tier, began_ms = self._last
        until_ms = began_ms + self.valid_for_us // 1000
        if (until_ms - clock.boottime_ms()) * 1000 > _MIN_VALID_US:
            self._write(epoch, seq, status, listed, unlisted_tier, until_ms)

    def _write(
        self, epoch: int, seq: int, status: str, listed: str, unlisted_tier: int, until_ms: int = 0
    ) -> None:
        data = self._fitting(epoch, seq, status, listed, unlisted_tier, until_ms)
        publish(self.path, data, group=self.group)

    def _fitting(
        self, epoch: int, seq: int, status: str, listed: str, unlisted_tier: int, until_ms: int = 0
    ) -> bytes:
        data = self._encode(epoch, seq, status, listed, unlisted_tier, until_ms)
        if len(data) > MAX_BYTES:
            # A larger one restricts everybody instead of naming them.
            data = self._encode(epoch, seq, "degraded", "{}", self._tier_for_all, until_ms)
        return data

    def _lowest_unlisted_tier(self) -> int | None:
        return self.unlisted_tier

    def _encode(
        self, epoch: int, seq: int, status: str, listed: str, unlisted_tier: int, until_ms: int
    ) -> bytes:
        now, boottime_ms = clock.now_us(), clock.boottime_ms()
        # Repeated, it ends when it would have ended (since boot), however long this took.
        valid_us = max(1, until_ms - boottime_ms) * 1000 if until_ms else self.valid_for_us
        head = compact_json(
            {
                "schema": 1,
                "writer": f"sentineld/{__version__}",
                "epoch": epoch,
                "seq": seq,
                "mode": self.mode,
                "status": status,
                **({"faults": list(self.faults)} if self.faults else {}),
                **({"catching_up": self.catching_up} if self.catching_up else {}),
                **({"throttle": self.throttle} if self.throttle else {}),
                "isolation": self.isolation,
                "generated_at": iso_ms(now),
                "valid_until": iso_ms(now + valid_us),
                "boot_id": clock.boot_id(),
                "boottime_ms": boottime_ms,
                "valid_for_ms": valid_us // 1000,
                **({"override_floor": self.override_floor} if self.override_floor else {}),
                "unlisted_tier": unlisted_tier,
            }
        )
        return sign_body(CONTEXT, f"{head[:-1]},{self._tiers(listed)}}}".encode("ascii"), self.key)

    def _tiers(self, listed: str) -> str:
        return f'"agents":{listed},"would":{{}}'


class ObservingPublisher(Publisher):
    """A publisher that has no way to name an agent's tier: it says what would have been."""

    mode = "observe"
    _tier_for_all = 1

    def _lowest_unlisted_tier(self) -> None:
        # Everybody is at tier 1, also who is not known.
        return None

    def _tiers(self, listed: str) -> str:
        return f'"agents":{{}},"would":{listed}'


def _listed(name: str, state: AgentState) -> _Listed:
    return state.standing.effective_tier, f"{compact_json(name)}:{entry(state)}"


def entry(state: AgentState) -> str:
    """Return what the state file says of one agent, as compact JSON."""
    # By hand: ten thousand agents may be demoted at once, and an encoder for each takes five times as long.
    standing = state.standing
    until = standing.pinned_until_us if standing.pinned_tier is not None else None
    return (
        f'{{"tier":{standing.effective_tier},"score":{round(float(state.decision_score), 6)!r},'
        f'"since":"{_since(standing.since_us)}",'
        f'"until":{"null" if until is None else compact_json(iso_ms(until))},'
        f'"decision":"{decision_id(state.decision_no)}","reason_code":{_quoted(state.reason_code)}}}'
    )


def _since(at_us: int) -> str:
    second, us = divmod(at_us, SECOND_US)
    return f"{_second(second)}.{us // 1000:03}Z"


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return compact_json(text)


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    return iso_ms(second * SECOND_US)[:-5]
