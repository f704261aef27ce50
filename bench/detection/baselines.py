"""Methods that the product is compared with. The last two need the dependency group ``bench``."""

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from sentineld.entropy import entropy_units, metadata_entropy
from sentineld.event import FILE_OPERATIONS, NETWORK_OPERATIONS, OPERATION_KIND, OTHER, Observation
from sentineld.monitor import BehavioralMonitor
from sentineld.taxonomy import classify

from .protocol import Event, Session, unix


class Activity:
    """The activity score: volume of file and network operations and entropy, over five minutes of an agent.

    Learns nothing but what the agent did in the last five minutes. Tiers by its own thresholds, 0.5 and 0.7.
    """

    name = "activity score"

    def __init__(self) -> None:
        self._monitor = BehavioralMonitor()
        self._recent: dict[str, deque[Observation]] = {}
        self._span_us = round(self._monitor.window_seconds * 1.1e6)

    def learn(self, session: Session) -> None:
        """Remember what still lies in the window."""
        recent = self._recent.setdefault(session.agent, deque())
        recent.extend(map(_observation, session.events))
        while recent and recent[0][0] < recent[-1][0] - self._span_us:
            recent.popleft()

    def judge(self, session: Session) -> tuple[list[float], list[int]]:
        """Return scores and the tiers that they call for."""
        monitor, window, clock = self._monitor, self._monitor.new_window(), 0
        for seen in sorted(self._recent.get(session.agent, ())):
            clock = self._add(window, max(clock, seen[0]), seen)
        scores = []
        for event in session.events:
            seen = _observation(event)
            clock = self._add(window, max(clock, seen[0]), seen)
            scores.append(monitor.score_of(window))
        return scores, [monitor.level(score) for score in scores]

    def score(self, session: Session) -> list[float]:
        """Return the score after each event."""
        return self.judge(session)[0]

    def _add(self, window: Any, clock: int, seen: Observation) -> int:
        at = (clock, *seen[1:])
        # A change of tier stops the batch; a batch of one is over by then.
        self._monitor.observe(window, clock, 1, (at,))
        return clock


def _observation(event: Event) -> Observation:
    data = event["data"]
    event_class = _class_of(event)
    kind = OPERATION_KIND.get(event_class, OTHER)
    return (
        round(unix(event["timestamp"]) * 1e6),
        kind,
        entropy_units(metadata_entropy(data)),
        event_class,
        0,
        0,
        None,
    )


def _class_of(event: Event) -> str:
    found = classify(event["data"]["tool"], event["data"]["args"])
    return found if isinstance(found, str) else found.event_class


class Stide:
    """Sequences of three tool names never seen in the role (Forrest et al., "A sense of self", 1996).

    The score is the number of unseen triples among the last twenty (the locality frame of Warrender et al.,
    1999).
    """

    name = "stide-3"
    length, frame = 3, 20

    def __init__(self) -> None:
        self._known: dict[str, set[tuple[str, ...]]] = {}

    def learn(self, session: Session) -> None:
        """Keep the session's triples."""
        self._known.setdefault(session.role, set()).update(self._triples(session))

    def score(self, session: Session) -> list[float]:
        """Return the count of unseen triples in the frame, after each event."""
        known = self._known.get(session.role, set())
        frame: deque[bool] = deque(maxlen=self.frame)
        scores = []
        for triple in self._triples(session):
            frame.append(triple not in known)
            scores.append(float(sum(frame)))
        return scores

    def _triples(self, session: Session) -> list[tuple[str, ...]]:
        tools = ["", ""] + [event["data"]["tool"] for event in session.events]
        return [tuple(tools[at : at + self.length]) for at in range(len(session.events))]


_FEATURES = 10


def features(session: Session) -> list[list[float]]:
    """Describe each event and the five minutes before it in ten numbers from 0 to 1, without any names."""
    recent: deque[tuple[float, str, str, bool]] = deque()
    rows = []
    before = session.start
    for event in session.events:
        data = event["data"]
        at, event_class = unix(event["timestamp"]), _class_of(event)
        recent.append((at, event_class, data["tool"], bool(data["error"])))
        while recent[0][0] < at - 300:
            recent.popleft()
        classes = Counter(item[1] for item in recent)
        tools = Counter(item[2] for item in recent)
        length = sum(len(str(value)) for value in data["args"].values())
        n = len(recent)
        rows.append(
            [
                _squash(n, 30),
                _squash(sum(classes[name] for name in FILE_OPERATIONS), 20),
                _squash(sum(classes[name] for name in NETWORK_OPERATIONS), 5),
                _squash(classes["credential_access"], 1),
                _squash(classes["shell_exec"], 10),
                len(tools) / n,
                -sum(c / n * math.log2(c / n) for c in tools.values()) / 6,
                _squash(length, 200),
                metadata_entropy(data),
                _squash(math.log1p(max(0.0, at - before)), 3),
            ]
        )
        before = at
    return rows


def _squash(value: float, half: float) -> float:
    return value / (value + half)


class HalfSpaceTrees:
    """Half-Space Trees on window features (Tan, Ting and Liu, 2011), by river at its defaults."""

    name = "Half-Space Trees"

    def __init__(self) -> None:
        from river import anomaly

        self._new = lambda: anomaly.HalfSpaceTrees(seed=1)
        self._trees: dict[str, Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "HalfSpaceTrees":
        """Copy the trees by pickling, which is much faster here."""
        import pickle

        twin = HalfSpaceTrees()
        twin._trees = pickle.loads(pickle.dumps(self._trees))
        return twin

    def learn(self, session: Session) -> None:
        """Add each event to its role's trees."""
        if session.role not in self._trees:
            self._trees[session.role] = self._new()
        trees = self._trees[session.role]
        for row in features(session):
            trees.learn_one(dict(enumerate(row)))

    def score(self, session: Session) -> list[float]:
        """Return the score of each event."""
        trees = self._trees.get(session.role)
        if trees is None:
            return [0.0] * len(session.events)
        return [float(trees.score_one(dict(enumerate(row)))) for row in features(session)]


class IsolationForest:
    """Isolation Forest on the same features (Liu, Ting and Zhou, 2008), by scikit-learn at its defaults.

    Fitted anew when what was learned has grown by a fifth.
    """

    name = "Isolation Forest"

    def __init__(self) -> None:
        self._rows: dict[str, list[list[float]]] = {}
        self._fitted: dict[str, tuple[int, Any]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "IsolationForest":
        """Share what is fitted: it is never changed, only replaced."""
        twin = IsolationForest()
        twin._rows = {role: list(rows) for role, rows in self._rows.items()}
        twin._fitted = dict(self._fitted)
        return twin

    def learn(self, session: Session) -> None:
        """Keep the session's rows."""
        self._rows.setdefault(session.role, []).extend(features(session))

    def score(self, session: Session) -> list[float]:
        """Return each event's anomaly score, 0..1."""
        import numpy as np

        rows = self._rows.get(session.role, [])
        if len(rows) < 50:
            return [0.0] * len(session.events)
        fitted, forest = self._fitted.get(session.role, (0, None))
        if forest is None or len(rows) > fitted * 1.2:
            from sklearn.ensemble import IsolationForest as Forest

            forest = Forest(random_state=1).fit(np.asarray(rows))
            self._fitted[session.role] = (len(rows), forest)
        return [float(value) for value in -forest.score_samples(np.asarray(features(session)))]


class Random:
    """A hash of the session: what no method at all would reach."""

    name = "chance"

    def learn(self, session: Session) -> None:
        """Learn nothing."""

    def score(self, session: Session) -> Sequence[float]:
        """Return one arbitrary number for all events."""
        import hashlib

        shown = f"{session.id} {len(session.events)} {session.events[-1]['timestamp']}"
        value = int.from_bytes(hashlib.blake2b(shown.encode(), digest_size=6).digest(), "big") / 2**48
        return [value] * len(session.events)


LIGHT = (Activity, Stide)
HEAVY = (HalfSpaceTrees, IsolationForest)
