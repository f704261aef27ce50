"""Persistence: what outlives the session, or what agents obey, is written where none ever wrote it.

Profiles, schedulers, hooks, pipelines, keys; settings that name programs; agents' own settings and orders.
Formula, source, range and memory: as ``sink``; MITRE ATT&CK TA0003.
Known false alarms: a user who has an agent set up a pipeline, a hook or the agent itself.
"""

from collections.abc import Sequence

from sentineld.detectors.base import GRAVE, NOTABLE, SERIOUS, SILENT, Detector
from sentineld.event import Feature
from sentineld.features.paths import place_in, traits
from sentineld.session import Session


def _written(session: Session, value: str) -> Sequence[Feature]:
    path = traits(value)
    if path.is_scratch or not (path.agents or path.is_later):
        return ()
    found: list[Feature] = []
    place = place_in(session.root, value)
    outside = "~" if place else ""
    if path.steering:
        found.append(("agent.steering", outside + path.steering))
    if not path.agents:
        what = "later.home" if place else "later.hook" if path.is_hook else "later.tree"
        found.append((what, f"{outside}{path.hidden}/{value.rpartition('/')[2][:32]}"))
    elif path.is_own_work:
        found.append(("agent.tree", outside + path.agents))
    elif place:
        found.append(("agent.home", outside + path.agents))
    else:
        is_setting = "settings" in value or "hook" in value or "mcp" in value
        found.append(("agent.settings" if is_setting else "agent.tree", path.agents))
    return found


def _set(session: Session, value: str) -> Sequence[Feature]:
    """Read what was written into an agent's settings without taking a check away: in a tree, it is work."""
    found = _written(session, value)
    if place_in(session.root, value):
        return found
    return [
        ("agent.tree", value) if name == "agent.settings" else (name, value)
        for name, value in found
        if name != "agent.steering"
    ]


PERSISTENCE = Detector(
    "persistence",
    {
        "later.home": "something is written that runs later, outside of the session's tree",
        "later.hook": "something is written that the next ordinary command runs",
        "later.tree": "something is written that runs later",
        "later.setting": "a setting is changed that names a program or whom to believe",
        "agent.home": "settings or orders of agents are written, outside of the session's tree",
        "agent.settings": "settings or hooks of an agent are written",
        "agent.tree": "orders to agents are written",
        "agent.steering": "what steers, records or guards an agent is written",
    },
    {
        "later.home": GRAVE,
        "later.hook": GRAVE,
        "later.setting": GRAVE,
        "agent.home": GRAVE,
        "later.tree": SERIOUS,
        "agent.settings": SERIOUS,
        "agent.tree": NOTABLE,
        "agent.steering": SILENT,
    },
    reads={"path.sink": _written, "path.setting": _set, "path.delete": _written},
    groups=dict.fromkeys(("agent.home", "agent.settings", "agent.tree", "agent.steering"), "later"),
)
