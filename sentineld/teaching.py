"""Teaching: when roles learn from finished sessions.

Habits change at the borders of slices of effective time only, and then for all agents at once: every event
inside of a slice is judged by the same habits, in whatever batches it arrives. Sessions that have ended before
the border are learned from in the order of their ends.
"""

from collections.abc import Iterator, Mapping
from operator import itemgetter

from sentineld.batch import Key
from sentineld.detection import Detection, RoleKey
from sentineld.event import Observation
from sentineld.habits import Role
from sentineld.instant import SECOND_US
from sentineld.learned import Finished, Learned
from sentineld.step import AgentState
from sentineld.store import RoleRow

#: Width of a slice, microseconds.
SLICE_US = 600 * SECOND_US

Runs = Mapping[Key, list[Observation]]


class Teaching:
    """Follows the slices; ``slice`` is the number of the present one (0: none yet)."""

    def __init__(self, detection: Detection | None, latest_us: int) -> None:
        self.detection = detection
        self.slice = latest_us // SLICE_US

    def stretches(self, runs: Runs) -> Iterator[tuple[int | None, Runs]]:
        """Cut a batch where slices end: pairs of (the border to cross first, observations behind it)."""
        if self.detection is None or not runs:
            yield None, runs
            return
        cut: dict[int, dict[Key, list[Observation]]] = {}
        for key, run in runs.items():
            number = self.slice
            if number and max(map(_AT, run)) // SLICE_US <= number:
                cut.setdefault(number, {})[key] = run
                continue
            for item in run:
                number = max(number, item[0] // SLICE_US)
                cut.setdefault(number, {}).setdefault(key, []).append(item)
        for number in sorted(cut):
            border = number * SLICE_US if number > self.slice else None
            self.slice = number
            yield border, cut[number]

    def border(self, at_us: int) -> int | None:
        """Return the border that lies between the present slice and an instant, and cross it; None for none."""
        number = at_us // SLICE_US
        if self.detection is None or number <= self.slice:
            return None
        self.slice = number
        return number * SLICE_US

    def learn(self, states: list[AgentState], until_us: int) -> tuple[list[AgentState], list[RoleRow]]:
        """Let roles learn from the sessions that ended by then; return who and what has changed."""
        detection = self.detection
        if detection is None:
            return [], []
        found: dict[RoleKey, list[tuple[tuple[int, str, str], Finished, Learned]]] = {}
        changed = []
        for state in states:
            agent = state.learned
            if agent is None or not agent.finished:
                continue
            later = [done for done in agent.finished if done.ended_us > until_us]
            if len(later) == len(agent.finished):
                continue
            for done in agent.finished:
                if done.ended_us <= until_us:
                    order = (done.ended_us, state.agent_id, done.name)
                    found.setdefault((state.owner, done.role), []).append((order, done, agent))
            agent.finished = later
            changed.append(state)
        rows = []
        for key in sorted(found):
            items = sorted(found[key], key=itemgetter(0))
            role = detection.role(key)
            role.merge([done for _, done, _ in items], [agent.own for _, _, agent in items])
            rows.append(RoleRow(key[0], key[1], role.dump()))
        return changed, rows


def load_roles(rows: list[RoleRow]) -> dict[RoleKey, Role]:
    """Read all stored habits. Raises ``ValueError`` for damaged ones."""
    return {(row.owner, row.name): Role.load(row.habits) for row in rows}


_AT = itemgetter(0)
