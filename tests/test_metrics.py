"""Metrics: their names, their text, and what the database says of false alarms."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from learning import MINUTE, START, Line, work
from prometheus_client.parser import text_string_to_metric_families

from sentineld.baselines import list_document
from sentineld.config import Config, load_config
from sentineld.detection import DetectionSettings
from sentineld.errors import ConfigError
from sentineld.meter import Meter
from sentineld.metrics import METRICS, Buckets, counted, false_alarms
from sentineld.metrics_text import Page
from sentineld.store import Store

DOCS = Path(__file__).parents[1] / "docs"


def parsed(text):
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_as_prometheus_asks_for(metric):
    name = metric.name

    assert re.fullmatch(r"sentineld_[a-z]+(_[a-z]+)*", name)
    assert name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(ms|us|milliseconds|microseconds|kb|mb|percent|count|sum|bucket)\b", name)
    if metric.kind == "histogram":
        assert name.endswith("_seconds")
    assert not any(re.search(rf"_{label}(_|$)", name) for label in metric.labels if label != "agent") or (
        metric.labels in (("mode",), ("status",), ("isolation",), ("fault",))
    )
    assert metric.help.endswith(".")


def test_no_name_is_declared_twice():
    names = [metric.name for metric in METRICS]

    assert len(names) == len(set(names))


def test_what_is_counted_is_there_from_the_start_with_zero():
    values = parsed(Page(counted(Meter()), dict).text())

    assert values["sentineld_incidents_total", ("rewritten",)] == 0
    assert values["sentineld_decisions_total", ("detected", "3")] == 0
    assert values["sentineld_rules_broken_total", ("own_guard",)] == 0
    assert values["sentineld_decision_delay_seconds_count", ()] == 0
    assert values["sentineld_process_start_time_seconds", ()] > 0


def test_a_histogram_is_cumulated():
    buckets = Buckets((1.0, 2.0), (3, 4, 5), 42.0)
    values = parsed(Page({"sentineld_commit_duration_seconds": {(): buckets}}, dict).text())
    name = "sentineld_commit_duration_seconds"

    assert [values[f"{name}_bucket", (bound,)] for bound in ("1.0", "2.0", "+Inf")] == [3, 7, 12]
    assert (values[f"{name}_count", ()], values[f"{name}_sum", ()]) == (12, 42.0)


def test_no_label_can_end_its_line():
    hostile = 'a"} 9\nsentineld_agents{tier="3"} 9\n\\'
    values = parsed(Page({"sentineld_calibration_sessions": {("1", hostile): 5}}, dict).text())

    assert values["sentineld_calibration_sessions", ("1", hostile)] == 5
    assert ("sentineld_agents", ("3",)) not in values


def test_a_text_is_made_once_a_second_however_many_ask():
    page = Page({"sentineld_files": {(): 1}}, dict)
    first = page.text()
    page.sample = {"sentineld_files": {(): 2}}

    assert page.text() is first


@pytest.fixture
def learned(tmp_path):
    """Make a database whose role has sessions that alarmed, two of them confirmed as attacks.

    The first was judged before a bound held.
    """
    path = tmp_path / "s.db"
    with Store.open(str(path), START) as store:
        line = Line(store)
        for number in range(4):
            line.read(work(3, START + number * 300 * MINUTE, session=f"s{number}"))
            line.tick(START + (number * 300 + 200) * MINUTE)
        line.pipeline.flush()
        # As of a role that has learned: these are its first sessions, which never rank.
        store._db.execute("UPDATE lesson SET is_rank = 1")
        store._db.execute("UPDATE lesson SET is_suspicious = 1 WHERE no <= 3")
        store._db.execute("UPDATE lesson SET ranks = CASE no WHEN 1 THEN 50 ELSE 1000 END")
        store._db.execute(
            "INSERT INTO lesson SELECT no + 100, owner, role, agent_id, ended, 0, 0, 0, 1, 1000, session"
            " FROM lesson WHERE no <= 2"
        )
        yield path, store


def test_false_alarms_are_those_that_baseline_list_tells(learned):
    path, store = learned
    settings = DetectionSettings()
    (told,) = (
        item["false_alarms"] for item in list_document(store, settings)["roles"] if item["role"] == "worker"
    )
    values = false_alarms(str(path), settings.sessions_for_tier2)

    # Four sessions: two were judged under a bound and were no attacks, and one of these alarmed.
    assert (told["sessions"], told["alarms"]) == (2, 1)
    assert values["sentineld_judged_sessions"] == {("1000", "worker"): told["sessions"]}
    ratio = values["sentineld_realised_false_alarms_ratio"]["1000", "worker"]
    assert ratio == pytest.approx(told["realised"], abs=1e-6)


def test_without_a_bound_there_is_no_ratio(learned):
    path, store = learned
    store._db.execute("UPDATE lesson SET ranks = 0, is_attack = 0")
    values = false_alarms(str(path), DetectionSettings().sessions_for_tier2)

    assert values["sentineld_judged_sessions"] == {("1000", "worker"): 0}
    assert values["sentineld_realised_false_alarms_ratio"] == {}


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("address", '"0.0.0.0:9464"', "no loopback address"),
        ("address", '"192.168.0.7:9464"', "no loopback address"),
        ("address", '"[::]:9464"', "no loopback address"),
        ("address", '"example.com:9464"', "does not appear to be"),
        ("address", '"9464"', "does not appear to be"),
        ("address", '"127.0.0.1:0"', "no port"),
        ("address", '"127.0.0.1:65536"', "no port"),
        ("address", '"127.0.0.1:"', "no port"),
        ("socket", f'"/run/{"a" * 120}"', "at most 107 bytes"),
        ("textfile", '"/run/metrics.txt"', ".prom"),
        ("interval", '"10ms"', "at least 1s"),
        ("agents", "1001", "<= 1000"),
    ],
)
def test_places_that_would_open_the_daemon_or_do_nothing_are_refused(tmp_path, option, value, reason):
    path = tmp_path / "c.toml"
    path.write_text(f"[metrics]\n{option} = {value}\n")

    with pytest.raises(ConfigError, match=re.escape(reason)) as raised:
        load_config(str(path), {})
    assert f"metrics.{option}" in str(raised.value)


@pytest.mark.parametrize(
    ("address", "split"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_loopback_addresses(tmp_path, address, split):
    path = tmp_path / "c.toml"
    path.write_text(f'[metrics]\naddress = "{address}"\n')

    assert load_config(str(path), {}).metrics.host_port == split


def test_by_default_there_are_none():
    metrics = Config().metrics

    assert (metrics.socket, metrics.address, metrics.textfile, metrics.agents) == ("", "", "", 0)


def test_who_has_no_metrics_does_not_load_the_library():
    program = "import sys, sentineld.service; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False"]


def test_the_page_lists_exactly_what_there_is():
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(sentineld_[a-z_]+)(?:\{([a-z, ]+)\})?` \| (\w+) \| (.+) \|$", text, re.MULTILINE
    )

    assert rows == [(metric.name, ", ".join(metric.labels), metric.kind, metric.help) for metric in METRICS]
