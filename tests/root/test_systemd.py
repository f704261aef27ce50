"""The shipped system unit under a real systemd, in a container that is built once.

Needs root, systemd-nspawn and, for the first run, debootstrap and a network. The container is kept below
``SENTINELD_TEST_CACHE``, else in the user's cache directory; what a run writes goes to an overlay in memory.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import tomllib
from pathlib import Path

import pytest
from pages import blocks as page_blocks

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("SENTINELD_TEST_CACHE") or Path.home() / ".cache" / "sentineld-tests")
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,python3-venv,ca-certificates,acl"
NAME = f"sentineld-{os.getpid()}"
CLONE = "usr/src/sentineld"

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-nspawn is not installed"),
]

NOTIFY = """
[notify]
command = ["/usr/bin/logger", "--size", "65536", "-t", "told"]
digest = "100ms"
"""

PROBE = """
import ctypes, json, mmap, os, shutil, socket, subprocess, sys
def attempt(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "allowed"
def execute():
    shutil.copy("/bin/true", "/var/lib/sentineld/true")
    os.chmod("/var/lib/sentineld/true", 0o755)
    subprocess.run(["/var/lib/sentineld/true"], check=True)
found = {
    "write " + place: attempt(lambda: open(place + "/probe", "w").close())
    for place in ("/etc", "/usr", "/opt/sentineld", "/var/log/agents", "/var/lib/sentineld", "/run/sentineld")
}
found["internet socket"] = attempt(lambda: socket.socket(socket.AF_INET))
found["execute state"] = attempt(execute)
found["writable code"] = attempt(
    lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
)
found["uid"] = os.getuid()
with open("/var/lib/sentineld/probe.json", "w") as file:
    json.dump(found, file)
"""


def sh(*command, timeout=600, **more):
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False, **more
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def until(condition, what, deadline_s=30):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)
    return value


def blocks(heading):
    """Return what docs/install-systemd.md says to type under a heading, as (language, text)."""
    page = (REPOSITORY / "docs" / "install-systemd.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found, f"nothing to type under {heading}"
    return found


def make_root():
    """Make the container, unless an earlier run has; put a clone and what pip would download into it."""
    root, wheels = CACHE / "root", CACHE / "wheels"
    if not (root / "usr" / "bin" / "systemctl").exists():
        if shutil.which("debootstrap") is None:
            pytest.skip("debootstrap is not installed, and no container is in the cache")
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        sh("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root)
    shutil.rmtree(wheels, ignore_errors=True)
    platforms = [
        f"--platform=manylinux{version}_{os.uname().machine}"
        for version in ("2014", "_2_17", "_2_27", "_2_28", "_2_34")
    ]
    wanted = ["--only-binary=:all:", "--python-version=3.11", *platforms]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    needs = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["sign"],
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    sh(*pip, "download", *wanted, "-d", wheels, *needs)
    for source, target in ((wheels, root / "opt" / "wheels"), (REPOSITORY, root / CLONE)):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", "__pycache__", "results"))
    (root / "usr/local/bin/probe.py").write_text(PROBE)
    # There is no network in it, and root needs no sudo.
    (root / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /opt/wheels\n")
    (root / "usr/local/bin/sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (root / "usr/local/bin/sudo").chmod(0o755)
    return root


class Machine:
    """A running container, and the one service in it."""

    def __init__(self, leader):
        self.leader = leader

    def run(self, *command, code=0, stdin=None):
        done = self.ask(*command, stdin=stdin)
        assert code is None or done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *command, stdin=None):
        enter = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--wd=/"]
        return subprocess.run(
            [*enter, *map(str, command)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            input=stdin,
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )

    def type(self, line):
        """Type a line in a clone, as root."""
        return self.run("sh", "-ec", f"cd /{CLONE}; {line}")

    def json(self, *command):
        """Run a command of ours as root and return its document."""
        return json.loads(self.run("sentineld", *command, "--json"))

    def tier(self, agent, user="merge-bot"):
        """Ask for a tier as an unprivileged user; return the tier and what was said besides."""
        done = self.ask("runuser", "-u", user, "--", "sentineld", "tier", agent)
        return int(done.stdout), done.stderr

    def settle(self, old, new):
        """Change a line of the configuration and have it taken over."""
        self.run("sed", "-i", f"s|^{old}$|{new}|", "/etc/sentineld/sentineld.toml")
        self.run("systemctl", "reload", "sentineld")

    def write(self, path, text):
        self.run("mkdir", "-p", os.path.dirname(path))
        self.run("tee", path, stdin=textwrap.dedent(text))

    def drop_in(self, text):
        """Change the unit as an operator would, and restart it."""
        self.write("/etc/systemd/system/sentineld.service.d/test.conf", text)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", "sentineld")

    def show(self, name):
        return self.run("systemctl", "show", "sentineld", f"--property={name}", "--value").strip()

    @property
    def pid(self):
        return int(self.show("MainPID"))

    def state(self):
        return json.loads(self.run("cat", "/run/sentineld/state.json"))

    def journal(self):
        return self.run("journalctl", "-u", "sentineld", "--no-pager", "-o", "cat")


@pytest.fixture(scope="module")
def container(tmp_path_factory):
    root = make_root()
    log = tmp_path_factory.mktemp("nspawn") / "console"
    command = ["systemd-nspawn", "-q", "-D", root, "--volatile=overlay", "--register=no", "--keep-unit"]
    with log.open("wb") as console:
        process = subprocess.Popen(
            [*command, "-M", NAME, "--private-network", "-b"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        leader = int(until(lambda: children.read_text().split(), "a first process", 20)[0])
        machine = Machine(leader)
        running = ("running", "degraded")
        until(
            lambda: machine.run("systemctl", "is-system-running", code=None).strip() in running,
            log.read_text(errors="replace"),
            60,
        )
        began = time.monotonic()
        machine.commands = blocks("The system service")[0][1].strip().splitlines()
        for command in machine.commands:
            machine.type(command)
        machine.seconds = time.monotonic() - began
        machine.run("ln", "-s", "/opt/sentineld/bin/sentineld", "/usr/local/bin/sentineld")
        for user in ("research-07", "merge-bot", "eve"):
            machine.run("useradd", "-M", user)
        machine.type(blocks("Let agents write telemetry, and nothing else")[0][1])
        machine.type(blocks("Let routers read tiers")[0][1])
        machine.run("cp", "/etc/sentineld/sentineld.toml", "/root/sentineld.toml")
        yield machine
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def machine(container):
    """Start the service afresh, as it is shipped, with no telemetry and no memory."""
    container.run("systemctl", "stop", "sentineld")
    container.run("rm", "-rf", "/etc/systemd/system/sentineld.service.d", "/var/lib/sentineld")
    # A state file without a database would be lost memory.
    container.run("sh", "-c", "rm -rf /run/sentineld/* /var/log/agents/*.jsonl /var/log/agents/*/*")
    container.run("cp", "/root/sentineld.toml", "/etc/sentineld/sentineld.toml")
    container.run("journalctl", "--rotate")
    container.run("journalctl", "--vacuum-time=1us")
    container.run("systemctl", "daemon-reload")
    container.run("systemctl", "reset-failed", "sentineld", code=None)
    container.run("systemctl", "start", "sentineld")
    return container


@pytest.fixture
def enforcing(machine):
    """Have the service enforce by the activity score, with an agent that floods in tier 3."""
    machine.settle('#mode = "learned"', 'mode = "activity"')
    machine.settle('mode = "observe"', 'mode = "enforce"')
    until(lambda: machine.state()["mode"] == "enforce", "enforce")
    write_as_agent(machine, "bot", flood("bot"))
    until(lambda: machine.state()["agents"].get("bot", {}).get("tier") == 3, "demotion")
    return machine


def flood(agent):
    blob = "".join(chr(33 + n * 7 % 90) for n in range(300))
    kinds = ("file_write", "network_request") * 150
    return [
        {"type": kind, "source": agent, "timestamp": time.time(), "data": {"blob": blob}} for kind in kinds
    ]


def write_as_agent(machine, name, records):
    """Append to a file of the agent's user, whose umask keeps everybody else out."""
    machine.run(
        "runuser",
        "-u",
        "research-07",
        "--",
        "sh",
        "-c",
        f"umask 077; cat >> /var/log/agents/research-07/{name}.jsonl",
        stdin="".join(json.dumps(item) + "\n" for item in records),
    )


def test_five_commands_set_it_up(container, record_property):
    record_property("figure", f"five commands: {container.seconds:.0f} s")
    assert len(container.commands) <= 5
    assert container.run("systemctl", "is-enabled", "sentineld").strip() == "enabled"
    assert "isolation" in container.run("sentineld", "status")


def test_started_means_published(machine):
    assert machine.show("ActiveState") == "active"
    assert machine.show("Type") == "notify"
    assert "published number" in machine.show("StatusText")
    assert machine.state()["mode"] == "observe"
    assert machine.run("stat", "-c", "%U:%G %a", "/run/sentineld/state.json").split() == [
        "sentineld:sentineld-readers",
        "640",
    ]


def test_the_unit_exposes_little(machine):
    verdict = machine.run("systemd-analyze", "security", "--no-pager", "sentineld")
    overall = float(verdict.partition("Overall exposure level for sentineld.service:")[2].split()[0])

    assert overall <= 1.0


def test_agents_of_another_user_are_read_and_isolated(machine):
    write_as_agent(machine, "bot", flood("bot"))
    would = until(lambda: machine.state()["would"].get("bot"), "an agent that would be demoted")

    assert would["tier"] == 3
    assert machine.state()["agents"] == {}
    assert machine.state()["isolation"] == "service"
    assert machine.json("status")["agents"]["bot"]["events"] == 300


def test_the_doctor_finds_a_service_as_shipped_well_and_tells_what_was_changed(machine):
    write_as_agent(machine, "bot", flood("bot"))
    until(lambda: machine.state()["would"].get("bot"), "an agent that would be demoted")
    well = machine.json("doctor")["findings"]
    machine.run("systemctl", "disable", "sentineld")
    machine.run("chmod", "0770", "/var/lib/sentineld/requests")
    machine.drop_in("[Service]\nProtectHome=read-only\n")
    try:
        ill = json.loads(machine.run("sentineld", "doctor", "--json", code=1))["findings"]
    finally:
        machine.run("systemctl", "enable", "sentineld")

    assert {(item["check"], item["level"]) for item in well} >= {
        (name, "ok") for name in ("state directory", "requests", "telemetry", "disk", "unit", "daemon")
    }
    assert {item["fix"] for item in ill if item["level"] == "fix"} == {
        "systemctl enable sentineld",
        "chmod 0700 /var/lib/sentineld/requests",
    }
    assert any("test.conf changes ProtectHome" in item["message"] for item in ill)


def test_who_may_read_a_tier_and_who_may_not(enforcing):
    assert enforcing.tier("bot") == (3, "")
    assert enforcing.tier("nobody") == (1, "")
    status = enforcing.ask("runuser", "-u", "merge-bot", "--", "sentineld", "status")
    assert status.returncode == 0, status.stdout
    assert "NOT FRESH" not in status.stdout
    tier, why = enforcing.tier("nobody", "eve")
    assert tier == 3
    # It is filled to the terminal.
    assert "Permission denied" in " ".join(why.split())
    for path in ("/var/lib/sentineld/sentineld.db", "/var/log/agents/research-07/bot.jsonl"):
        assert enforcing.ask("runuser", "-u", "merge-bot", "--", "cat", path).returncode != 0
    for command in ("ls /var/lib/sentineld", "touch /run/sentineld/x", "cat /run/sentineld/state.json"):
        assert enforcing.ask("runuser", "-u", "research-07", "--", "sh", "-c", command).returncode != 0


def test_roots_pardon_is_carried_out_and_on_record_as_roots(enforcing):
    said = enforcing.run("sentineld", "pardon", "bot", "--reason", "a test of ours")
    assert "by root" in said
    until(lambda: "bot" not in enforcing.state()["agents"], "the pardon")

    last = enforcing.json("log")["decisions"][-1]
    assert (last["cause"], last["actor"], last["note"]) == ("pardoned", "root", "a test of ours")
    assert enforcing.tier("bot") == (1, "")


def test_root_breaks_the_glass_while_the_daemon_is_dead(enforcing):
    enforcing.run("systemctl", "stop", "sentineld")
    enforcing.run("rm", "/run/sentineld/state.json")
    assert enforcing.tier("bot")[0] == enforcing.tier("nobody")[0] == 3
    enforcing.run("sentineld", "break-glass", "--tier", "1", "--for", "1h", "--reason", "the host is down")
    tier, warning = enforcing.tier("bot")
    assert tier == 1
    assert "the host is down" in warning
    record = json.loads(enforcing.run("cat", "/var/lib/sentineld/break-glass.jsonl"))
    assert (record["actor"], record["uid"]) == ("root", 0)

    enforcing.run("systemctl", "start", "sentineld")
    until(lambda: "override_in_force" in enforcing.journal(), "the daemon's word on it")
    enforcing.run("sentineld", "break-glass", "--end", "--reason", "up again")
    assert enforcing.tier("bot")[0] == 3


def test_a_live_service_is_backed_up_and_restored(enforcing):
    enforcing.run("sentineld", "backup", "/root/backup.db", "--force")
    assert enforcing.run("stat", "-c", "%U %a", "/root/backup.db").split() == ["root", "600"]
    held = enforcing.ask("sentineld", "restore", "/root/backup.db")
    assert held.returncode == 75, held.stderr
    write_as_agent(enforcing, "more", flood("more"))
    until(lambda: "more" in enforcing.state()["agents"], "another demotion")
    before = enforcing.state()
    enforcing.run("systemctl", "stop", "sentineld")
    enforcing.run("sentineld", "restore", "/root/backup.db")
    owners = enforcing.run("sh", "-c", "stat -c %U:%G /var/lib/sentineld/sentineld.db*").split()
    assert set(owners) == {"sentineld:sentineld"}

    enforcing.run("systemctl", "start", "sentineld")
    until(lambda: "more" in enforcing.state()["agents"], "what was written since is judged again")
    assert enforcing.state()["epoch"] > before["epoch"]
    assert enforcing.state()["status"] == "ok"
    assert enforcing.json("status")["agents"]["bot"]["events"] == 300


def test_what_root_looks_at_after_a_crash_stays_the_daemons(enforcing):
    enforcing.drop_in("[Service]\nRestart=no\n")
    enforcing.run("systemctl", "kill", "-s", "KILL", "sentineld")
    until(lambda: enforcing.show("ActiveState") == "failed", "the end")
    for command in ("status", "why bot", "log", "backup --force /root/crashed.db"):
        enforcing.type(f"sentineld {command}")
    assert enforcing.run("find", "/var/lib/sentineld", "-uid", "0") == ""
    enforcing.run("systemctl", "start", "sentineld")

    assert enforcing.show("ActiveState") == "active"
    assert enforcing.state()["agents"]["bot"]["tier"] == 3


def test_the_journal_has_one_object_a_line_and_nothing_raw_of_an_agent(machine):
    write_as_agent(machine, "bot", [{"type": "plan", "source": "\x1b[31mbot\n", "data": {}}])
    until(lambda: "line_rejected" in machine.journal(), "a rejected line")
    entries = machine.run("journalctl", "-t", "sentineld", "-o", "json", "--no-pager").splitlines()
    texts = [json.loads(entry)["MESSAGE"] for entry in entries]
    assert all(isinstance(text, str) for text in texts), "journald keeps what is not printable as bytes"
    records = [json.loads(text) for text in texts if text.startswith("{")]

    assert {"started", "line_rejected"} <= {item["event"] for item in records}
    assert len(records) >= len(texts) - 2, "all but what ExecStartPre= says"


def test_what_the_daemon_has_no_need_of_is_refused(machine):
    machine.drop_in("[Service]\nExecStartPost=-/usr/bin/python3 /usr/local/bin/probe.py\n")
    found = json.loads(machine.run("cat", "/var/lib/sentineld/probe.json"))

    assert found.pop("uid") != 0
    assert {name for name, result in found.items() if result == "allowed"} == {
        "write /var/lib/sentineld",
        "write /run/sentineld",
    }
    assert found["write /etc"] == "Read-only file system"
    assert found["execute state"] == "Permission denied"


def test_a_hang_ends_in_a_restart(machine, record_property):
    machine.drop_in("[Service]\nWatchdogSec=2s\nRestartSec=100ms\n")
    before, seq = machine.pid, machine.state()["seq"]
    machine.run("kill", "-STOP", before)
    began = time.monotonic()
    until(lambda: machine.pid not in (0, before) and machine.show("ActiveState") == "active", "a restart", 60)
    record_property("figure", f"hang to restart with WatchdogSec=2s: {time.monotonic() - began:.1f} s")

    assert "watchdog" in machine.journal().lower() or machine.show("NRestarts") != "0"
    assert machine.state()["seq"] > seq


def test_a_busy_daemon_feeds_its_watchdog(machine):
    machine.drop_in("[Service]\nWatchdogSec=1s\n")
    before, seq = machine.pid, machine.state()["seq"]
    line = json.dumps({"type": "model_call", "source": "bot", "timestamp": time.time(), "data": {}})
    machine.run(
        "runuser",
        "-u",
        "research-07",
        "--",
        "sh",
        "-c",
        f"yes '{line}' | head -n 1000000 > /var/log/agents/research-07/busy.jsonl",
    )
    until(lambda: machine.json("status")["totals"]["events"] == 1_000_000, "all of it", 120)
    until(lambda: machine.state()["status"] == "ok" and machine.state()["seq"] > seq, "caught up", 60)

    assert machine.pid == before
    assert machine.show("NRestarts") == "0"


def test_a_killed_daemon_comes_back_with_a_higher_number(machine):
    before, state = machine.pid, machine.state()
    machine.run("kill", "-KILL", before)
    until(lambda: machine.pid not in (0, before) and machine.show("ActiveState") == "active", "a restart")
    after = machine.state()

    assert after["epoch"] == state["epoch"]
    assert after["seq"] > state["seq"]


def test_a_credential_signs(enforcing):
    typed, drop_in, settings = (text for _, text in blocks("Sign the state file")[:3])
    keygen, edit = typed.strip().splitlines()
    assert "systemctl edit" in edit
    enforcing.type("rm -f /etc/sentineld/*.key*")
    assert "ed25519" in enforcing.type(keygen).lower()
    head, _, keys = settings.partition("\n\n")
    text = enforcing.run("cat", "/etc/sentineld/sentineld.toml").replace("[state]\n", f"{head}\n", 1)
    enforcing.run("cp", "/dev/stdin", "/etc/sentineld/sentineld.toml", stdin=f"{text}\n{keys}")
    enforcing.drop_in(drop_in)

    assert len(enforcing.state()["signature"]) == 88
    assert enforcing.json("status")["state"]["verified"] is True
    assert enforcing.tier("bot") == (3, "")
    assert enforcing.run("stat", "-c", "%U %a", "/etc/sentineld/2026-11a.key").split() == ["root", "600"]
    for user in ("merge-bot", "sentineld"):
        private = enforcing.ask("runuser", "-u", user, "--", "cat", "/etc/sentineld/2026-11a.key")
        assert private.returncode != 0
    enforcing.run("systemctl", "reload", "sentineld")
    until(lambda: "config_reloaded" in enforcing.journal(), "a reload")
    changed = enforcing.run("cat", "/run/sentineld/state.json").replace('"tier":3', '"tier":1', 1)
    enforcing.run("systemctl", "stop", "sentineld")
    enforcing.run("cp", "/dev/stdin", "/run/sentineld/state.json", stdin=changed)
    assert enforcing.tier("bot")[0] == 3
    key = "/etc/sentineld/2026-11a.key"
    enforcing.run("sentineld", "break-glass", "--tier", "2", "--reason", "r", "--key-file", key)
    assert enforcing.tier("bot")[0] == 2


def test_metrics_reach_prometheus_by_a_proxy_and_nobody_else(machine):
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    units = re.findall(r"^```ini\n# (/etc/systemd/system/(\S+))\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [name for _, name, _ in units] == ["sentineld-metrics.socket", "sentineld-metrics.service"]
    for path, _, text in units:
        machine.write(path, text)
    options = 's/^# (socket|textfile|group = "sentineld-readers")/\\1/'
    machine.run("sed", "-i", "-E", f"/^\\[metrics/,/^\\[log/ {options}", "/etc/sentineld/sentineld.toml")
    machine.run("systemctl", "reload", "sentineld")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "sentineld-metrics.socket")
    places = ("/run/sentineld/metrics.sock", "/run/sentineld/metrics.prom")
    for path, mode in zip(places, ("660", "640"), strict=True):
        stat = ("stat", "-c", "%U:%G %a", path)
        until(lambda stat=stat: machine.ask(*stat).returncode == 0, path)
        assert machine.run(*stat).split() == ["sentineld:sentineld-readers", mode]

    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    answer = machine.run("python3", "-c", ask)
    assert 'sentineld_mode{mode="observe"} 1.0' in answer
    assert "sentineld_process_resident_memory_bytes " in answer
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect({places[0]!r})"
    for user, code in (("merge-bot", 0), ("research-07", 1)):
        done = machine.ask("runuser", "-u", user, "--", "python3", "-c", connect)
        assert done.returncode == code, done.stderr
    assert "metrics_unavailable" not in machine.journal()
    machine.run("systemctl", "stop", "sentineld-metrics.socket", "sentineld-metrics.service")


def test_a_reload_with_a_broken_configuration_changes_nothing(machine):
    before = machine.pid
    machine.run("sed", "-i", "s/^window = .*/window = true/", "/etc/sentineld/sentineld.toml")
    machine.run("systemctl", "reload", "sentineld", code=None)

    assert machine.show("ActiveState") == "active"
    assert machine.pid == before


def test_a_configuration_that_cannot_be_used_is_not_started_again(machine):
    machine.run("sed", "-i", "s/^window = .*/window = true/", "/etc/sentineld/sentineld.toml")
    machine.run("systemctl", "restart", "sentineld", code=None)
    until(lambda: machine.show("ActiveState") == "failed", "failed")

    assert machine.show("ExecMainStatus") == "78"


def test_a_stop_is_quick_and_leaves_the_last_word(machine, record_property):
    began = time.monotonic()
    machine.run("systemctl", "stop", "sentineld")
    seconds = time.monotonic() - began

    record_property("figure", f"systemctl stop: {seconds:.2f} s")
    assert seconds < 5
    assert machine.show("Result") == "success"
    assert machine.state()["status"] == "shutdown"


def test_the_notifier_tells_as_a_user_of_its_own_who_sees_the_decision_log_and_nothing_else(enforcing):
    enforcing.run("sh", "-c", "cat >> /etc/sentineld/sentineld.toml", stdin=NOTIFY)
    page = next(block for block in page_blocks(REPOSITORY / "docs" / "notify.md") if block.language == "sh")
    for command in page.text.strip().splitlines():
        enforcing.type(command)
    until(
        lambda: '"is_test": true' in enforcing.run("journalctl", "-t", "told", "-o", "cat"), "a test message"
    )
    enforcing.run("systemctl", "is-active", "sentineld-notify")
    # The daemon's start sets the mode of its directory, and with it what the entry is worth.
    enforcing.run("systemctl", "restart", "sentineld")

    write_as_agent(enforcing, "bot2", flood("bot2"))
    until(lambda: '"agent_id": "bot2"' in enforcing.run("journalctl", "-t", "told", "-o", "cat"), "a message")
    document = enforcing.json("notify", "--status")
    assert [target["queued"] for target in document["targets"]] == [0]
    main_pid = enforcing.run("systemctl", "show", "sentineld-notify", "--property=MainPID", "--value").strip()
    assert enforcing.run("stat", "-c", "%U", f"/proc/{main_pid}").strip() == "sentineld-notify"

    def may(*command):
        return enforcing.ask("runuser", "-u", "sentineld-notify", "--", *command).returncode == 0

    home = "/var/lib/sentineld"
    assert may("cat", f"{home}/decisions.jsonl")
    refused = [
        ("cat", f"{home}/sentineld.db"), ("ls", f"{home}/requests"), ("ls", "/var/log/agents"),
        ("touch", f"{home}/requests/x"), ("tee", "-a", f"{home}/decisions.jsonl"), ("touch", f"{home}/x"),
    ]  # fmt: skip
    assert [command for command in refused if may(*command)] == []
    verdict = enforcing.run("systemd-analyze", "security", "--no-pager", "sentineld-notify")
    assert float(verdict.partition("sentineld-notify.service:")[2].split()[0]) <= 1.5
