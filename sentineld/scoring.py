"""Scoring: one session's surprises, channel by channel, and the one score that they make.

Each feature of an event is looked at by its detector, once a session and value: what the role knows is no
surprise, what it does not know is one of so many bits. Surprises go to four channels: ``consequence`` (what the
detectors find, by severity), ``target`` (whom or what it is about), ``argument`` and ``order``. Within an event
the second surprise of a group counts half, and so on. A channel's level leaks from event to event, so that
what comes together counts together.

The session's score is minus the logarithm of a combined p-value: each channel's highest level so far has a
p-value among the role's sessions (``calibration.Tail``); they are combined by a weighted harmonic mean (Wilson,
2019), which one channel alone can make small and a noisy one cannot. A role whose sessions differ much in a
channel takes less notice of it: its share falls with the level that one in twenty of its sessions reaches.
What a score means is said by its rank (``detection``), so none of these choices touches the bound.
"""

import math
from typing import NamedTuple

from sentineld.detectors import CHANNELS, DERIVING, OF_FEATURE, SENTENCES, Kind, argument, order
from sentineld.detectors.base import ARGUMENT, CONSEQUENCE, ORDER, TARGET
from sentineld.event import Facts, Feature, Observation
from sentineld.habits import START, Role, key_of
from sentineld.learned import Finished, Own
from sentineld.masking import mask
from sentineld.session import Finding, Session

#: Values and actions of one session that are remembered.
MAX_SEEN = 1024
MAX_SYMBOLS = 512
#: Bits that are no surprise.
FLOOR = 1.0
#: What the second surprise of one group counts in one event, and the second group.
SECOND, SECOND_GROUP = 0.5, 0.7
#: What the second new value of a feature counts in a session; further ones share that; so many count at all.
AGAIN, MAX_NEW = 0.25, 4
#: A channel's share halves with so many bits ... more than these in one of twenty sessions.
QUIET, HALVING = 12.0, 4.0
#: Features that say whom or what a call is about.
_TARGETS = frozenset({"out.target", "out.host", "delete.target"})
#: Those that count there alone.
_TARGET_ONLY = frozenset({"out.target"})
#: Sessions that a role must have learned from before its surprises count in full.
LEARNING = 20
#: Findings of fewer bits are not kept.
_MIN_FINDING = 1.0
_MAX_VALUE = 120
_MAX_USUAL = 3


class _Bits(NamedTuple):
    """Surprises of one event: bits by group, and of the other channels."""

    groups: dict[str, list[float]]
    argument: float
    target: float
    order: float


def judge(session: Session, role: Role, own: Own, item: Observation, facts: Facts) -> float:
    """Take an event into its session; return the score of what happens now (``session.score``: so far)."""
    bits = _surprises(session, role, own, item, facts)
    sums = sorted((_falling(found, SECOND) for found in bits.groups.values()), reverse=True)
    added = {
        CONSEQUENCE: sum(one * SECOND_GROUP**place for place, one in enumerate(sums)),
        ARGUMENT: bits.argument,
        TARGET: bits.target,
        ORDER: bits.order,
    }
    has_risen = False
    for name, channel in CHANNELS.items():
        level = session.levels[name] = session.levels.get(name, 0.0) * channel.leak + added[name]
        if level > session.peaks.get(name, 0.0) + 1e-9:
            session.peaks[name] = level
            has_risen = True
    if has_risen:
        session.score = max(session.score, score(role, session.peaks))
    return score(role, session.levels)


def score(role: Role, levels: dict[str, float]) -> float:
    """Return the score (at least 0, nats) of the levels of a session's channels."""
    combined = 0.0
    for name, share in shares(role).items():
        combined += share / role.tail(name).p(levels.get(name, 0.0))
    return min(1.0, role.sessions / LEARNING) * max(0.0, math.log(combined))


def shares(role: Role) -> dict[str, float]:
    """Return what each channel counts in a role; they sum to 1."""
    if role.shares is None:
        weights = {}
        for name, channel in CHANNELS.items():
            usual = role.tail(name).quantile(0.05)
            weights[name] = channel.share * math.exp(-max(0.0, usual - QUIET) / HALVING)
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
    )


def _surprises(session: Session, role: Role, own: Own, item: Observation, facts: Facts) -> _Bits:
    groups: dict[str, list[float]] = {}
    of_arguments = of_target = of_order = 0.0

    def note(detector: str, feature: str, value: str, bits: float) -> None:
        if bits >= _MIN_FINDING:
            session.note(
                Finding(
                    detector,
                    feature,
                    mask(value)[:_MAX_VALUE],
                    SENTENCES[feature if detector != argument.NAME else detector],
                    round(bits, 3),
                    item[0],
                    item[3],
                    item[4],
                    item[5],
                )
            )

    symbol = ""
    features: list[Feature] = []
    for derive in DERIVING:
        features += derive(session, facts, item[0])
    for feature in (*facts.features, *features):
        name, value = feature
        if name == "act":
            symbol = value
            continue
        if name.startswith(argument.PREFIX):
            if _is_new(session, role, name, value):
                bits = role.bits_of_value(name)
                of_arguments += bits
                note(argument.NAME, name, value, bits)
            continue
        detector = OF_FEATURE.get(name)
        if detector is None:
            continue
        severity = detector.severity[name]
        if detector.kind in (Kind.GRADE, Kind.OWN_GRADE):
            height = int(value)
            if height <= session.grades.get(name, -99):
                continue
            session.grades[name] = height
            is_own = detector.kind is Kind.OWN_GRADE
            bits = severity.weight * (role.bits_of_grade(name, height, own if is_own else None) - FLOOR)
        else:
            is_always = detector.kind is Kind.ALWAYS
            if not _is_new(session, role, name, value, is_always=is_always):
                continue
            plain = role.bits_of_new(name, own, severity.first)
            times = session.new[name] = session.new.get(name, 0) + 1
            if name in _TARGETS and plain > of_target:
                of_target = plain
            if name in _TARGET_ONLY:
                note(detector.name, name, value, plain)
                continue
            if times > MAX_NEW:
                continue
            bits = severity.weight * (plain - FLOOR)
            if times > 1:
                bits *= AGAIN / (times - 1)
        if bits > 0:
            groups.setdefault(detector.group(name), []).append(bits)
            note(detector.name, name, value, bits)
    if symbol:
        before = [START, START, *session.symbols][-2:]
        of_order = max(0.0, role.bits_of_order(before, symbol) - order.FLOOR)
        if len(session.symbols) < MAX_SYMBOLS:
            session.symbols.append(symbol)
        else:
            session.symbols[-2:] = [session.symbols[-1], symbol]
        note(order.NAME, order.FEATURE, " -> ".join([*before, symbol]), of_order)
    return _Bits(groups, of_arguments, of_target, of_order)


def _is_new(session: Session, role: Role, name: str, value: str, *, is_always: bool = False) -> bool:
    """Say whether neither the session nor its role knows a value; the session knows it from here on."""
    key = key_of(name, value)
    seen = session.seen.get(name)
    if seen is None:
        seen = session.seen[name] = {}
    if key in seen:
        return False
    seen[key] = 1
    session.seen_count += 1
    if session.seen_count > MAX_SEEN:
        largest = max(session.seen.values(), key=len)
        del largest[next(iter(largest))]
        session.seen_count -= 1
    return is_always or key not in role.known


def _falling(bits: list[float], ratio: float) -> float:
    bits.sort(reverse=True)
    return sum(one * ratio**place for place, one in enumerate(bits))
