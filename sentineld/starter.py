"""Starter: habits for a role's first day, learned from sessions of other owners' agents.

A new agent's sessions will be newer to these habits than the sessions that they were learned from. So chances
and ranks are counted by leaving out one owner's sessions after the other (cross-validation by group, Stone
1974): each is judged by habits learned from all other owners and from the same owner's earlier sessions, as a
new owner's sessions will be. The habits themselves are learned from all of them.

An action, or a name of an argument, that only one owner's sessions had says nothing about others, and
something about that owner: it is left out. Values stay, as hashes: without them a session of the same kind of
work is newer than it is.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from msgspec import structs

from sentineld.calibration import Calibration, Tail
from sentineld.detection import Detection, DetectionSettings
from sentineld.detectors.base import CHANNELS
from sentineld.event import Observation
from sentineld.habits import KNOWN, Role, learn_own, scored
from sentineld.learned import Finished, Learned
from sentineld.scoring import finish

#: Owners that must have had an action or a feature.
_SHARED_BY = 2
#: What stands for an action that too few had.
_OTHER = "?"
#: Groups that sessions are dealt to, in their order, where fewer owners are known.
_GROUPS = 6
_MIN_GROUPS = 3
_OWNER = 0
T = TypeVar("T")


class PastSession(NamedTuple):
    """One session: whose it was, its agent, and its events in order."""

    group: str
    agent: str
    events: Sequence[Observation]


def learn_starter(role_name: str, sessions: Sequence[PastSession]) -> Role:
    """Return habits learned from sessions, in the order of their ends."""
    if len({session.group for session in sessions}) < _MIN_GROUPS:
        sessions = [
            session._replace(group=str(number * _GROUPS // len(sessions)))
            for number, session in enumerate(sessions)
        ]
    groups = sorted({session.group for session in sessions})
    others = {group: _learn(role_name, [one for one in sessions if one.group != group]) for group in groups}
    plain = {group: role.dump() for group, role in others.items()}
    first = {group: _judge_group(role_name, sessions, group, plain[group], {}, 0.0, {}) for group in groups}
    total = _count(done for found in first.values() for done in found)
    role = _learn(role_name, sessions)
    role.new, role.weight = total, float(len(sessions))
    # Levels need the counts of all groups, and scores the levels of all groups.
    for _ in range(2):
        ranked: list[Finished] = []
        for group, mine in first.items():
            own = _count(mine)
            new = {feature: times - own.get(feature, 0.0) for feature, times in total.items()}
            weight = float(len(sessions) - len(mine))
            ranked += _judge_group(role_name, sessions, group, plain[group], new, weight, role.tails)
        known = [session for session in ranked if not session.is_new_agent]
        for name, channel in CHANNELS.items():
            for key, among in ((name, ranked), (name + KNOWN, known)):
                heights = [session.peaks.get(name, 0.0) for session in among]
                role.tails[key] = Tail(*channel[2:], heights, len(heights))
        role.forget_shares()
        role.calibration = Calibration(map(scored, ranked), len(ranked))
    return role


def _count(sessions: Iterable[Finished]) -> dict[str, float]:
    """Return in how many sessions something was new, by feature."""
    total: dict[str, float] = {}
    for session in sessions:
        for feature in session.new:
            total[feature] = total.get(feature, 0.0) + 1.0
    return total


def _judge_group(
    role_name: str,
    sessions: Sequence[PastSession],
    group: str,
    others: bytes,
    new: dict[str, float],
    weight: float,
    tails: dict[str, Tail],
) -> list[Finished]:
    """Return one group's sessions, judged by what all others taught and then by its own past as well."""
    role = Role.load(others)
    role.new, role.weight, role.tails = dict(new), weight, dict(tails)
    agents: dict[str, Learned] = {}
    found = []
    for session in sessions:
        if session.group == group:
            agent = agents.setdefault(session.agent, Learned())
            done = _run(role_name, role, agent, session)
            found.append(done)
            learn_own(agent.own, done)
            counts, total = dict(role.new), role.weight
            role.learn_habits(done)
            role.new, role.weight = counts, total
    return found


def _learn(role_name: str, sessions: Sequence[PastSession]) -> Role:
    """Return the habits of sessions, without the names that too few owners had."""
    role = Role()
    lived = [(session.group, _run(role_name, role, Learned(), session)) for session in sessions]
    features = _shared((group, feature) for group, done in lived for feature in done.seen)
    symbols = _shared((group, symbol) for group, done in lived for symbol in done.symbols)
    for _, done in lived:
        known = [symbol if symbol in symbols else _OTHER for symbol in done.symbols]
        role.learn_habits(structs.replace(done, symbols=known))
    role.uses = {feature: uses for feature, uses in role.uses.items() if feature in features}
    return role


def _shared(pairs: Iterable[tuple[str, T]]) -> set[T]:
    groups: dict[T, set[str]] = {}
    for group, one in pairs:
        groups.setdefault(one, set()).add(group)
    return {one for one, by in groups.items() if len(by) >= _SHARED_BY}


def _run(role_name: str, role: Role, agent: Learned, session: PastSession) -> Finished:
    detection = Detection(DetectionSettings(rules=()), {(_OWNER, role_name): role})
    agent = Learned(role=role_name, own=agent.own)
    for item in session.events:
        facts = item[6]
        if facts is not None:
            named = facts._replace(role=role_name, session="")
            detection.observe(agent, _OWNER, (*item[:6], named), item[0], is_frozen=True)
    if not agent.sessions:
        return Finished(0, role_name, "", 0.0, 0, {}, {}, [], {}, {})
    return structs.replace(finish(agent.sessions[-1], session.events[-1][0]), is_suspicious=False)
