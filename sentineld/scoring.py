"""Scoring: interim."""

from sentineld.event import Facts, Observation
from sentineld.habits import Role, key_of
from sentineld.learned import Finished, Own
from sentineld.session import Finding, Session


def judge(session: Session, role: Role, own: Own, item: Observation, facts: Facts) -> float:
    """Interim: novelty of features."""
    bits = 0.0
    for name, value in facts.features:
        key = key_of(name, value)
        seen = session.seen.setdefault(name, {})
        if key in seen:
            continue
        seen[key] = 1
        if key not in role.known:
            session.new[name] = 1
            found = role.bits_of_new(name, own)
            bits += found
            session.note(Finding("first_use", name, value, "", found, item[0], item[3], item[4], item[5]))
    level = session.levels["all"] = session.levels.get("all", 0.0) * 0.8 + bits
    session.peaks["all"] = max(session.peaks.get("all", 0.0), level)
    session.score = session.peaks["all"]
    return level


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
