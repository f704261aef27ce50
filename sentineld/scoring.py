"""Scoring: one session's surprises, channel by channel, and the one score that they make.

Each feature of an event is looked at by its detector, once a session and value: what the role knows is no
surprise, what it does not know is one of so many bits. Surprises go to four channels: ``consequence`` (what
the detectors find, by severity), ``target`` (whom or what it is about), ``argument`` and ``order``. Within an
event the second surprise of a group counts half, and so on. A channel's level leaks from event to event, so
that what comes together counts together.

The score of an event is minus the logarithm of a combined p-value, that of a session the highest of its
events: each channel's level has a p-value among the highest levels of the role's sessions
(``calibration.Tail``); they are combined by a weighted generalised mean of power -1/2 (Vovk and Wang, 2020),
between what one channel alone can make small and what takes them all. A role whose sessions differ much in a
channel takes less notice of it: its share falls with the level that one in twenty of its sessions reaches.
While a role has learned from less than twenty sessions, its scores are
smaller in proportion. What a score means is said by its rank (``detection``), so none of these choices
touches the bound.

What a user's prompt named is hardly a surprise (``detectors.intent``), and in a session with prompts what is
looked up follows from what was asked: the order and the arguments of calls count half, but of those that
change something of which no prompt named anything; the order of the first call counts nothing. Where prompts
named all that a call is for, who sends it counts nothing.

Where there are no prompts, two things stand in for them. A call that repeats what the session's first call
named is about what was asked (``features.opening``): its order and its arguments count half, and a new
recipient counts as ``out.follows``. And a tool that changes something and that none of the role has used is
new work, to which new recipients belong: of these the channel ``target`` counts half and ``consequence``
nothing beside the tool itself. An action that none has done counts half in the order: that it is new is said
by ``first_use``.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from sentineld.detectors import (
    CHANNELS,
    DETECTORS,
    READERS,
    SENTENCES,
    WATCHES_OF_CALL,
    Kind,
    argument,
    order,
    watches_of,
)
from sentineld.detectors.base import ARGUMENT, CONSEQUENCE, ORDER, TARGET
from sentineld.detectors.intent import PERSON, PROMPTED, UNASKED, is_unasked
from sentineld.event import PROMPTS, Facts, Feature, Observation
from sentineld.features import does_change, intent, opening
from sentineld.features.paths import place_of, traits
from sentineld.habits import LEARNING, START, Role, key_of
from sentineld.learned import Finished, Own
from sentineld.masking import mask
from sentineld.session import ASKED, NAMED, SEEN, Finding, Session

#: Hashes of features that are kept.
_MAX_KEYS = 8192
#: Values and actions of one session that are remembered.
MAX_SEEN = 1024
MAX_SYMBOLS = 256
#: Bits that are no surprise.
FLOOR = 1.0
#: What the second surprise of one group counts in one event, and the second group.
SECOND, SECOND_GROUP = 0.5, 0.7
#: What the second new value of a feature counts in a session; further ones share that; so many count at all.
AGAIN, MAX_NEW = 0.25, 4
#: Power of the mean of p-values, negated.
POWER = 0.5
#: Steps of a bit by which ``is_below`` goes, and more than what rounding can add to a sum.
_STEPS, _ROUNDING = 4, 1.0 + 1e-9
#: Levels that are high enough to be scored in any case, bits: so few steps are kept.
_HIGH = 64.0
_PLACES = int(_HIGH * _STEPS) + 2
#: What no part of a score is.
_UNKNOWN = -1.0
#: A channel's share falls by a factor of e with so many bits ... more than these in one of twenty sessions.
QUIET, FALLING = 12.0, 4.0
_USUAL = 0.05
#: Features that say whom or what a call is about, and those that count there alone.
_TARGETS = frozenset({"out.target", "out.host", "delete.target"})
_TARGET_ONLY = frozenset({"out.target"})
#: Features whose value may be somebody's address.
_RECIPIENTS = frozenset({"out.target", "out.host"})
#: What counts of the order and of the arguments of a call that only looks, or changes what a prompt named.
_FOLLOWS = 0.5
#: Who sends, which says nothing new where a prompt named to whom.
_SENDER = "out.by"
_FOLLOWING = "out.follows"
#: How often honest sessions are taken to send where no prompt of theirs named, before anything was counted.
_UNNAMED_FIRST = 0.25
_STEERING = "agent.steering"
_UNNAMED = "; no prompt of the session named it"
#: Findings of fewer bits are not kept.
_MIN_FINDING = 2.0
_MAX_VALUE = 120


class _Plan(NamedTuple):
    """How a feature becomes bits: its detector's name, and what ``detectors.base`` says of it."""

    detector: str
    weight: float
    first: float
    group: str
    is_grade: bool
    is_own: bool
    is_always: bool
    grace: int
    fewest: int
    is_target: bool
    is_target_only: bool
    is_of_such: bool


_PLANS = {
    name: _Plan(
        one.name,
        severity.weight,
        severity.first,
        one.group(name),
        one.kind in (Kind.GRADE, Kind.SUCH_GRADE, Kind.OWN_GRADE),
        one.kind is Kind.OWN_GRADE,
        one.kind is Kind.ALWAYS,
        one.grace,
        one.fewest,
        name in _TARGETS,
        name in _TARGET_ONLY,
        one.kind is Kind.SUCH_GRADE,
    )
    for one in DETECTORS
    for name, severity in one.severity.items()
}


#: What is left of each channel after an event.
_CONSEQUENCE_LEAK, _ARGUMENT_LEAK, _TARGET_LEAK, _ORDER_LEAK = (
    CHANNELS[name].leak for name in (CONSEQUENCE, ARGUMENT, TARGET, ORDER)
)
_NO_LEVELS = dict.fromkeys((CONSEQUENCE, ARGUMENT, TARGET, ORDER), 0.0)
_ACT = "act"
#: Who reads a raw feature, and whether its value is a path.
_RAW = {name: (readers, name in intent.PATHS) for name, readers in READERS.items()}


class _Event:
    """Surprises of one event: bits by group, and of the other channels."""

    # Most events change few of these: they stand in the class.
    argument = target = order = 0.0
    #: Whether an argument has a value that surprises.
    is_news = False
    #: Whether prompts named all that the call is for.
    is_asked_for = False
    #: Whether it changes something of which they named nothing; so it is where there are none.
    is_unasked = True
    #: Of a session without prompts: whether it changes something about what the session began with, and by a
    #: tool that none has used.
    is_about_opening = is_new_tool = False

    def __init__(self, session: Session, role: Role, own: Own, item: Observation) -> None:
        self.session, self.role, self.own, self.item = session, role, own, item
        self.groups: dict[str, list[float]] = {}

    def take(self, feature: Feature, path: str = "") -> None:
        """Take in a feature that is neither raw nor an argument; ``path`` is what it was read from."""
        name, value = feature
        session = self.session
        known = session.seen.get(name)
        if known is not None and known.get(_KEYS[feature]) == SEEN:
            return
        plan = _PLANS.get(name)
        if plan is None:
            return
        if plan.is_grade:
            height = int(value)
            if height <= session.grades.get(name, -99):
                return
            session.grades[name] = height
            own = self.own if plan.is_own else None
            plain = self.role.bits_of_grade(
                name, height - plan.grace, own, plan.fewest, is_of_such=plan.is_of_such
            )
            bits = plan.weight * (plain - FLOOR)
        else:
            is_named = bool(session.asked) and self._is_named(name, value, path)
            if not _is_new(session, self.role, feature, is_always=plan.is_always, is_named=is_named):
                return
            if is_named:
                # Rules go by these, whoever asked.
                if plan.is_always:
                    session.new[name] = session.new.get(name, 0) + 1
                session.fresh[f"{ASKED} {name}"] = value
                self.take((ASKED, f"{name} {value}"))
                return
            session.fresh[name] = value
            if session.asked and name in _RECIPIENTS and intent.names_person(session.asked, value):
                self.take((PERSON, value))
                return
            if self.is_about_opening and name in _RECIPIENTS:
                self.take((_FOLLOWING, value))
                return
            times = session.new[name] = session.new.get(name, 0) + 1
            is_unnamed = session.asked and name in intent.AIMS
            first = plan.first * _UNNAMED_FIRST if is_unnamed else plan.first
            plain = self.role.bits_of_new(name, self.own, first)
            is_explained = self.is_new_tool and name in _RECIPIENTS
            if is_explained:
                plain *= _FOLLOWS
            if plan.is_target and plain > self.target:
                self.target = plain
            if plan.is_target_only or is_explained:
                self.note(plan.detector, name, value, plain, path)
                return
            if times > MAX_NEW:
                return
            bits = plan.weight * (plain - FLOOR)
            if times > 1:
                bits *= AGAIN / (times - 1)
            if name == UNASKED:
                # What is usual without being asked for shows in sessions that had prompts alone.
                bits *= min(1.0, self.role.uses.get(PROMPTED[0], (0,))[0] / LEARNING)
        if bits > 0:
            self.groups.setdefault(plan.group, []).append(bits)
            self.note(plan.detector, name, value, bits, path)

    def _is_named(self, name: str, value: str, path: str) -> bool:
        """Say whether a prompt of the session named a value; it has some."""
        asked = self.session.asked
        if path:
            # Who has its limits changed says so: not by the way, nor with everything around them.
            is_exact = name == _STEERING
            is_inside = not is_exact and not place_of(traits(path), self.session.root)
            return intent.names_path(asked, path, is_inside=is_inside, is_exact=is_exact)
        if name in intent.TARGETS:
            return intent.names(asked, name, value)
        return name == _SENDER and self.is_asked_for

    def take_argument(self, feature: Feature) -> None:
        """Take in an argument's value."""
        if _is_new(self.session, self.role, feature):
            bits = self.role.bits_of_value(feature[0])
            # Work that was asked for may be new all the same.
            self.is_news |= bits > FLOOR
            asked = self.session.asked
            if asked and (intent.names(asked, *feature) or intent.names_person(asked, feature[1])):
                return
            if not self.is_unasked:
                bits *= _FOLLOWS
            self.argument += bits
            self.note(argument.NAME, *feature, bits)

    def take_action(self, before: Sequence[str], symbol: str, bits: float, *, is_first: bool) -> None:
        """Take in that an action surprises behind those before it; ``is_first``: of its session."""
        if not self.is_unasked:
            bits *= _FOLLOWS
        if not self.session.asked and symbol not in self.role.symbols:
            bits *= _FOLLOWS
        if self.is_asked_for or (self.session.asked and is_first):
            # What comes first is what was asked for.
            bits = 0.0
        self.order = bits
        if bits >= _MIN_FINDING and self.session.wants(bits):
            # Name by name: these come again, their orders hardly.
            self.note(order.NAME, order.FEATURE, " -> ".join(map(_masked, [*before, symbol])), bits)

    def note(self, detector: str, feature: str, value: str, bits: float, path: str = "") -> None:
        """Keep what is surprising as evidence; ``path`` is what it was read from, if one."""
        if bits < _MIN_FINDING or not self.session.wants(bits):
            return
        at_us, _, _, event_type, source_id, offset, _ = self.item
        sentence = SENTENCES[detector if detector == argument.NAME else feature]
        if self.session.asked and (path or feature in intent.TARGETS):
            sentence += _UNNAMED
        masked = _masked(value)[:_MAX_VALUE]
        self.session.note(
            Finding(detector, feature, masked, sentence, round(bits, 3), at_us, event_type, source_id, offset)
        )

    def raise_levels(self) -> bool:
        """Add this event to the levels of its session's channels; say whether it adds anything."""
        groups = self.groups
        if not (groups or self.order or self.argument or self.target):
            return False
        if not groups:
            consequence = 0.0
        elif len(groups) == 1:
            consequence = _falling(next(iter(groups.values())), SECOND)
        else:
            consequence = _falling([_falling(found, SECOND) for found in groups.values()], SECOND_GROUP)
        levels, peaks = self.session.levels, self.session.peaks
        added = (consequence, self.argument, self.target, self.order)
        for name, bits in zip(_NO_LEVELS, added, strict=True):
            if bits > 0.0:
                level = levels[name] = levels[name] + bits
                if level > peaks.get(name, 0.0):
                    peaks[name] = level
        return True


def judge(session: Session, role: Role, own: Own, item: Observation, facts: Facts) -> bool:
    """Take an event into its session; say whether one of ``session.bests`` has risen: it is now's score."""
    if session.fresh:
        session.fresh = {}
    session.is_unfamiliar = is_unfamiliar = session.news > 0
    tool, _, _, _, _, _, used, made, _, features, prompted = facts
    if prompted:
        session.ask(prompted)
        _is_new(session, role, PROMPTED)
    if not features and item[3] in PROMPTS:
        # Nothing that the agent did: no level falls for it.
        return False
    # Most events bring nothing new: these need none.
    event: _Event | None = None
    asked = session.asked
    if asked:
        event = _Event(session, role, own, item)
        event.is_asked_for = intent.is_asked_for(asked, features)
        event.is_unasked = is_unasked(session, facts)
    elif does_change(tool):
        session.is_opening = False
        is_about_opening = opening.is_about(session.opening, features)
        is_new_tool = _is_new_tool(role, features)
        if is_about_opening or is_new_tool:
            event = _Event(session, role, own, item)
            event.is_about_opening, event.is_unasked = is_about_opening, not is_about_opening
            event.is_new_tool = is_new_tool
    told = []
    seen = session.seen
    for feature in features:
        name, value = feature
        known = seen.get(name)
        if known is not None:
            # No name of a raw feature. Most values: nothing is new twice, nor told twice.
            if known.get(_KEYS[feature]) == SEEN:
                continue
        elif (raw := _RAW.get(name)) is not None:
            readers, is_path = raw
            for read in readers:
                for derived in read(session, value):
                    known = seen.get(derived[0])
                    if known is None or known.get(_KEYS[derived]) != SEEN:
                        event = event or _Event(session, role, own, item)
                        event.take(derived, value if is_path else "")
            continue
        elif name == _ACT:
            symbols = session.symbols
            count = len(symbols)
            key = (symbols[-2], symbols[-1], value) if count > 1 else (START, START, *symbols, value)[-3:]
            bits = role.orders.get(key)
            if bits is None:
                bits = role.bits_of_order(key[:-1], value)
            if count < MAX_SYMBOLS:
                symbols.append(value)
            else:
                symbols[-2:] = (symbols[-1], value)
            bits -= order.FLOOR
            if bits > 0.0:
                event = event or _Event(session, role, own, item)
                event.take_action(key[:-1], value, bits, is_first=not count)
            continue
        if name in _PLANS:
            event = event or _Event(session, role, own, item)
            event.take(feature)
        elif name.startswith(argument.PREFIX):
            event = event or _Event(session, role, own, item)
            event.take_argument(feature)
            told.append(value)
    is_plain = features and not (asked or used or made)
    for watch in WATCHES_OF_CALL if is_plain else watches_of(session, facts):
        for derived in watch(session, facts, item):
            event = event or _Event(session, role, own, item)
            event.take(derived)
    for text in told:
        session.tell(text)
    if session.is_opening:
        _open(session, features)
    levels = session.levels
    if levels:
        levels[CONSEQUENCE] *= _CONSEQUENCE_LEAK
        levels[ARGUMENT] *= _ARGUMENT_LEAK
        levels[TARGET] *= _TARGET_LEAK
        levels[ORDER] *= _ORDER_LEAK
    else:
        levels.update(_NO_LEVELS)
    bests = session.bests
    state = 1 if is_unfamiliar else 0
    if state not in bests:
        bests[state] = 0.0
    if event is None:
        return False
    session.news += event.is_news
    if not event.raise_levels():
        return False
    best = bests[state]
    if is_below(role, levels, best, is_new=session.is_new_agent):
        return False
    now = score(role, levels, is_new=session.is_new_agent)
    if now <= best:
        return False
    bests[state] = now
    session.score = max(session.score, now)
    return True


def _is_new_tool(role: Role, features: tuple[Feature, ...]) -> bool:
    """Say whether a call goes to somebody by a tool that none of the role has used.

    Those of a server (MCP) that none has used are no new work: something was connected.
    """
    found = dict(features)
    tool = found.get("act")
    if tool is None or tool in role.symbols or opening.GOES_TO.isdisjoint(found):
        return False
    server = found.get("first.tool", tool)
    return server == tool or _KEYS["first.tool", server] in role.known


def _open(session: Session, features: tuple[Feature, ...]) -> None:
    """Take in what the session's first call named, and later ones of the same tool."""
    symbols = session.symbols
    if symbols and symbols[-1] == symbols[0] and len(session.opening) < opening.MAX_VALUES:
        session.opening = [*session.opening, *opening.named(features)][: opening.MAX_VALUES]


def score(role: Role, levels: dict[str, float], *, is_new: bool) -> float:
    """Return the score (at least 0, nats) of the levels of a session's channels.

    ``is_new``: its agent is new, and compared with all; others are with those that were not.
    """
    if not role.sessions:
        return 0.0
    mean = 0.0
    for name, share in (role.shares or shares(role)).items():
        level = levels.get(name, 0.0)
        mean += share * role.tail(name, is_new=is_new).p(level) ** -POWER if level > 0 else share
    return min(1.0, role.sessions / LEARNING) * max(0.0, math.log(mean) / POWER)


def is_below(role: Role, levels: dict[str, float], best: float, *, is_new: bool) -> bool:
    """Say whether the score of levels cannot be above ``best``, at a tenth of the cost of working it out.

    A score grows with every level. So that of the next higher steps (of a quarter of a bit), whose parts are
    kept until the role learns, is at least as high. Where that is above ``best`` nothing is said.
    """
    if not role.sessions:
        return True
    steps = role.steps.get(is_new)
    if steps is None:
        steps = role.steps[is_new] = {name: [_UNKNOWN] * _PLACES for name in CHANNELS}
    bound = 0.0
    for name, parts in steps.items():
        level = levels[name]
        if level > _HIGH:
            return False
        place = int(level * _STEPS) + 1 if level > 0.0 else 0
        part = parts[place]
        if part == _UNKNOWN:
            share = (role.shares or shares(role))[name]
            part = parts[place] = share * role.tail(name, is_new=is_new).p(place / _STEPS) ** -POWER
        bound += part
    return min(1.0, role.sessions / LEARNING) * math.log(bound * _ROUNDING) / POWER <= best


def shares(role: Role) -> dict[str, float]:
    """Return what each channel counts in a role; they sum to 1."""
    if role.shares is None:
        weights = {}
        for name, channel in CHANNELS.items():
            usual = role.tail(name).quantile(_USUAL)
            weights[name] = channel.share * math.exp(-max(0.0, usual - QUIET) / FALLING)
        total = sum(weights.values())
        role.shares = {name: weight / total for name, weight in weights.items()}
    return role.shares


def finish(session: Session, ended_us: int) -> Finished:
    """Return what is left of a session."""
    return Finished(
        ended_us,
        session.role,
        session.name,
        session.score,
        session.events,
        session.peaks,
        session.seen,
        session.symbols,
        session.new,
        session.grades,
        is_suspicious=session.tier > 1,
        is_attack=session.is_attack,
        tier=session.tier,
        bests=session.bests,
        is_new_agent=session.is_new_agent,
    )


class _Keys(dict[Feature, int]):
    """The hashes of features (``habits.key_of``), as many as are kept."""

    def __missing__(self, feature: Feature) -> int:
        if len(self) >= _MAX_KEYS:
            self.clear()
        key = self[feature] = key_of(*feature)
        return key


_KEYS = _Keys()
_masked = lru_cache(1024)(mask)


def _is_new(
    session: Session, role: Role, feature: Feature, *, is_always: bool = False, is_named: bool = False
) -> bool:
    """Say whether neither the session nor its role knows a value; the session knows it from here on.

    ``is_named``: a prompt named it. That says nothing of the same value without that: of a file beside it.
    """
    name, key = feature[0], _KEYS[feature]
    seen = session.seen.get(name)
    if seen is None:
        seen = session.seen[name] = {}
    before = seen.get(key)
    if before is not None and (is_named or before != NAMED):
        return False
    seen[key] = NAMED if is_named else SEEN
    session.seen_count += before is None
    if session.seen_count > MAX_SEEN:
        largest = max(session.seen.values(), key=len)
        del largest[next(iter(largest))]
        session.seen_count -= 1
    return is_always or key not in role.known


def _falling(bits: list[float], ratio: float) -> float:
    if len(bits) == 1:
        return bits[0]
    bits.sort(reverse=True)
    return sum(one * ratio**place for place, one in enumerate(bits))
