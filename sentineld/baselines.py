"""Baselines: what a database's habits are, seen from outside: the list, and documents to take away."""

from collections.abc import Sequence
from typing import Any

from sentineld import baseline
from sentineld.baseline import Baseline, Told
from sentineld.detection import DetectionSettings, RoleKey
from sentineld.habits import Role
from sentineld.learned import Learned, Own
from sentineld.step import AgentState, load_checked
from sentineld.store import Store
from sentineld.tables import AgentRow, LessonRow
from sentineld.teaching import load_roles
from sentineld.version import __version__


def list_document(store: Store, settings: DetectionSettings | None) -> dict[str, Any]:
    """Return the document of ``baseline list --json``; without ``settings`` nothing is learned."""
    roles, damaged = load_roles(store.roles())
    agents = [(row.name, agent) for row in store.agents() if (agent := _learned(row)) is not None]
    told = settings or DetectionSettings()
    return {
        "mode": "activity" if settings is None else "learned",
        "roles": [
            _role_document(key, role, store.lessons(key[0], role=key[1]), agents, told)
            for key, role in sorted(roles.items())
        ],
        "damaged": [{"role": name, "owner": owner} for owner, name in damaged],
        "frozen_agents": [name for name, state in agents if (state.learned or Learned()).own.is_frozen],
    }


def export_role(store: Store, key: RoleKey, role: Role, now_us: int) -> Baseline:
    """Return a role's habits as a document."""
    lessons = store.lessons(key[0], role=key[1])
    return baseline.of_role(role, _told(store, key[0], key[1], lessons, now_us))


def export_agent(store: Store, row: AgentRow, now_us: int) -> Baseline:
    """Return an agent's own habits as a document. Raises ``ValueError`` where its state is damaged."""
    state = load_checked(row.state, row.owner, row.agent_id, row.tier)
    own = Own() if state.learned is None else state.learned.own
    lessons = store.lessons(row.owner, agent_id=row.agent_id)
    told = _told(store, row.owner, row.name, lessons, now_us, [row.agent_id])
    return baseline.of_agent(own, told)


def _told(
    store: Store,
    owner: int,
    name: str,
    lessons: Sequence[LessonRow],
    now_us: int,
    agents: Sequence[str] = (),
) -> Told:
    taught = [item for item in lessons if item.is_learned]
    ends = [item.ended_us for item in taught] or [0]
    formats = store.formats_of(owner, agents or sorted({item.agent_id for item in taught}))
    return Told(name, now_us, f"sentineld/{__version__}", min(ends), max(ends), formats)


def _role_document(
    key: RoleKey,
    role: Role,
    lessons: Sequence[LessonRow],
    agents: Sequence[tuple[str, AgentState]],
    settings: DetectionSettings,
) -> dict[str, Any]:
    ranks = role.calibration.own
    # An operator's word is a lesson of its own, beside that of the session's end. What ended before a bound
    # held was not judged under it, and is not to be taken off.
    attacks = {(item.agent_id, item.ended_us) for item in lessons if item.is_attack}
    judged = [item for item in lessons if item.is_rank and item.ranks >= settings.sessions_for_tier2]
    honest = [
        item for item in judged if not (item.is_suspicious and (item.agent_id, item.ended_us) in attacks)
    ]
    alarms = sum(item.is_suspicious for item in honest)
    return {
        "role": key[1],
        "owner": key[0],
        "agents": sorted(
            name for name, state in agents if (state.owner, (state.learned or Learned()).role) == key
        ),
        "sessions": role.own_sessions,
        "starter": starter_document(role),
        "ranks": ranks,
        "kept_sessions": len(lessons),
        "values": len(role.known),
        "version": role.version,
        "frozen": role.is_frozen,
        "learning": learning(ranks, settings),
        "false_alarms": {
            "nominal": settings.false_alarms_per_session,
            "realised": round(alarms / len(honest), 6) if honest else None,
            "alarms": alarms,
            "sessions": len(honest),
        },
    }


def starter_document(role: Role) -> dict[str, Any] | None:
    """Return which starter a role began with, and how many of its sessions still rank; None: without one."""
    origin = role.starter
    if origin is None:
        return None
    return {
        "name": origin.name,
        "sessions": origin.sessions,
        "agents": origin.agents,
        "owners": origin.owners,
        "first": origin.first,
        "last": origin.last,
        "source": origin.source,
        "licence": origin.licence,
        "ranks": role.calibration.together,
    }


def learning(ranks: int, settings: DetectionSettings) -> str:
    """Say what is still missing for the stated bounds; empty: nothing."""
    if ranks < settings.sessions_for_tier2:
        return f"{settings.sessions_for_tier2 - ranks} more sessions until tier 2 has a bound"
    if ranks < settings.sessions_for_tier3:
        return f"{settings.sessions_for_tier3 - ranks} more sessions until one alone can be tier 3"
    return ""


def _learned(row: AgentRow) -> AgentState | None:
    try:
        state = load_checked(row.state, row.owner, row.agent_id, row.tier)
    except ValueError:
        return None
    return None if state.learned is None else state
