"""The shipped system unit under a real systemd, in a container that is built once.

Needs root, systemd-nspawn and, for the first run, debootstrap and a network. The container is kept below
``SENTINELD_TEST_CACHE``, else in the user's cache directory; what a run writes goes to an overlay in memory.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("SENTINELD_TEST_CACHE") or Path.home() / ".cache" / "sentineld-tests")
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,python3-venv,ca-certificates,acl"
NAME = f"sentineld-{os.getpid()}"

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-nspawn is not installed"),
]

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


def make_root():
    """Make the container, unless an earlier run has; put today's sentineld into it."""
    root, wheels = CACHE / "root", CACHE / "wheels"
    if not (root / "opt" / "sentineld" / "bin" / "python").exists():
        if shutil.which("debootstrap") is None:
            pytest.skip("debootstrap is not installed, and no container is in the cache")
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        sh("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root)
        sh("chroot", root, "python3", "-m", "venv", "/opt/sentineld")
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    sh(*pip, "wheel", "--no-deps", "-w", wheels, REPOSITORY)
    platforms = [
        f"--platform=manylinux{version}_{os.uname().machine}"
        for version in ("2014", "_2_17", "_2_27", "_2_28")
    ]
    wanted = ["--only-binary=:all:", "--python-version=3.11", *platforms]
    sh(*pip, "download", *wanted, "-d", wheels, *wheels.glob("sentineld-*.whl"))
    inside = root / "opt" / "wheels"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(wheels, inside)
    install = ["/opt/sentineld/bin/pip", "install", "-q", "--no-index", "--find-links=/opt/wheels"]
    sh("chroot", root, *install, "--force-reinstall", "sentineld")
    for source, target in (
        ("systemd/sentineld.service", "etc/systemd/system"),
        ("systemd/sysusers.d/sentineld.conf", "usr/lib/sysusers.d"),
        ("systemd/tmpfiles.d/sentineld.conf", "usr/lib/tmpfiles.d"),
        ("etc/sentineld.toml", "etc/sentineld"),
    ):
        (root / target).mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / source, root / target)
    (root / "usr/local/bin/probe.py").write_text(PROBE)
    return root


class Machine:
    """A running container, and the one service in it."""

    def __init__(self, leader):
        self.leader = leader

    def run(self, *command, code=0, stdin=None):
        enter = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--wd=/"]
        done = subprocess.run(
            [*enter, *map(str, command)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            input=stdin,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )
        assert code is None or done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

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
        yield machine
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def machine(container):
    """Start the service afresh, as it is shipped."""
    container.run("systemctl", "stop", "sentineld")
    container.run("rm", "-rf", "/etc/systemd/system/sentineld.service.d", "/var/lib/sentineld")
    container.run("cp", "/usr/local/etc/sentineld.toml", "/etc/sentineld/sentineld.toml", code=None)
    container.run("cp", "-n", "/etc/sentineld/sentineld.toml", "/usr/local/etc/sentineld.toml")
    container.run("chown", "root:sentineld-readers", "/etc/sentineld/sentineld.toml")
    container.run("systemctl", "daemon-reload")
    container.run("systemctl", "reset-failed", "sentineld", code=None)
    container.run("systemctl", "start", "sentineld")
    return container


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
    machine.run("useradd", "-M", "alice", code=None)
    machine.run(
        "install", "-d", "-o", "alice", "-g", "agent-telemetry", "-m", "2750", "/var/log/agents/alice"
    )
    lines = "".join(
        json.dumps({"type": kind, "source": "bot", "timestamp": time.time(), "data": {"n": "x" * 50}}) + "\n"
        for kind in ("file_write", "network_request") * 40
    )
    machine.run(
        "setpriv",
        "--reuid=alice",
        "--regid=agent-telemetry",
        "--clear-groups",
        "sh",
        "-c",
        "umask 027; cat > /var/log/agents/alice/bot.jsonl",
        stdin=lines,
    )
    would = until(lambda: machine.state()["would"].get("bot"), "an agent that would be demoted")

    assert would["tier"] >= 2
    assert machine.state()["isolation"] == "service"


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


def test_a_hang_ends_in_a_restart(machine):
    machine.drop_in("[Service]\nWatchdogSec=2s\nRestartSec=100ms\n")
    before, seq = machine.pid, machine.state()["seq"]
    machine.run("kill", "-STOP", before)
    until(lambda: machine.pid not in (0, before) and machine.show("ActiveState") == "active", "a restart", 60)

    assert "watchdog" in machine.journal().lower() or machine.show("NRestarts") != "0"
    assert machine.state()["seq"] > seq


def test_a_busy_daemon_feeds_its_watchdog(machine):
    machine.drop_in("[Service]\nWatchdogSec=1s\n")
    before = machine.pid
    line = json.dumps({"type": "model_call", "source": "bot", "timestamp": time.time(), "data": {}})
    machine.run(
        "setpriv",
        "--regid=agent-telemetry",
        "--clear-groups",
        "sh",
        "-c",
        f"umask 027; yes '{line}' | head -n 300000 > /var/log/agents/busy.jsonl",
    )
    seq = machine.state()["seq"]
    until(lambda: machine.state()["seq"] >= seq + 2, "two heartbeats", 60)

    assert machine.pid == before


def test_a_killed_daemon_comes_back_with_a_higher_number(machine):
    before, state = machine.pid, machine.state()
    machine.run("kill", "-KILL", before)
    until(lambda: machine.pid not in (0, before) and machine.show("ActiveState") == "active", "a restart")
    after = machine.state()

    assert after["epoch"] == state["epoch"]
    assert after["seq"] > state["seq"]


def test_a_credential_signs(machine):
    machine.run("rm", "-f", "/etc/sentineld/signing.key")
    machine.write("/etc/sentineld/signing.key", "k" * 40 + "\n")
    machine.run("chmod", "600", "/etc/sentineld/signing.key")
    machine.run(
        "sed",
        "-i",
        r"s|^\[state\]|[state]\nkey_file = \"${CREDENTIALS_DIRECTORY}/signing.key\"|",
        "/etc/sentineld/sentineld.toml",
    )
    machine.drop_in("[Service]\nLoadCredential=signing.key:/etc/sentineld/signing.key\n")

    assert machine.state()["signature"]
    machine.run("systemctl", "reload", "sentineld")
    until(lambda: "config_reloaded" in machine.journal(), "a reload")


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


def test_a_stop_is_quick_and_leaves_the_last_word(machine):
    began = time.monotonic()
    machine.run("systemctl", "stop", "sentineld")

    assert time.monotonic() - began < 5
    assert machine.show("Result") == "success"
    assert machine.state()["status"] == "shutdown"
