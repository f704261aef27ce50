"""The life of the process: signals, reload, one daemon at a time, systemd, detaching."""

import json
import os
import signal
import socket
import stat
from pathlib import Path

import pytest

FLOODING = "scraper"


@pytest.mark.usefixtures("by_activity")
def test_sigterm_publishes_shutdown_and_the_tiers_serve_on(place, wait_for):
    place.telemetry.fill()
    daemon = place.start(fresh=True)
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")

    assert daemon.stop() == 0

    assert place.state()["status"] == "shutdown"
    assert place.command("tier", FLOODING).stdout == "3\n"
    assert place.command("tier", "biller").stdout == "1\n"
    assert place.command("status").returncode == 0


def test_sigterm_ends_a_long_catch_up_within_five_seconds(place, wait_for):
    records = place.telemetry.normal("biller", 10_000, every=0.01)
    for number in range(20):
        place.telemetry.append(f"{number}.jsonl", *records)
    daemon = place.start(wait=False)
    wait_for(lambda: (place.state() or {}).get("status") == "catching_up", "catching up")

    assert daemon.stop() == 0
    read = place.json("status")["totals"]["events"]
    assert read < 200_000, "it was stopped in the middle"

    place.once()
    assert place.json("status")["totals"]["events"] == 200_000


@pytest.mark.usefixtures("by_activity")
def test_sighup_takes_a_new_threshold_and_names_what_changed(place, wait_for):
    config = place.config("")
    daemon = place.start("--config", config)
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller", 40))
    wait_for(lambda: place.json("status")["totals"]["events"] == 40, "events")
    assert place.tier("biller") == 1

    place.config("[detection]\nsuspicious_threshold = 0.1\n")
    daemon.signal(signal.SIGHUP)
    assert daemon.wait_log("config_reloaded")["changed"] == ["detection.suspicious_threshold"]
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller", 1))

    wait_for(lambda: place.tier("biller") == 2, "demotion by the new threshold")


def test_sighup_while_it_starts_is_answered_once_it_runs(place, wait_for):
    daemon = place.start("--config", place.config(""), wait=False, fresh=True)
    bit = 1 << (signal.SIGHUP - 1)

    def is_prepared():
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
        )
        return any(int(status[name], 16) & bit for name in ("SigBlk", "SigCgt"))

    wait_for(is_prepared, "the first moment in which it can be signalled")
    daemon.signal(signal.SIGHUP)

    daemon.wait_log("config_reloaded")
    assert daemon.stop() == 0


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize(
    "text", ["[detection\n", "[detection]\nsuspicous_threshold = 0.1\n", '[state]\nkey_file = "/nowhere"\n']
)
def test_sighup_with_a_broken_configuration_keeps_the_old_one(place, wait_for, text):
    config = place.config("")
    daemon = place.start("--config", config)

    place.config(text)
    daemon.signal(signal.SIGHUP)

    failed = daemon.wait_log("config_reload_failed")
    assert failed["level"] == "error"
    assert failed["error"]
    assert failed["hint"]
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood())
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion by the old configuration")


def test_sighup_says_which_options_take_a_restart_and_shows_no_secret(place, wait_for):
    config = place.config("")
    daemon = place.start("--config", config)

    place.config('mode = "observe"\n[state]\nfile = "elsewhere.json"\n[gate]\ndirectory = "gate"\n')
    daemon.signal(signal.SIGHUP)
    failed = daemon.wait_log("config_reload_failed")
    assert failed["error"] == "state.file, gate.directory cannot change while the daemon runs"
    assert place.state()["mode"] == "enforce", "all of it, or nothing"

    place.config('[identity]\nallow_user_namespace = true\n[notify]\nwebhook = "https://a.example/s3cret"\n')
    daemon.signal(signal.SIGHUP)
    assert daemon.wait_log("config_reloaded")["needs_restart"] == ["identity.allow_user_namespace"]
    told = {item["option"]: item for item in (daemon.wait_log("option_changed", count) for count in (1, 2))}
    assert told["identity.allow_user_namespace"]["in_force"] == "after a restart"
    assert (told["notify.webhook"]["old"], told["notify.webhook"]["new"]) == ("", "***")
    assert "s3cret" not in daemon.stderr.read_text()


@pytest.mark.usefixtures("by_activity")
def test_sighup_switches_to_observe_mode_and_to_another_directory(place, wait_for):
    other = place.base / "other"
    other.mkdir()
    directories = json.dumps([str(place.telemetry.directory), str(other)])
    config = place.config(f"[telemetry]\ndirectories = [{json.dumps(str(place.telemetry.directory))}]\n")
    daemon = place.start("--config", config, telemetry=False)

    place.config(f'mode = "observe"\n[telemetry]\ndirectories = {directories}\n')
    daemon.signal(signal.SIGHUP)
    assert daemon.wait_log("config_reloaded")["changed"] == ["mode", "telemetry.directories"]
    told = [daemon.wait_log("option_changed", count) for count in (1, 2)]
    assert [(item["option"], item["old"], item["new"]) for item in told] == [
        ("mode", "enforce", "observe"),
        (
            "telemetry.directories",
            [str(place.telemetry.directory)],
            [str(place.telemetry.directory), str(other)],
        ),
    ]
    place.telemetry.directory = other
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood())

    wait_for(lambda: place.state()["would"].get(FLOODING, {}).get("tier") == 3, "what would have been")
    assert place.state()["agents"] == {}


def test_a_second_daemon_gives_up_at_once_and_names_the_first(place):
    daemon = place.start()

    second = place.command("run", "--telemetry", place.telemetry.directory)

    assert second.returncode == 75
    assert f"process {daemon.pid}" in second.stderr
    assert second.stderr.count("try:") == 1
    assert daemon.process.poll() is None


def test_a_lock_file_left_behind_locks_nothing(place):
    place.state_dir.mkdir()
    (place.state_dir / "lock").write_text("garbage\0 99999999\n")

    place.start()

    assert (place.state_dir / "lock").read_text() == f"{place.daemons[0].pid}\n"


@pytest.mark.usefixtures("by_activity")
def test_run_with_json_prints_the_status_at_its_end(place, wait_for):
    place.telemetry.fill()
    daemon = place.start("--json", fresh=True)
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")

    assert daemon.stop() == 0

    document = json.loads(daemon.stdout.read_text())
    assert document["state"]["status"] == "shutdown"
    assert document["agents"][FLOODING]["tier"] == 3


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Systemd:
    """The other end of the notification socket, as systemd has it."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(120)
        self.lines = []

    def wait(self, line):
        while line not in self.lines:
            self.lines += self.socket.recv(4096).decode().split("\n")
        self.lines.remove(line)


def test_systemd_is_told_of_every_phase(place, tmp_path):
    with Systemd(tmp_path / "notify").socket as sock:
        systemd = Systemd.__new__(Systemd)
        systemd.socket, systemd.lines = sock, []
        place.env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "800000"}
        daemon = place.start()

        systemd.wait("READY=1")
        assert place.state()["seq"] >= 1, "ready means published"
        for _ in range(3):
            systemd.wait("WATCHDOG=1")
        daemon.signal(signal.SIGHUP)
        systemd.wait("RELOADING=1")
        assert any(line.startswith("MONOTONIC_USEC=") for line in systemd.lines)
        systemd.wait("READY=1")
        daemon.signal(signal.SIGTERM)
        systemd.wait("STOPPING=1")
        assert daemon.process.wait(120) == 0


@pytest.mark.usefixtures("by_activity")
def test_daemonize_detaches_and_reads_what_comes_later(place, wait_for):
    config = place.config('[telemetry]\nrescan_interval = "1h"\n')
    telemetry = place.telemetry.directory.name
    done = place.command("run", "--daemonize", "--telemetry", telemetry, "--config", config, umask=0)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: (place.state() or {}).get("status") == "ok", "first publish")
    pid = int((place.state_dir / "lock").read_text())
    try:
        assert os.readlink(f"/proc/{pid}/cwd") == str(place.state_dir)
        assert os.getsid(pid) != os.getsid(0)
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Umask:\t0027" in status
        # The trap: an observer started before the fork has its descriptors closed and reports nothing.
        place.telemetry.append("scraper.jsonl", *place.telemetry.flood())
        wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
        modes = {
            path: stat.S_IMODE(path.lstat().st_mode)
            for path in [place.state_dir, *place.state_dir.rglob("*")]
        }
        assert {path.name: oct(mode) for path, mode in modes.items() if mode & 0o022} == {}
        second = place.command("run", "--telemetry", place.telemetry.directory)
        assert (second.returncode, f"process {pid}" in second.stderr) == (75, True)
        assert "started" in (place.state_dir / "sentineld.log").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: place.state()["status"] == "shutdown", "shutdown")
    wait_for(lambda: not is_alive(pid), "the end")


def test_daemonize_tells_of_faults_before_it_detaches(place):
    config = place.config('[state]\nkey_file = "missing.key"\n')

    done = place.command("run", "--daemonize", "--telemetry", place.telemetry.directory, "--config", config)

    assert done.returncode == 78
    assert "missing.key" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is warned")
def test_root_is_warned(place):
    daemon = place.start()

    assert len(daemon.logs("running_as_root")) == 1
    assert daemon.stop() == 0
