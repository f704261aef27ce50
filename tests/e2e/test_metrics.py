"""Metrics of a daemon that runs: who may ask, what is answered, and that nobody holds it up by asking."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import stat
import time
from contextlib import closing, suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sentineld.version import __version__


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.sock.close()
            raise


def get(connection):
    with closing(connection):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Content-Type").startswith("text/plain; version=0.0.4")
        return answer.read().decode()


def values_of(text):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def path(tmp_path, monkeypatch):
    # A short path, whatever the directory's: the kernel takes 107 bytes.
    monkeypatch.chdir(tmp_path)
    return "m.sock"


@pytest.fixture
def ask(path):
    """Ask the socket once: the values by name and labels; nothing where nobody answers."""

    def values():
        try:
            return values_of(get(UnixConnection(path)))
        except (OSError, http.client.HTTPException):
            return {}

    return values


def configuration(place, **options):
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return place.config("[metrics]\n" + "\n".join(lines) + "\n")


@pytest.mark.usefixtures("by_activity")
def test_socket_port_and_textfile_tell_what_status_tells(place, path, ask, wait_for):
    place.telemetry.append("bad.jsonl", b"{\n")
    port = free_port()
    config = configuration(place, socket=path, address=f"127.0.0.1:{port}", textfile="m.prom", interval="1s")
    daemon = place.start("--config", config)
    wait_for(ask, "an answer")
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(end=time.time()))
    wait_for(lambda: ask().get(("sentineld_agents", "3")) == 1, "the demotion")
    values = wait_for(lambda: (it := ask())["sentineld_lag_seconds",] == 0 and it, "nothing left to read")
    totals = place.json("status")["totals"]

    outcomes = ("accepted", "ignored", "rejected", "duplicate")
    lines = {
        outcome: sum(
            value for key, value in values.items() if key[0] == "sentineld_lines_total" and key[2] == outcome
        )
        for outcome in outcomes
    }
    assert lines == {
        "accepted": totals["accepted"],
        "ignored": totals["ignored"],
        "rejected": totals["rejects"],
        "duplicate": totals["duplicates"],
    }
    assert values["sentineld_rejects_total", "malformed_json"] == totals["rejects"] == 1
    events = sum(value for key, value in values.items() if key[0] == "sentineld_events_total")
    assert events == totals["events"] == 300
    decisions = sum(value for key, value in values.items() if key[0] == "sentineld_decisions_total")
    assert decisions == totals["decisions"]
    assert values["sentineld_read_bytes_total",] == totals["bytes"]
    assert values["sentineld_files",] == totals["files"]
    assert values["sentineld_unread_bytes",] == values["sentineld_lag_seconds",] == 0
    assert 0 < values["sentineld_decision_delay_seconds_sum",] < 60
    assert values["sentineld_decision_delay_seconds_count",] == sum(
        values["sentineld_decisions_total", "detected", tier] for tier in ("2", "3")
    )
    assert values["sentineld_state_status", "ok"] == values["sentineld_mode", "enforce"] == 1
    assert abs(values["sentineld_state_published_timestamp_seconds",] - time.time()) < 30
    assert values["sentineld_watch_up",] == 1
    assert not [key for key in values if "scraper" in key], "no agent is named unless asked for"

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    assert values_of(get(connection)).keys() == values.keys()
    textfile = place.base / "m.prom"
    wait_for(lambda: values_of(textfile.read_text()).get(("sentineld_agents", "3")) == 1, "the textfile")
    assert stat.filemode(os.stat(path).st_mode) == "srw-rw----"
    assert daemon.stop() == 0
    assert not os.path.lexists(path)
    assert not textfile.exists()


@pytest.mark.usefixtures("by_activity")
def test_agents_are_named_where_asked_for_and_no_more_than_that(place, path, ask, wait_for):
    place.telemetry.fill()
    place.start("--config", configuration(place, socket=path, agents=2), "--judge-history")
    values = wait_for(ask, "an answer")
    named = {key[1]: value for key, value in values.items() if key[0] == "sentineld_agent_tier"}

    assert len(named) == 2
    assert named["scraper"] == place.tier("scraper") > 1


def test_a_loop_that_waits_for_a_disk_does_not_hold_up_a_scrape(place, path, ask, wait_for):
    place.start("--config", configuration(place, socket=path))
    wait_for(ask, "an answer")
    with closing(sqlite3.connect(place.state_dir / "sentineld.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        place.telemetry.append("mailer.jsonl", *place.telemetry.normal("mailer"))
        took = []
        for _ in range(3):
            began = time.monotonic()
            assert ask()["sentineld_build_info", __version__] == 1
            took.append(time.monotonic() - began)
        assert min(took) < 2, "the loop waits five seconds"
        seen = wait_for(lambda: (it := ask())[("sentineld_fault", "storage")] == 1 and it, "the fault")
        assert seen["sentineld_tool_calls_total",] == 0
        other.execute("ROLLBACK")
    wait_for(lambda: ask().get(("sentineld_fault", "storage")) == 0, "its end")


@pytest.mark.usefixtures("by_activity")
def test_a_crowd_of_hostile_clients_does_not_hold_up_the_daemon(place, path, ask, wait_for):
    daemon = place.start("--config", configuration(place, socket=path))
    wait_for(ask, "an answer")
    crowd = []
    for number in range(400):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        # The kernel refuses those that find no room.
        with suppress(OSError):
            client.connect(path)
            client.send(b"GET /metrics HTTP/1.1\r\n"[: number % 30])
        crowd.append(client)
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(end=time.time()))
    wait_for(lambda: place.tier("scraper") > 1, "the demotion")

    assert len(os.listdir(f"/proc/{daemon.pid}/fd")) < 60
    for client in crowd:
        client.close()
    assert wait_for(ask, "an answer when they are gone")["sentineld_state_status", "ok"] == 1


def test_a_reload_begins_and_ends_to_serve_and_says_whether_it_was_good(place, path, ask, wait_for):
    config = place.config("")
    daemon = place.start("--config", config)
    configuration(place, socket=path)
    daemon.signal(signal.SIGHUP)
    assert wait_for(ask, "an answer")["sentineld_config_last_reload_successful",] == 1

    config.write_text(config.read_text() + 'address = "0.0.0.0:9464"\n')
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: ask().get(("sentineld_config_last_reload_successful",)) == 0, "the fault")

    config.write_text("")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: not os.path.lexists(path), "the end")


def test_a_socket_that_a_crash_left_is_taken_over(place, path, ask, wait_for):
    config = configuration(place, socket=path)
    first = place.start("--config", config)
    wait_for(ask, "an answer")
    first.kill()
    assert os.path.lexists(path)
    assert ask() == {}
    place.start("--config", config)

    assert wait_for(ask, "an answer")["sentineld_state_status", "ok"] == 1


def test_a_run_once_leaves_a_textfile(place):
    place.telemetry.fill()
    place.once("--config", configuration(place, textfile="m.prom", socket="m.sock"))
    values = values_of((place.base / "m.prom").read_text())

    assert values["sentineld_files",] == 4
    assert sum(value for key, value in values.items() if key[0] == "sentineld_events_total") == 420
    assert not (place.base / "m.sock").exists()
