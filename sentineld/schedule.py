"""Schedule: when time alone will next do something to an agent that others can see.

Most agents are silent most of the time. Nobody looks at them until they act, or until they are due: a quiet
time is over, a pin or a grace ends, a session has ended, a role can learn from one, or what leaves the window
changes the tier that it calls for. What time does meanwhile it does when the agent is looked at, as of the
instants at which it happened: who looks more often sees nothing else.
"""

from heapq import heapify, heappop, heappush

from sentineld.batch import Key
from sentineld.entropy import UNITS
from sentineld.learned import Learned
from sentineld.monitor import BehavioralMonitor
from sentineld.step import AgentState, Prior
from sentineld.teaching import SLICE_US
from sentineld.window import BUCKETS, Window

#: Sums of rounded parts may differ by less than this from the score.
_SLACK = 1e-9


def due_us(state: AgentState, prior: Prior) -> int | None:
    """Return an instant up to which, that one included, time alone does nothing that others can see.

    None: it never will. Behind it, it may: to be looked at in vain changes nothing.
    """
    standing = state.standing
    is_settled = standing.quiet_since_us is None and standing.is_plain
    due = None if is_settled else prior.policy.next_deadline(standing)
    if prior.detection is None:
        other = _window_us(state, prior.monitor, is_settled=is_settled)
    else:
        other = (
            None if state.learned is None else _sessions_us(state.learned, prior.detection.settings.gap_us)
        )
    if other is not None and (due is None or other < due):
        return other
    return due


def _sessions_us(agent: Learned, gap_us: int) -> int | None:
    due = agent.next_end_us(gap_us)
    if agent.finished:
        # A role learns at the first border of slices at which the session has ended.
        border_us = -(-min(done.ended_us for done in agent.finished) // SLICE_US) * SLICE_US - 1
        due = border_us if due is None else min(due, border_us)
    return due


def _window_us(state: AgentState, monitor: BehavioralMonitor, *, is_settled: bool) -> int | None:
    window = state.profile.window
    if not window.buckets:
        return None
    if state.level == 1 and (is_settled or state.standing.is_plain) and _stays_calm(window, monitor):
        return None
    return (window.oldest + BUCKETS) * window.bucket_us - 1


def _stays_calm(window: Window, monitor: BehavioralMonitor) -> bool:
    """Say whether nothing that is left of the window, whatever leaves it, can call for a tier above 1."""
    score = monitor.operations_score(window)
    limit = monitor.suspicious_threshold - _SLACK
    if score + monitor.entropy_weight <= limit:
        return True
    highest = max(cell[3] / cell[0] for cell in window.buckets.values()) / UNITS
    return score + monitor.entropy_weight * highest <= limit


class Schedule:
    """Which of some agents are due next. Cost: O(1) where one is due later than before, else O(log n)."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Key]] = []
        #: Where each agent stands in the heap: never behind the instant at which it is due.
        self._placed: dict[Key, int] = {}

    def clear(self) -> None:
        """Forget everybody."""
        self._heap.clear()
        self._placed.clear()

    def put(self, key: Key, due: int | None) -> None:
        """Note when an agent is due; None: never."""
        placed = self._placed.get(key)
        if due is None:
            if placed is not None:
                self.remove(key)
        elif placed is None or due < placed:
            self._placed[key] = due
            heappush(self._heap, (due, key))

    def placed(self, key: Key) -> int | None:
        """Return an instant before which an agent is not due; None: it never is."""
        return self._placed.get(key)

    def remove(self, key: Key) -> None:
        """Forget an agent."""
        if self._placed.pop(key, None) is not None and len(self._heap) > 2 * len(self._placed) + 64:
            self._heap = [(due, key) for key, due in self._placed.items()]
            heapify(self._heap)

    def first(self) -> tuple[Key, int] | None:
        """Return who may be due first, and when at the earliest; None where nobody ever is."""
        while self._heap and self._placed.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return (self._heap[0][1], self._heap[0][0]) if self._heap else None

    def take(self, until_us: int) -> list[Key]:
        """Return, once, who may be due before an instant; they must be put again."""
        found = []
        while self._heap and self._heap[0][0] < until_us:
            due, key = heappop(self._heap)
            if self._placed.get(key) == due:
                del self._placed[key]
                found.append(key)
        return found
