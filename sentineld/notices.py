"""Notices: which decisions are told, in which messages, to whom and when. Pure: time is an argument.

``State`` is a value that is saved as JSON after every change: how far the decision log was read, what waits
to be put into a message, and what waits to be delivered to which target. A message is composed once and
delivered to each target until that one takes it, with the same ``key`` in every attempt.

Times are microseconds since the Unix epoch. Times that a clock set back has put too far ahead count as now.
"""

import fnmatch
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sentineld.instant import SECOND_US, iso
from sentineld.markup import inert
from sentineld.telling import ABOUT, cause_of, codes, how_sure, moved, what_happened, what_to_do
from sentineld.visible import visible

#: Decisions that are remembered by their keys, to know the log again.
RECENT = 256
#: Decisions in one message; more become several.
MAX_NOTICES = 500
#: Decisions that wait to be put into a message; beyond, nothing waits for a cool-down.
_MAX_WAITING = 5000
#: Decisions that a message's text tells of, and of how many at most it tells all that was seen.
_MAX_TOLD, _MAX_WHOLE = 20, 3
#: Longest pause that a receiver may ask for.
MAX_RETRY_AFTER_US = 3600 * SECOND_US
#: Longest text of an error, or of an operator's note.
_MAX_TEXT = 200
#: The strictest tier.
_HIGHEST = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """How an operator wants to be told; see ``[notify]`` in the configuration.

    ``host`` and ``mode`` are told in each message; ``queue`` is the number of decisions that wait for one
    target at most.
    """

    lowest_tier: int = 2
    causes: frozenset[str] = frozenset()
    agents: tuple[str, ...] = ()
    digest_us: int = 5 * SECOND_US
    cooldown_us: int = 900 * SECOND_US
    first_pause_us: int = SECOND_US
    last_pause_us: int = 300 * SECOND_US
    give_up_us: int = 86_400 * SECOND_US
    queue: int = 5000
    host: str = ""
    mode: str = "enforce"

    def wants(self, notice: "Notice") -> bool:
        """Say whether a decision is told: it leads to, or away from, ``lowest_tier`` or a stricter one."""
        if max(notice.from_tier, notice.to_tier) < self.lowest_tier:
            return False
        if self.causes and notice.cause not in self.causes:
            return False
        return not self.agents or any(fnmatch.fnmatchcase(notice.agent_id, glob) for glob in self.agents)


class Notice(msgspec.Struct, frozen=True):
    """A decision as it is told: without evidence, which holds what agents wrote.

    ``reasons`` are detectors and features, ``seen`` the same in sentences; both form no markup anywhere.
    """

    key: str
    decision_no: int
    agent_id: str
    from_tier: int
    to_tier: int
    score: float
    decided_at: str
    cause: str
    reasons: list[str]
    actor: str = ""
    note: str = ""
    role: str | None = None
    seen: list[str] = []
    how_sure: str = ""


def decision_key(decision: Mapping[str, Any]) -> str:
    """Name a line of the decision log for ever: its number, and a digest of what was decided.

    Numbers begin again in a state directory that was begun anew; the digest is another one then. Raises
    ``KeyError``, ``TypeError``, ``ValueError`` or ``OverflowError`` for what is no decision.
    """
    names = ("agent_id", "from_tier", "to_tier", "decided_at", "cause", "role")
    what = msgspec.json.encode([decision.get(name) for name in names])
    return f"{int(decision['decision_no'])}-{hashlib.sha256(what).hexdigest()[:12]}"


def notice(decision: Mapping[str, Any]) -> Notice:
    """Return what is told of a line of the decision log. Raises as ``decision_key`` does."""
    score, tiers = float(decision["score"]), (decision["from_tier"], decision["to_tier"])
    if not math.isfinite(score) or any(type(tier) is not int or not 0 <= tier <= _HIGHEST for tier in tiers):
        raise ValueError("a score or a tier is none")
    agent_id, cause, role = str(decision["agent_id"]), str(decision["cause"]), decision.get("role")
    return Notice(
        key=decision_key(decision),
        decision_no=int(decision["decision_no"]),
        agent_id=visible(agent_id),
        from_tier=tiers[0],
        to_tier=tiers[1],
        score=score,
        decided_at=visible(str(decision["decided_at"])),
        cause=visible(cause),
        reasons=codes(decision),
        actor=visible(str(decision.get("actor") or ""), _MAX_TEXT),
        note=visible(str(decision.get("note") or ""), _MAX_TEXT),
        role=None if role is None else visible(str(role)),
        seen=what_happened(decision),
        how_sure=how_sure(decision),
    )


class Message(msgspec.Struct, frozen=True):
    """What is delivered, to every target the same; ``key`` is that of its last decision."""

    key: str
    made_at: str
    made_us: int
    subject: str
    text: str
    host: str
    mode: str
    decisions: list[Notice]
    is_test: bool = False

    def document(self) -> dict[str, Any]:
        """Return what webhooks and commands get (schema ``notice``)."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        del plain["made_us"]
        return plain


class Waiting(msgspec.Struct):
    """A decision that waits to be put into a message, at the latest at ``ready_us``."""

    notice: Notice
    ready_us: int
    #: Whether it waits for its agent's cool-down.
    is_held: bool = False


class Told(msgspec.Struct):
    """When an agent was last told of, and the strictest tier that was told since its cool-down began."""

    at_us: int
    tier: int


class Delivery(msgspec.Struct):
    """A message on its way to one target."""

    key: str
    attempts: int = 0
    due_us: int = 0


class Target(msgspec.Struct):
    """How things stand with one target; ``until_us`` is a pause for everything that waits for it."""

    queue: list[Delivery] = []
    failures: int = 0
    until_us: int = 0
    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    last_delivered_us: int = 0
    last_error: str = ""
    last_error_us: int = 0


class State(msgspec.Struct):
    """Everything that a notifier remembers."""

    version: int = 1
    #: Number of the last decision that was taken from the log.
    cursor: int = 0
    #: Keys of the last decisions, the newest last.
    recent: list[str] = []
    waiting: list[Waiting] = []
    told: dict[str, Told] = {}
    messages: dict[str, Message] = {}
    targets: dict[str, Target] = {}
    #: Decisions that were told or not, by the filters; that were gone before they were read; damaged lines.
    matched: int = 0
    passed_over: int = 0
    missed: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: no ``error`` means delivered.

    ``is_refused``: this message was, and another one need not be; else the target does not work.
    ``retry_after_us``: the pause that the receiver asks for.
    """

    error: str = ""
    is_refused: bool = False
    retry_after_us: int = 0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A message that is not delivered to a target any more, and why."""

    target: str
    key: str
    decisions: int
    why: str


@dataclass(slots=True)
class Outbox:
    """The rules of telling, over a state that they change."""

    state: State
    terms: Terms
    #: What was given up since somebody asked.
    given_up: list[GivenUp] = field(default_factory=list)

    # The log.

    def meet(self, lines: Iterable[tuple[int, str]]) -> bool:
        """Look at a log that may be another one: number and key of each line, the key empty where unknown.

        Keys are asked for where ``is_recent``. True where numbers have begun again: then all of it is new.
        """
        known = {int(key.partition("-")[0]): key for key in self.state.recent}
        newest, differs = 0, False
        for number, key in lines:
            newest = max(newest, number)
            if key and number in known:
                if known[number] == key:
                    return False
                differs = True
        if not known or not newest or not (differs or newest < min(known)):
            return False
        self.state.cursor = 0
        self.state.recent.clear()
        return True

    def is_recent(self, number: int) -> bool:
        """Say whether the key of this number is remembered, so that it can be compared."""
        recent = self.state.recent
        return bool(recent) and int(recent[0].partition("-")[0]) <= number <= self.state.cursor

    def begin_at(self, decisions: Iterable[tuple[int, str]]) -> None:
        """Begin behind decisions that are there, by number and key: a notifier's first start."""
        for number, key in decisions:
            self._remember(number, key)

    def take(self, found: Notice, now: int) -> bool:
        """Take the next decision of the log; False where it was taken before."""
        state, terms = self.state, self.terms
        if found.decision_no <= state.cursor:
            return False
        if state.recent:
            state.missed += found.decision_no - state.cursor - 1
        self._remember(found.decision_no, found.key)
        if not terms.wants(found):
            state.passed_over += 1
            return True
        state.matched += 1
        told = state.told.get(found.agent_id)
        ready, is_held = now + terms.digest_us, False
        if told is not None and told.at_us <= now < told.at_us + terms.cooldown_us:
            # What is worse than what was told waits for nothing.
            is_held = found.to_tier <= told.tier
            ready = max(ready, told.at_us + terms.cooldown_us) if is_held else ready
        state.waiting.append(Waiting(found, ready, is_held))
        return True

    def _remember(self, number: int, key: str) -> None:
        self.state.cursor = number
        self.state.recent.append(key)
        del self.state.recent[:-RECENT]

    # Messages.

    def compose(self, now: int, *, is_closing: bool = False) -> list[Message]:
        """Put what is due into messages, for every target. ``is_closing``: a digest ends at once."""
        state, terms = self.state, self.terms
        is_full = len(state.waiting) > _MAX_WAITING
        for item in state.waiting:
            # A clock that was set back must not hold it for longer than it was to wait.
            if item.ready_us > now + max(terms.digest_us, terms.cooldown_us if item.is_held else 0):
                item.ready_us = now
            if item.is_held and item.ready_us <= now:
                item.is_held = False
        if not is_full and not any(
            item.ready_us <= now or (is_closing and not item.is_held) for item in state.waiting
        ):
            return []
        # What is told of an agent is told whole, in its order.
        agents = {item.notice.agent_id for item in state.waiting if is_full or not item.is_held}
        going = [item.notice for item in state.waiting if item.notice.agent_id in agents]
        state.waiting = [item for item in state.waiting if item.notice.agent_id not in agents]
        for agent, told in list(state.told.items()):
            if not told.at_us <= now < told.at_us + terms.cooldown_us:
                del state.told[agent]
        for one in going:
            before = state.told.get(one.agent_id)
            tier = one.to_tier if before is None or before.at_us != now else max(before.tier, one.to_tier)
            state.told[one.agent_id] = Told(now, tier)
        parts = [going[n : n + MAX_NOTICES] for n in range(0, len(going), MAX_NOTICES)]
        made = [compose_message(part, now, terms) for part in parts]
        for message in made:
            state.messages[message.key] = message
            for target in state.targets.values():
                target.queue.append(Delivery(message.key, 0, now))
        self._keep_bounds(now)
        return made

    def set_targets(self, names: Iterable[str]) -> None:
        """Deliver to these targets from now on; what waits for another one is given up."""
        wanted = list(dict.fromkeys(names))
        for name in list(self.state.targets):
            if name not in wanted:
                for delivery in list(self.state.targets[name].queue):
                    self._give_up(name, delivery, "the target is no longer configured")
                del self.state.targets[name]
        for name in wanted:
            self.state.targets.setdefault(name, Target())
        self._drop_unused()

    # Deliveries.

    def next_delivery(self, name: str, now: int) -> Message | None:
        """Return what a target should get now."""
        self._keep_bounds(now)
        target = self.state.targets[name]
        if self._is_ahead(target.until_us, now):
            return None
        for delivery in target.queue:
            if not self._is_ahead(delivery.due_us, now):
                return self.state.messages[delivery.key]
        return None

    def note(self, name: str, key: str, outcome: Outcome, now: int, jitter: float) -> None:
        """Note how an attempt ended. ``jitter`` is a random number from 0 to 1."""
        target = self.state.targets.get(name)
        delivery = next((item for item in target.queue if item.key == key), None) if target else None
        if target is None or delivery is None:
            # It was given up meanwhile.
            return
        if not outcome.error:
            target.queue.remove(delivery)
            target.delivered += 1
            target.failures, target.until_us = 0, 0
            target.last_delivered_us = now
            self._drop_unused()
            return
        delivery.attempts += 1
        target.failed += 1
        target.last_error, target.last_error_us = visible(outcome.error, _MAX_TEXT), now
        if outcome.is_refused:
            # Others go on.
            delivery.due_us = now + self._pause(delivery.attempts, outcome, jitter)
        else:
            target.failures += 1
            target.until_us = now + self._pause(target.failures, outcome, jitter)
        self._keep_bounds(now)

    def next_due(self) -> int | None:
        """Return when something must be composed or delivered next, None for never."""
        due = [item.ready_us for item in self.state.waiting]
        due += [
            max(target.until_us, min(item.due_us for item in target.queue))
            for target in self.state.targets.values()
            if target.queue
        ]
        return min(due, default=None)

    def is_idle(self) -> bool:
        """Say whether nothing waits to be delivered."""
        return not any(target.queue for target in self.state.targets.values())

    def _pause(self, failures: int, outcome: Outcome, jitter: float) -> int:
        terms = self.terms
        pause = min(terms.last_pause_us, terms.first_pause_us << min(failures - 1, 40))
        # Half of it is left to chance, so that many notifiers do not come back at once.
        pause = round(pause * (0.5 + 0.5 * jitter))
        return max(pause, min(outcome.retry_after_us, MAX_RETRY_AFTER_US))

    def _is_ahead(self, due_us: int, now: int) -> bool:
        longest = max(self.terms.last_pause_us, MAX_RETRY_AFTER_US)
        return now < due_us <= now + longest

    def _keep_bounds(self, now: int) -> None:
        messages, terms = self.state.messages, self.terms
        for name, target in self.state.targets.items():
            for delivery in list(target.queue):
                if now - messages[delivery.key].made_us > terms.give_up_us:
                    self._give_up(name, delivery, "it was not taken in time (notify.give_up)")
            waiting = sum(len(messages[item.key].decisions) for item in target.queue)
            while waiting > terms.queue and len(target.queue) > 1:
                waiting -= len(messages[target.queue[0].key].decisions)
                self._give_up(name, target.queue[0], "too much waits for the target (notify.queue)")
        self._drop_unused()

    def _give_up(self, name: str, delivery: Delivery, why: str) -> None:
        target = self.state.targets[name]
        target.queue.remove(delivery)
        target.given_up += 1
        count = len(self.state.messages[delivery.key].decisions)
        self.given_up.append(GivenUp(name, delivery.key, count, why))

    def _drop_unused(self) -> None:
        used = {item.key for target in self.state.targets.values() for item in target.queue}
        for key in [key for key in self.state.messages if key not in used]:
            del self.state.messages[key]


def compose_message(notices: list[Notice], now: int, terms: Terms) -> Message:
    """Put decisions into one message."""
    is_observed = terms.mode == "observe"
    subject = f"{_prefix(terms.host)} {_subject(notices, is_observed=is_observed)}"
    if is_observed:
        subject += " (observe mode: nothing is restricted)"
    is_whole = len(notices) <= _MAX_WHOLE
    lines = [
        line
        for item in notices[:_MAX_TOLD]
        for line in _lines(item, is_whole=is_whole, is_observed=is_observed)
    ]
    if len(notices) > _MAX_TOLD:
        lines.append(f'And {len(notices) - _MAX_TOLD} more: "sentineld log" lists them.')
    last = {item.agent_id: item for item in notices if item.agent_id}
    if last:
        worst = max(item.to_tier for item in last.values())
        concerned = [item for item in last.values() if item.to_tier == worst]
        names = [item.agent_id for item in concerned]
        is_pinned = all(item.cause == "pinned" for item in concerned)
        advice = what_to_do(worst, names, is_observed=is_observed, is_pinned=is_pinned)
        lines.append(f"What to do: {advice}")
    lines.append(ABOUT)
    key = notices[-1].key
    return Message(key, iso(now), now, subject, "\n".join(lines), terms.host, terms.mode, notices)


def trial_message(now: int, terms: Terms) -> Message:
    """Make a message that says nothing but that it arrives."""
    subject = f"{_prefix(terms.host)} this is a test"
    text = "Decisions about agents will arrive like this one. Nothing has happened."
    return Message(f"test-{now}", iso(now), now, subject, text, terms.host, terms.mode, [], is_test=True)


def _prefix(host: str) -> str:
    return f"sentineld on {host}:" if host else "sentineld:"


def _subject(notices: list[Notice], *, is_observed: bool) -> str:
    if len(notices) == 1:
        (only,) = notices
        return moved(_who(only), only.from_tier, only.to_tier, is_observed=is_observed)
    last = {item.agent_id: item.to_tier for item in notices}
    if len(last) == 1:
        first, newest = notices[0], notices[-1]
        what = moved(_who(first), first.from_tier, newest.to_tier, is_observed=is_observed)
        return f"{what} ({len(notices)} decisions)"
    worst = max(last.values())
    count = sum(tier == worst for tier in last.values())
    return f"{len(notices)} decisions about {len(last)} agents, {count} of them now at tier {worst}"


def _who(item: Notice) -> str:
    return (
        f"agent {inert(item.agent_id)}"
        if item.agent_id
        else f"role {inert(item.role or '') or 'without a name'}"
    )


def _lines(item: Notice, *, is_whole: bool, is_observed: bool) -> list[str]:
    """Tell one decision: in one line, or with all that was seen."""
    what = moved(_who(item), item.from_tier, item.to_tier, is_observed=is_observed)
    line = f"{item.decided_at} {what}: {cause_of(item.cause)}"
    if item.actor:
        line += f", {item.actor}"
    line += f": {item.note}" if item.note else "."
    if not is_whole:
        return [line]
    seen = [f"What was seen: {'; '.join(item.seen)}."] if item.seen else []
    return [line, *seen, *([f"How sure: {item.how_sure}"] if item.how_sure else [])]
