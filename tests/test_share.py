"""What is shared with other programs: alert rules by promtool, a dashboard by a Prometheus that runs."""

import copy
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from schemas import check

from sentineld.batch import Accounts, Part
from sentineld.dashboard import WHERE, dashboard, shared
from sentineld.decision import Decision, Reason
from sentineld.decode import Reject
from sentineld.event import Incident
from sentineld.identity import Source
from sentineld.integrity import KINDS
from sentineld.log import Reporter
from sentineld.meter import Meter
from sentineld.metrics import METRICS, counted
from sentineld.metrics_endpoint import Endpoint, Places
from sentineld.metrics_text import CONTENT_TYPE, Page
from sentineld.tables import Commit

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed (Debian: apt-get install it)"
)

WELL = {
    "sentineld_state_published_timestamp_seconds": "0+60x200",
    "sentineld_state_validity_seconds": "30x200",
    'sentineld_fault{fault="storage"}': "0x200",
    'sentineld_agents{tier="1"}': "9x200",
    'sentineld_agents{tier="2"}': "1x200",
    'sentineld_agents{tier="3"}': "0x200",
    'sentineld_incidents_total{kind="rewritten"}': "0x200",
    'sentineld_incidents_total{kind="truncated"}': "0x200",
    'sentineld_incidents_total{kind="id_conflict"}': "0+1x200",
    "sentineld_lag_seconds": "0x200",
    'sentineld_decision_delay_seconds_bucket{le="1.0"}': "0+10x200",
    'sentineld_decision_delay_seconds_bucket{le="60.0"}': "0+10x200",
    'sentineld_decision_delay_seconds_bucket{le="+Inf"}': "0+10x200",
    'sentineld_commit_duration_seconds_bucket{le="1.0"}': "0+10x200",
    'sentineld_commit_duration_seconds_bucket{le="5.0"}': "0+10x200",
    'sentineld_commit_duration_seconds_bucket{le="+Inf"}': "0+10x200",
    'sentineld_lines_total{format="codex",outcome="accepted"}': "0+100x200",
    'sentineld_lines_total{format="codex",outcome="rejected"}': "0+1x200",
    'sentineld_unknown_records_total{format="codex"}': "0+1x200",
    'sentineld_realised_false_alarms_ratio{role="r",owner="1"}': "0.02x200",
    'sentineld_judged_sessions{role="r",owner="1"}': "400x200",
    "sentineld_nominal_false_alarms_ratio": "0.01x200",
    "sentineld_database_size_bytes": "500x200",
    "sentineld_database_limit_bytes": "1000x200",
    "sentineld_config_last_reload_successful": "1x200",
    'sentineld_isolation{isolation="service"}': "1x200",
    'sentineld_isolation{isolation="none"}': "0x200",
    "sentineld_watch_up": "1x200",
    "sentineld_log_records_lost_total": "0x200",
}
#: What goes wrong, and the alert that it raises.
ILL = {
    "SentineldStateStale": {"sentineld_state_published_timestamp_seconds": "0x200"},
    "SentineldFault": {'sentineld_fault{fault="storage"}': "1x200"},
    "SentineldAgentNeedsReview": {'sentineld_agents{tier="3"}': "2x200"},
    "SentineldTampering": {'sentineld_incidents_total{kind="rewritten"}': "0+1x200"},
    "SentineldGateBypassed": {'sentineld_incidents_total{kind="gate_bypassed"}': "0+1x200"},
    "SentineldTelemetryGap": {'sentineld_incidents_total{kind="truncated"}': "0+1x200"},
    "SentineldBehind": {"sentineld_lag_seconds": "0+60x200"},
    "SentineldSlowDecisions": {'sentineld_decision_delay_seconds_bucket{le="1.0"}': "0+2x200"},
    "SentineldSlowCommits": {'sentineld_commit_duration_seconds_bucket{le="1.0"}': "0+2x200"},
    "SentineldRejects": {'sentineld_lines_total{format="codex",outcome="rejected"}': "0+10x200"},
    "SentineldUnknownRecords": {'sentineld_unknown_records_total{format="codex"}': "0+10x200"},
    "SentineldFalseAlarms": {'sentineld_realised_false_alarms_ratio{role="r",owner="1"}': "0.05x200"},
    "SentineldDatabaseFull": {"sentineld_database_size_bytes": "990x200"},
    "SentineldConfigNotTaken": {"sentineld_config_last_reload_successful": "0x200"},
    "SentineldNotIsolated": {
        'sentineld_isolation{isolation="none"}': "1x200",
        'sentineld_isolation{isolation="service"}': "0x200",
    },
    "SentineldWatchDown": {"sentineld_watch_up": "0x200"},
    "SentineldLogLost": {"sentineld_log_records_lost_total": "0+1x200"},
}


def promtool(*arguments, **more):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def input_series(instance, changed):
    alike = f'job="sentineld",instance="{instance}"'
    return [
        {
            "series": f"{name[:-1]},{alike}}}" if name.endswith("}") else f"{name}{{{alike}}}",
            "values": values,
        }
        for name, values in {**WELL, **changed}.items()
    ]


def rules_test(instances, firing):
    """Test that at the end each of these instances raises its alert, and nothing else is raised."""
    return {
        "interval": "1m",
        "input_series": [item for name, changed in instances.items() for item in input_series(name, changed)],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, instance) (ALERTS{alertstate="firing"})',
                "eval_time": "130m",
                "exp_samples": [{"labels": labels, "value": 1} for labels in firing],
            }
        ],
    }


def names_of(text):
    return set(re.findall(r"\bsentineld_\w+", text))


def known_names():
    """Every name of a series that there is."""
    process = (
        "cpu_seconds_total",
        "resident_memory_bytes",
        "virtual_memory_bytes",
        "start_time_seconds",
        "open_fds",
        "max_fds",
    )
    names = {f"sentineld_process_{name}" for name in process}
    for metric in METRICS:
        is_histogram = metric.kind == "histogram"
        names |= {f"{metric.name}{end}" for end in (("_bucket", "_sum", "_count") if is_histogram else ("",))}
    return names


def test_every_alert_has_a_case():
    alerts = re.findall(r"- alert: (\w+)", shared("alerts.yml"))

    assert set(alerts) == {*ILL, "SentineldAbsent"}
    assert len(alerts) == len(set(alerts))


def test_alerts_and_dashboard_ask_for_metrics_that_exist():
    asked = names_of(shared("alerts.yml")) | names_of(shared("dashboard.toml"))

    assert asked - known_names() == set()
    assert len(asked) > 25


@needs_promtool
def test_promtool_takes_the_rules(place):
    path = place.base / "alerts.yml"
    path.write_text(place.command("share", "alerts").stdout)

    assert f"{len(ILL) + 1} rules found" in promtool("check", "rules", path)


@needs_promtool
def test_each_alert_fires_when_it_should_and_alone(tmp_path):
    (tmp_path / "alerts.yml").write_text(shared("alerts.yml"))
    firing = [f'{{alertname="{alert}", instance="{alert}"}}' for alert in ILL]
    tests = [
        rules_test({"well": {}, **ILL}, firing),
        rules_test({}, ['{alertname="SentineldAbsent"}']),
    ]
    document = {"rule_files": ["alerts.yml"], "evaluation_interval": "2m", "tests": tests}
    (tmp_path / "tests.yml").write_text(json.dumps(document))

    assert "SUCCESS" in promtool("test", "rules", "tests.yml", cwd=tmp_path)


def test_documents_are_as_the_schema_says(place):
    for name in ("grafana", "alerts"):
        document = place.json("share", name)
        check("share", document)
        assert document["text"] == place.command("share", name).stdout


def test_a_dashboard_loses_nothing_in_the_models_of_grafana():
    plugins.register_default_plugins()
    document = json.loads(json.dumps(dashboard()))
    # Grafana asks by these when it imports, and keeps them not.
    del document["__inputs"]
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(document))))

    def lost(ours, theirs, path=""):
        if isinstance(ours, dict):
            for name, value in ours.items():
                yield from lost(value, theirs and theirs.get(name), f"{path}/{name}")
        elif isinstance(ours, list):
            for number, value in enumerate(ours):
                yield from lost(value, theirs[number], f"{path}/{number}")
        elif ours != theirs:
            yield path

    assert list(lost(document, kept)) == []


def test_the_dashboard_is_whole():
    document = json.loads(json.dumps(dashboard()))
    panels = document["panels"]

    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels lie over each other"
    assert max(x for x, _ in cells) < 24
    for target in (target for panel in panels for target in panel.get("targets", ())):
        assert WHERE in target["expr"]
        assert "$where" not in target["expr"]


class Grown:
    """A page of which every figure grows: a daemon that has seen everything there is."""

    def __init__(self):
        self.meter = Meter()
        self.page = Page({}, dict)

    def text(self):
        source = Source(1, "/a", "/a", "lines", 1, 1, 0, 1000, 0)
        source.pos = 100
        part = Part(1, 1000, 0, 100, 0, 1, 1, False, format="codex", told=Accounts(5, 1, 1, 1))
        part.rejects = [Reject("malformed_json", "", 0, 1, b"")]
        reason = Reason("rule", "own_guard", 1.0, 0.0)
        at = "2026-11-23T00:00:00Z"
        decision = Decision(1, "d", "a", 1, 3, 0.9, at, "rule", "v", [reason])
        commit = Commit("read", 1, sources=[(0, source)], parts=[part], decisions=[decision])
        commit.event_types, commit.unknown = {"file_read": 3}, {("codex", "x"): 1}
        commit.incidents = [Incident(1, "rewritten", 1000, 1, "/a", 0, 1, "")]
        self.meter.committed(commit, 2000)
        self.meter.published(1500)
        self.meter.told([decision], 1_795_000_000_000_000)
        role = {("1000", "worker"): 0.01}
        self.page.sample = {
            **{metric.name: {("x",) * len(metric.labels): 1} for metric in METRICS if metric.kind == "gauge"},
            **counted(self.meter),
            "sentineld_log_records_lost_total": {(): 0},
            "sentineld_throttle_rest_seconds_total": {(): 1},
            "sentineld_agents": {("1",): 5, ("2",): 1, ("3",): 1},
            "sentineld_calibration_sessions": role,
            "sentineld_realised_false_alarms_ratio": role,
        }
        return self.page.text()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """A Prometheus that scrapes some ports."""

    def __init__(self, directory, ports, rules=""):
        self.port = free_port()
        (directory / "alerts.yml").write_text(rules)
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["alerts.yml"] if rules else [],
            "scrape_configs": [
                {
                    "job_name": "sentineld",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
                }
            ],
        }
        path = directory / "prometheus.yml"
        path.write_text(json.dumps(config))
        self.log = directory / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={path}",
                    f"--storage.tsdb.path={directory / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, what, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def is_up(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("query", query="1")
        except OSError:
            return False

    def values(self, query):
        return self.ask("query", query=query)["result"]

    def stop(self):
        self.process.kill()
        self.process.wait()


def interpolated(query, chosen):
    """Put in what is chosen for variables, as Grafana does."""
    return re.sub(r"\$(\w+)", lambda found: chosen[found[1]], query)


def regular_expression(prometheus, variable, chosen):
    """Ask for a variable's values as Grafana asks, and choose all of them."""
    query, label = re.fullmatch(
        r"label_values\((.+),\s*(\w+)\)", interpolated(variable["query"]["query"], chosen)
    ).groups()
    values = prometheus.ask(f"label/{label}/values", **{"match[]": query})
    assert values, f"{variable['name']} has something to choose from"
    return f"({'|'.join(re.escape(value).replace(chr(92), chr(92) * 2) for value in values)})"


@needs_prometheus
def test_every_query_of_the_dashboard_has_an_answer(tmp_path, wait_for):
    port, grown = free_port(), Grown()
    places = Places("", ("127.0.0.1", port), "", 15.0, None)
    endpoint = Endpoint(places, grown.text, CONTENT_TYPE, Reporter(lambda: 0))
    endpoint.start()
    prometheus = Prometheus(tmp_path, [port])
    try:
        wait_for(prometheus.is_up)
        wait_for(lambda: len(prometheus.values("changes(sentineld_tool_calls_total[1m])")) == 1)
        document = dashboard()
        chosen = {"__rate_interval": "1m", "__range": "1m"}
        for variable in document["templating"]["list"]:
            chosen[variable["name"]] = regular_expression(prometheus, variable, chosen)
        assert chosen["job"] == "(sentineld)"
        assert chosen["instance"] == f"(127\\\\.0\\\\.0\\\\.1:{port})", (
            "quoted twice: in a regex, in a string"
        )
        queries = [target["expr"] for panel in document["panels"] for target in panel.get("targets", ())]
        for query in queries:
            asked = interpolated(query, chosen)
            assert "$" not in asked
            wait_for(lambda asked=asked: prometheus.values(asked), f"an answer to {asked}", 30)
        elsewhere = interpolated(queries[0], chosen | {"instance": "(elsewhere)"})
        assert prometheus.values(elsewhere) == [], "the variables choose"
        series = prometheus.ask("label/__name__/values")
        assert known_names() - set(series) == set()
        problems = subprocess.run(
            ["promtool", "check", "metrics"], input=grown.text(), capture_output=True, check=False
        )
        assert (problems.returncode, problems.stdout, problems.stderr) == (0, b"", b"")
    finally:
        prometheus.stop()
        endpoint.stop()


@needs_prometheus
@pytest.mark.usefixtures("by_activity")
def test_a_prometheus_scrapes_the_daemon_and_alerts(place, wait_for):
    port = free_port()
    config = place.config(f'[metrics]\naddress = "127.0.0.1:{port}"\n')
    daemon = place.start("--config", config)
    prometheus = Prometheus(place.base, [port], shared("alerts.yml"))
    try:
        wait_for(prometheus.is_up)
        wait_for(lambda: prometheus.values('sentineld_agents{tier="1"} == 0'), "a first scrape")
        place.telemetry.append("scraper.jsonl", *place.telemetry.flood(end=time.time()))
        wait_for(lambda: prometheus.values('sentineld_decisions_total{tier="3"} > 0'), "the decision")
        assert prometheus.values("up")[0]["value"][1] == "1"

        def fires():
            alerts = prometheus.ask("alerts")["alerts"]
            return [it for it in alerts if it["labels"]["alertname"] == "SentineldAgentNeedsReview"]

        assert "wait for a human" in wait_for(fires, "the alert")[0]["annotations"]["summary"]
        assert daemon.stop() == 0
    finally:
        prometheus.stop()


def test_every_kind_of_incident_that_follows_up_raises_an_alert():
    named = re.findall(r'kind=~?"([\w|]+)"', shared("alerts.yml"))
    kinds = [kind for text in named for kind in text.split("|")]

    assert sorted(kinds) == sorted(name for name, kind in KINDS.items() if kind.family != "note")
