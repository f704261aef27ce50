"""Starter: habits for a role's first day, learned from sessions of other owners' agents.

A new agent's sessions will be newer to these habits than the sessions that they were learned from. So chances
and ranks are counted by leaving out one owner's sessions after the other (cross-validation by group, Stone
1974): each is judged by habits learned from all other owners and from the same owner's earlier sessions, as a
new owner's sessions will be. The habits themselves are learned from all of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sentineld.calibration import Calibration, Tail
from sentineld.detection import Detection, DetectionSettings
from sentineld.detectors.base import CHANNELS
from sentineld.event import Observation
from sentineld.habits import Role, learn_own
from sentineld.learned import Finished, Learned
from sentineld.scoring import finish, score

#: Groups that sessions are dealt to, in their order, where fewer owners are known.
_GROUPS = 6
_MIN_GROUPS = 3
_OWNER = 0


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
    first = {group: _judge_group(role_name, sessions, group, {}, 0.0) for group in groups}
    total: dict[str, float] = {}
    for found in first.values():
        for done in found:
            for feature in done.new:
                total[feature] = total.get(feature, 0.0) + 1.0
    ranked: list[Finished] = []
    for group in groups:
        mine = first[group]
        others = dict(total)
        for done in mine:
            for feature in done.new:
                others[feature] -= 1.0
        ranked += _judge_group(role_name, sessions, group, others, float(len(sessions) - len(mine)))
    role = Role()
    for session in sessions:
        role.learn_habits(_run(role_name, role, Learned(), session))
    role.new, role.weight = total, float(len(sessions))
    _rank(role, ranked)
    return role


def _rank(role: Role, sessions: Sequence[Finished]) -> None:
    """Take in sessions that are all of one age: their levels first, then the scores that these make."""
    for name, channel in CHANNELS.items():
        heights = [session.peaks.get(name, 0.0) for session in sessions]
        role.tails[name] = Tail(*channel[2:], heights, len(heights))
    role.shares = None
    scores = [score(role, session.peaks) for session in sessions]
    role.calibration = Calibration(scores, len(scores))


def _judge_group(
    role_name: str, sessions: Sequence[PastSession], group: str, new: dict[str, float], weight: float
) -> list[Finished]:
    """Return one group's sessions, judged by what all others taught and then by its own past as well."""
    role = Role()
    for session in sessions:
        if session.group != group:
            role.learn_habits(_run(role_name, role, Learned(), session))
    role.new, role.weight = dict(new), weight
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
    return replace(finish(agent.sessions[-1], session.events[-1][0]), is_suspicious=False)
