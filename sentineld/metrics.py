"""Metrics: which there are, and what they are now; names and units as Prometheus asks for.

``METRICS`` declares them once: ``docs/metrics.md`` and what is served come from it. The loop hands over a
``Sample``, plain data, at most once a second; from there on ``metrics_endpoint`` serves it on a thread of its
own, so that neither waits for the other. Nothing here imports prometheus_client.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from sentineld import clock, log
from sentineld.catch_up import Progress
from sentineld.config import Config
from sentineld.database import connect_readonly
from sentineld.detection import Detection, RoleKey
from sentineld.event import EVENT_CLASSES
from sentineld.governor import Governor
from sentineld.instant import SECOND_US
from sentineld.integrity import KINDS
from sentineld.meter import OBSERVED_CAUSES, Histogram, Meter
from sentineld.outlet import FAULTS, Outlet
from sentineld.roster import Roster
from sentineld.rules import RULES
from sentineld.store import Store
from sentineld.tail import Tail
from sentineld.throttle import RESOURCES, STEPS
from sentineld.version import __version__
from sentineld.visible import visible

#: Roles that are named, those with most sessions first; the others are not shown.
MAX_ROLES = 64

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Metric(NamedTuple):
    """One metric: its name as Prometheus shows it, its kind, its labels, and what it says."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


METRICS = tuple(
    Metric(*item)
    for item in (
        ("sentineld_build_info", GAUGE, ("version",), "Always 1; the label says which version runs."),
        ("sentineld_mode", GAUGE, ("mode",), "1 for the mode in force: enforce or observe."),
        ("sentineld_state_status", GAUGE, ("status",), "1 for the status that was published last."),
        ("sentineld_isolation", GAUGE, ("isolation",), "1 for what the guarantees are worth now."),
        ("sentineld_fault", GAUGE, ("fault",), "1 for what does not work now."),
        ("sentineld_state_seq", GAUGE, (), "Number of the state file that was published last."),
        (
            "sentineld_state_published_timestamp_seconds",
            GAUGE,
            (),
            "When the state file was written last (Unix time).",
        ),
        ("sentineld_state_validity_seconds", GAUGE, (), "How long readers may rely on a state file."),
        (
            "sentineld_sample_timestamp_seconds",
            GAUGE,
            (),
            "When the daemon's loop told these figures (Unix time).",
        ),
        ("sentineld_agents", GAUGE, ("tier",), "Agents that are known, by tier."),
        ("sentineld_files", GAUGE, (), "Telemetry files that are followed."),
        ("sentineld_unread_bytes", GAUGE, (), "Bytes between what was read and the ends of the files."),
        (
            "sentineld_lag_seconds",
            GAUGE,
            (),
            "For how long there has been something left to read; 0 when all is read.",
        ),
        (
            "sentineld_catch_up_bytes_per_second",
            GAUGE,
            (),
            "How fast a backlog is read, of late; 0 when there is none.",
        ),
        (
            "sentineld_catch_up_eta_seconds",
            GAUGE,
            (),
            "In how long it will have been read; 0 when there is none, absent while nobody can say.",
        ),
        ("sentineld_throttle", GAUGE, ("step",), "1 for the step in force: how far the daemon steps back."),
        (
            "sentineld_pressure_ratio",
            GAUGE,
            ("resource",),
            "Share of the time in which something on the machine waited for it, as read last.",
        ),
        (
            "sentineld_last_scan_timestamp_seconds",
            GAUGE,
            (),
            "When the last complete look at all directories began (Unix time).",
        ),
        ("sentineld_watch_up", GAUGE, (), "1 while the kernel tells of changes; else scans find them."),
        ("sentineld_database_size_bytes", GAUGE, (), "Bytes of the database in use."),
        ("sentineld_database_limit_bytes", GAUGE, (), "Size that the database is kept below."),
        (
            "sentineld_calibration_sessions",
            GAUGE,
            ("owner", "role"),
            "Sessions of a role's own among which new ones are ranked.",
        ),
        (
            "sentineld_judged_sessions",
            GAUGE,
            ("owner", "role"),
            "Kept honest sessions of a role that were ranked under a bound.",
        ),
        (
            "sentineld_realised_false_alarms_ratio",
            GAUGE,
            ("owner", "role"),
            "Share of these that reached tier 2.",
        ),
        (
            "sentineld_nominal_false_alarms_ratio",
            GAUGE,
            (),
            "Share of honest sessions that may (detection.false_alarms_per_session).",
        ),
        (
            "sentineld_config_last_reload_successful",
            GAUGE,
            (),
            "1 where the configuration in force is the one that was asked for last.",
        ),
        (
            "sentineld_config_last_reload_success_timestamp_seconds",
            GAUGE,
            (),
            "When a configuration was taken last (Unix time).",
        ),
        (
            "sentineld_agent_tier",
            GAUGE,
            ("agent",),
            "Tier of an agent that is named (metrics.agents), as published.",
        ),
        ("sentineld_agent_score", GAUGE, ("agent",), "Its score when its tier changed last."),
        (
            "sentineld_lines_total",
            COUNTER,
            ("format", "outcome"),
            "Lines that were committed: accepted, ignored, rejected or duplicate.",
        ),
        ("sentineld_rejects_total", COUNTER, ("reason",), "Lines that were rejected, by reason."),
        ("sentineld_read_bytes_total", COUNTER, (), "Bytes of line files that were read and committed."),
        ("sentineld_events_total", COUNTER, ("class",), "Events, by class."),
        ("sentineld_tool_calls_total", COUNTER, (), "Tool calls among the events."),
        (
            "sentineld_unknown_records_total",
            COUNTER,
            ("format",),
            "Records of kinds that their format does not know.",
        ),
        ("sentineld_decisions_total", COUNTER, ("cause", "tier"), "Decisions, by cause and new tier."),
        ("sentineld_rules_broken_total", COUNTER, ("rule",), "Decisions for which a rule was broken."),
        ("sentineld_incidents_total", COUNTER, ("kind",), "What was done to telemetry itself, by kind."),
        (
            "sentineld_throttle_rest_seconds_total",
            COUNTER,
            (),
            "How long the daemon has rested under pressure while there was more to read.",
        ),
        (
            "sentineld_publish_failures_total",
            COUNTER,
            (),
            "Attempts to write the state file that failed.",
        ),
        ("sentineld_log_records_lost_total", COUNTER, (), "Records of the process log that were lost."),
        ("sentineld_commit_duration_seconds", HISTOGRAM, (), "How long transactions took."),
        ("sentineld_publish_duration_seconds", HISTOGRAM, (), "How long writing the state file took."),
        (
            "sentineld_decision_delay_seconds",
            HISTOGRAM,
            (),
            "From the event that demoted an agent to the state file that says so.",
        ),
    )
)


class Buckets(NamedTuple):
    """A histogram as it was: counts by upper bound, the last without one, and the sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


Value = float | Buckets
#: Values by metric and labels. What the loop hands over is changed by nobody.
Sample = Mapping[str, Mapping[tuple[str, ...], Value]]


class Sources(NamedTuple):
    """What is asked for a sample; only the loop's thread may."""

    config: Config
    outlet: Outlet
    roster: Roster
    detection: Detection | None
    tail: Tail
    store: Store
    is_watching: bool
    lag_us: int
    governor: Governor


def sample(meter: Meter, sources: Sources) -> Sample:
    """Say what is now. Cost: tens of microseconds, and O(1) for each agent above tier 1."""
    config, outlet, tail = sources.config, sources.outlet, sources.tail
    publisher = outlet.publisher
    values: dict[str, Mapping[tuple[str, ...], Value]] = {
        "sentineld_build_info": {(__version__,): 1},
        "sentineld_mode": _one_of(publisher.mode, ("enforce", "observe")),
        "sentineld_isolation": _one_of(publisher.isolation, ("service", "user", "none")),
        **spoken(meter, outlet),
        "sentineld_state_validity_seconds": _only(publisher.valid_for_us / SECOND_US),
        "sentineld_sample_timestamp_seconds": _only(clock.now_us() / SECOND_US),
        "sentineld_agents": {(str(tier),): count for tier, count in sources.roster.tiers().items()},
        "sentineld_files": _only(tail.count()),
        "sentineld_unread_bytes": _only(tail.unread_bytes()),
        "sentineld_lag_seconds": _only(sources.lag_us / SECOND_US),
        **_progress(outlet.progress),
        **_throttle(sources.governor),
        "sentineld_last_scan_timestamp_seconds": _only(tail.last_scan_us / SECOND_US),
        "sentineld_watch_up": _only(sources.is_watching),
        "sentineld_database_size_bytes": _only(sources.store.retention.used_bytes()),
        "sentineld_database_limit_bytes": _only(config.limits.database_bytes),
    }
    if sources.detection is not None:
        values["sentineld_calibration_sessions"] = _sessions(sources.detection)
        rate = sources.detection.settings.false_alarms_per_session
        values["sentineld_nominal_false_alarms_ratio"] = _only(rate)
    if config.metrics.agents:
        values |= _agents(sources.roster, config.metrics.agents)
    return values


def _progress(progress: Progress | None) -> dict[str, Mapping[tuple[str, ...], Value]]:
    rate, eta_s = (0, 0) if progress is None else (progress.bytes_per_s, progress.eta_s)
    values: dict[str, Mapping[tuple[str, ...], Value]] = {"sentineld_catch_up_bytes_per_second": _only(rate)}
    if eta_s is not None:
        values["sentineld_catch_up_eta_seconds"] = _only(eta_s)
    return values


def _throttle(governor: Governor) -> dict[str, Mapping[tuple[str, ...], Value]]:
    readings = zip(RESOURCES, governor.pressure, strict=True)
    return {
        "sentineld_throttle": _one_of(governor.throttle.name, STEPS),
        "sentineld_pressure_ratio": {(name,): round(value / 100, 4) for name, value in readings},
        "sentineld_throttle_rest_seconds_total": _only(governor.rested_us / SECOND_US),
    }


def counted(meter: Meter) -> dict[str, Mapping[tuple[str, ...], Value]]:
    """Return what the meter alone knows."""
    return {
        "sentineld_config_last_reload_successful": _only(meter.is_reload_good),
        "sentineld_config_last_reload_success_timestamp_seconds": _only(meter.reloaded_at / SECOND_US),
        "sentineld_lines_total": {labels: count for labels, count in meter.lines.items()},  # noqa: C416
        "sentineld_rejects_total": {(name,): count for name, count in meter.rejects.items()},
        "sentineld_read_bytes_total": _only(meter.read_bytes),
        "sentineld_events_total": _counted(EVENT_CLASSES, meter.events),
        "sentineld_tool_calls_total": _only(meter.tool_calls),
        "sentineld_unknown_records_total": {(name,): count for name, count in meter.unknown.items()},
        "sentineld_decisions_total": _decisions(meter),
        "sentineld_rules_broken_total": _counted(RULES, meter.rules),
        "sentineld_incidents_total": _counted(KINDS, meter.incidents),
        "sentineld_publish_failures_total": _only(meter.publish_failures),
        "sentineld_commit_duration_seconds": _buckets(meter.commits),
        "sentineld_publish_duration_seconds": _buckets(meter.publishes),
        "sentineld_decision_delay_seconds": _buckets(meter.delays),
    }


def spoken(meter: Meter, outlet: Outlet) -> dict[str, Mapping[tuple[str, ...], Value]]:
    """Return what needs no database: what was counted and said, and what does not work now."""
    return {
        **counted(meter),
        "sentineld_state_status": _one_of(outlet.word, ("ok", "catching_up", "degraded", "shutdown")),
        "sentineld_fault": {(name,): name in outlet.faults for name in FAULTS},
        "sentineld_state_seq": _only(outlet.seq),
        "sentineld_state_published_timestamp_seconds": _only(meter.published_at / SECOND_US),
        "sentineld_log_records_lost_total": _only(log.records_lost()),
    }


def false_alarms(database: str, needed: int) -> dict[str, Mapping[tuple[str, ...], Value]]:
    """Return what the kept sessions say of false alarms, from the database: any thread may ask.

    ``needed`` is how many sessions it takes to rank under a bound. Raises ``sqlite3.Error``.
    """
    # An operator's word is a row of its own, beside the one of the session's end: see ``baselines``.
    query = (
        "SELECT owner, role, total(is_honest), total(is_honest AND is_suspicious) FROM ("
        "SELECT owner, role, is_suspicious, is_rank AND ranks >= ? AND NOT (is_suspicious AND EXISTS ("
        "SELECT 1 FROM lesson AS word WHERE word.is_attack AND word.owner = one.owner AND "
        "word.agent_id = one.agent_id AND word.role = one.role AND word.ended = one.ended)) AS is_honest "
        "FROM lesson AS one) GROUP BY owner, role ORDER BY 3 DESC LIMIT ?"
    )
    with closing(connect_readonly(database)) as connection:
        rows = connection.execute(query, (needed, MAX_ROLES)).fetchall()
    honest: dict[tuple[str, ...], Value] = {}
    ratios: dict[tuple[str, ...], Value] = {}
    for owner, role, judged, suspicious in rows:
        labels = (str(owner), visible(role))
        honest[labels] = int(judged)
        if judged:
            ratios[labels] = suspicious / judged
    return {"sentineld_judged_sessions": honest, "sentineld_realised_false_alarms_ratio": ratios}


#: What ``false_alarms`` raises where the database cannot be read just now.
DATABASE_ERRORS = (sqlite3.Error, OSError)


def _only(value: float) -> dict[tuple[str, ...], Value]:
    return {(): value}


def _one_of(value: str, names: Sequence[str]) -> dict[tuple[str, ...], Value]:
    return {(name,): name == value for name in names}


def _counted(names: Iterable[str], counts: Mapping[str, int]) -> dict[tuple[str, ...], Value]:
    # From the start with 0: else nobody sees that the first one came.
    return {(name,): counts.get(name, 0) for name in (*names, *(set(counts) - set(names)))}


def _decisions(meter: Meter) -> dict[tuple[str, ...], Value]:
    values: dict[tuple[str, ...], Value] = {
        (cause, str(tier)): 0 for cause in OBSERVED_CAUSES for tier in (2, 3)
    }
    values |= {(cause, str(tier)): count for (cause, tier), count in meter.decisions.items()}
    return values


def _buckets(histogram: Histogram) -> dict[tuple[str, ...], Value]:
    return {(): Buckets(histogram.bounds, tuple(histogram.counts), histogram.total)}


def _sessions(detection: Detection) -> dict[tuple[str, ...], Value]:
    known: list[tuple[int, RoleKey]] = [(role.calibration.own, key) for key, role in detection.roles.items()]
    if len(known) > MAX_ROLES:
        known = sorted(known, reverse=True)[:MAX_ROLES]
    return {(str(owner), visible(name)): count for count, (owner, name) in known}


def _agents(roster: Roster, limit: int) -> dict[str, Mapping[tuple[str, ...], Value]]:
    named = roster.most_suspicious(limit)
    return {
        "sentineld_agent_tier": {(visible(name),): state.standing.effective_tier for name, state in named},
        "sentineld_agent_score": {(visible(name),): float(state.decision_score) for name, state in named},
    }
