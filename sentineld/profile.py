"""What is known of one agent's behaviour: the sliding window and what people read of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sentineld.clock import now_us
from sentineld.entropy import UNITS
from sentineld.instant import iso
from sentineld.window import BUCKETS_BEFORE, EMPTY, Window


def _now_iso() -> str:
    return iso(now_us())


@dataclass(slots=True)
class AgentBehavioralProfile:
    """Profile of one agent.

    The counts are those of the window at its last look: ``file_ops_count`` and ``network_ops_count`` are
    operations, ``entropy_score`` the mean entropy of the window's events (0..1), ``anomaly_score`` the
    monitor's score (0..1). ``last_activity`` and ``sliding_window_start`` are ISO 8601 UTC.
    ``window`` holds the buckets that the counts come from.
    """

    agent_id: str
    file_ops_count: int = 0
    network_ops_count: int = 0
    entropy_score: float = 0.0
    last_activity: str = field(default_factory=_now_iso)
    sliding_window_start: str = field(default_factory=_now_iso)
    anomaly_score: float = 0.0
    window: Window = field(default_factory=Window)

    def is_anomalous(self, threshold: float = 0.7) -> bool:
        """Say whether the anomaly score lies above the threshold (0..1)."""
        return self.anomaly_score > threshold

    def refresh(self) -> None:
        """Set the counts and the window's start from the window; the score is the monitor's to set."""
        window = self.window
        self.file_ops_count = window.file_ops
        self.network_ops_count = window.network_ops
        self.entropy_score = window.entropy_units / (window.events * UNITS) if window.events else 0.0
        if window.newest != -EMPTY:
            self.sliding_window_start = iso((window.newest - BUCKETS_BEFORE) * window.bucket_us)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON, from which ``from_dict`` makes an equal profile."""
        window = self.window
        return {
            "agent_id": self.agent_id,
            "file_ops_count": self.file_ops_count,
            "network_ops_count": self.network_ops_count,
            "entropy_score": self.entropy_score,
            "last_activity": self.last_activity,
            "sliding_window_start": self.sliding_window_start,
            "anomaly_score": self.anomaly_score,
            "window": {
                "bucket_us": window.bucket_us,
                "newest": window.newest,
                "buckets": {str(number): list(cell) for number, cell in sorted(window.buckets.items())},
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "AgentBehavioralProfile":
        """Read what ``to_dict`` gave. Only ``agent_id`` is required; unknown members are ignored."""
        window = Window()
        if "window" in data:
            given = data["window"]
            window = Window(bucket_us=given["bucket_us"], newest=given["newest"])
            for number, cell in given["buckets"].items():
                window.restore(int(number), *cell)
        names = (
            "file_ops_count",
            "network_ops_count",
            "entropy_score",
            "last_activity",
            "sliding_window_start",
            "anomaly_score",
        )
        return cls(
            agent_id=data["agent_id"], window=window, **{name: data[name] for name in names if name in data}
        )
