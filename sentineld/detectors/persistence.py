"""Persistence: what outlives the session, or what agents obey, is written where none ever wrote it.

Profiles, schedulers, hooks, pipelines, keys; settings that name programs; agents' own settings and orders.
Formula, source and memory: as ``sink``; MITRE ATT&CK TA0003.
Known false alarms: a user who has an agent set up a pipeline, a hook or the agent itself.
"""

from collections.abc import Iterator

from sentineld.detectors.base import GRAVE, NOTABLE, SERIOUS, Detector
from sentineld.event import Facts, Feature
from sentineld.features.paths import agents_part, hidden, is_own_work, place_of, starts_later
from sentineld.session import Session


def _derive(session: Session, facts: Facts, _at_us: int) -> Iterator[Feature]:
    for name, path in facts.features:
        if name not in ("path.sink", "path.delete"):
            continue
        place = place_of(path, session.root)
        if place == "tmp":
            continue
        outside = "~" if place else ""
        part = agents_part(path)
        if part:
            is_setting = "settings" in path or "hook" in path or "mcp" in path
            is_home = place and not is_own_work(path)
            what = "agent.home" if is_home else "agent.settings" if is_setting else "agent.tree"
            yield Feature("agent.tree" if is_own_work(path) else what, outside + part)
        elif starts_later(path):
            what = "later.home" if place else "later.tree"
            yield Feature(what, f"{outside}{hidden(path)}/{path.rpartition('/')[2][:32]}")


PERSISTENCE = Detector(
    "persistence",
    {
        "later.home": "something is written that runs later, outside of the session's tree",
        "later.tree": "something is written that runs later",
        "later.setting": "a setting is changed that names a program or whom to believe",
        "agent.home": "settings or orders of agents are written, outside of the session's tree",
        "agent.settings": "settings or hooks of an agent are written",
        "agent.tree": "orders to agents are written",
    },
    {
        "later.home": GRAVE,
        "later.setting": GRAVE,
        "agent.home": GRAVE,
        "later.tree": SERIOUS,
        "agent.settings": SERIOUS,
        "agent.tree": NOTABLE,
    },
    derive=_derive,
    groups=dict.fromkeys(("agent.home", "agent.settings", "agent.tree"), "later"),
)
