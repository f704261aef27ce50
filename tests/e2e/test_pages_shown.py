"""What the pages show is done: their commands run, and their outputs come.

``ELSEWHERE`` says which tests do it for pages and commands that need a machine, or a story, of their own.
"""

import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import command_line
import pytest
from pages import PAGES, ROOT, Step, blocks, steps
from processes import forked
from receivers import receiver

DOCS = ROOT / "docs"
#: Pages that are done whole, and where.
ELSEWHERE = {
    "commands.md": "test_pages.py",
    "runbook.md": "test_runbook.py",
    "tutorial.md": "e2e/test_tutorial.py",
    "install-systemd.md": "root/test_systemd.py",
    "log-shipping.md": "test_log_shipping.py",
    "top-and-report.md": "e2e/test_demo.py",
    # A measurement, by hand.
    "detection-bench.md": "test_detection_bench.py",
    "taxonomy.md": "test_taxonomy.py",
}
#: Commands of other pages that are done elsewhere, or are how the tests themselves are run.
OTHERS = (
    "pipx install .", "pip install 'sentineld[prognostics]'", "sentineld demo", "sentineld why mailer",
    "python3 dev.py ", "systemctl ", "sudo cp ", "cp systemd/", "sudo systemd-", "sudo systemctl ",
    "sudo usermod ", "sudo sentineld notify --test",
)  # fmt: skip
TRANSCRIPT = {
    "type": "assistant", "uuid": "u-1", "timestamp": "2026-01-05T10:00:00.000Z", "sessionId": "s-1",
    "cwd": "/home/me/app",
    "message": {"id": "m-1", "role": "assistant", "model": "m", "content": [
        {"type": "tool_use", "id": "toolu_01A09q90qw90lq91", "name": "Bash", "input": {"command": "ls"}},
    ]},
}  # fmt: skip


def shown(page):
    """Return the commands of a page that are done here, and what they print."""
    found = steps(page)
    for block in blocks(page):
        if block.language == "sh":
            found += [Step(line, "") for line in block.text.replace("\\\n", "").splitlines() if line]
    return [step for step in found if not step.command.startswith(OTHERS)]


class Host:
    """A home directory, in which commands of pages run as they stand there."""

    def __init__(self, place):
        self.place, self.paths = place, {"~": str(place.base), "/var/log/agents": place.telemetry.directory}

    def here(self, text):
        for path, local in self.paths.items():
            text = text.replace(path, str(local))
        return text

    def words(self, command):
        words = shlex.split(self.here(command), comments=True)
        return words[words[0] == "sudo" :]

    def environment(self):
        return self.place.environment() | {"COLUMNS": "80"}

    def run(self, command):
        """Run one command of sentineld; it must succeed. Return what it prints."""
        program, *arguments = self.words(command)
        assert program == "sentineld"
        done = command_line.run(arguments, self.environment(), self.place.base, 60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def follow(self, command, until, wait_for):
        """Run one command until something holds; it must end well."""
        log = self.place.base / "followed.log"
        log.unlink(missing_ok=True)
        with forked(self.words(command)[1:], self.environment(), self.place.base, log) as process:
            wait_for(lambda: until(log), command)
            assert process.stop() == 0


@pytest.fixture
def host(place):
    return Host(place)


def test_every_page_is_done_here_or_elsewhere():
    here = {"CONTRIBUTING.md", *re.findall(r'"([A-Za-z-]+\.md)"', Path(__file__).read_text())}
    showing = {
        page.name for page in PAGES if any(block.language in ("sh", "console") for block in blocks(page))
    }

    assert showing - here == set()
    assert [name for name in ELSEWHERE.values() if not (ROOT / "tests" / name).is_file()] == []


def test_the_readme_does_what_it_says(host, place, wait_for):
    # Root's own place is the machine's.
    place.env["SENTINELD_STATE_DIR"] = str(place.state_dir)
    place.telemetry.fill()
    projects = place.base / ".claude" / "projects" / "-home-me-app"
    projects.mkdir(parents=True)
    (projects / "0a1b2c3d.jsonl").write_text(json.dumps(TRANSCRIPT) + "\n")
    host.paths["sentineld.toml"] = place.base / "sentineld.toml"

    for step in shown(ROOT / "README.md"):
        if step.command.startswith("sentineld run"):
            # The coding agents of this machine; then the directory that `init` was told of.
            host.follow(step.command, lambda log: '"started"' in log.read_text(), wait_for)
        elif "mapping try" in step.command:
            assert "file_read, tool call Bash" in host.run(step.command)
        else:
            host.run(step.command)
    assert f'directories = ["{place.telemetry.directory}"]' in (place.base / "sentineld.toml").read_text()


def test_the_mapping_of_the_page_makes_of_records_what_the_page_says(host, place):
    (step,) = [step for step in shown(DOCS / "mapping.md") if step.output]
    directory = place.base / "deploybot" / "h1"
    directory.mkdir(parents=True)
    first = next(block for block in blocks(DOCS / "mapping.md") if block.language == "toml")
    (place.base / "deploybot.toml").write_text(first.text)
    common = {"run_id": "r-7", "at": "2026-01-05T10:00:00Z"}
    records = [
        {"kind": "deploy.command", "uuid": "u-1", "payload": {"command": "make"}, **common},
        {"kind": "deploy.heartbeat", **common},
        {"kind": "deploy.rollback", **common},
    ]
    (directory / "session.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    host.paths |= {
        "session.jsonl": directory / "session.jsonl",
        " deploybot.toml": f" {place.base}/deploybot.toml",
    }

    printed = host.run(step.command).replace(str(place.base), "/tmp")
    # Where a line ends depends on how long the path of the mapping is.
    assert printed.split() == step.output.split()


def test_history_is_tuned_as_the_page_says(host, place):
    place.telemetry.fill()
    (step,) = shown(DOCS / "tuning.md")

    assert "RATE" in host.run(step.command)


def test_status_says_what_the_page_shows_of_a_daemon_that_catches_up():
    # A daemon that catches up is looked at in test_catch_up.py, by the same pattern.
    (status, *_) = [step.output for step in steps(DOCS / "operations.md") if "catching_up" in step.output]

    assert re.search(r"^catching up: .* left, .*/s, done in \d+:\d\d$", status, re.MULTILINE)


def test_shared_files_are_taken_as_the_page_says(host, place):
    for step in shown(DOCS / "metrics.md"):
        command, _, target = step.command.partition("#")[0].partition(" > ")
        if target:
            printed = host.run(command)
            (place.base / target.strip().rpartition("/")[2]).write_text(printed)
            continue
        words = shlex.split(command, comments=True)
        if shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed")
        path = place.base / words.pop().rpartition("/")[2]
        subprocess.run([*words, path], check=True, capture_output=True)


def test_the_notifier_tells_as_the_page_says(host, place, wait_for):
    place.telemetry.fill()
    place.once()
    with receiver() as hook:
        place.env["SENTINELD_NOTIFY_WEBHOOK"] = hook.url
        place.env["SENTINELD_STATE_DIR"] = str(place.state_dir)
        test, follow = shown(DOCS / "notify.md")[:2]
        host.run(test.command)
        assert [post.document["is_test"] for post in hook.posts] == [True]
        host.follow(follow.command, lambda log: log.read_text().count("\n") > 0, wait_for)


@pytest.fixture
def shell(host, place):
    """Run a line in a shell, with sentineld in its path; programs of others say that they were called."""
    programs = place.base / "bin"
    programs.mkdir()
    texts = {
        "sentineld": f'exec {sys.executable} -m sentineld "$@"',
        "sudo": 'while [ "$1" = -u ]; do shift 2; done; exec "$@"',
        "deploy.sh": "echo deployed",
        "git": 'echo "git $*"',
    }
    for name, text in texts.items():
        path = (place.base if name.endswith(".sh") else programs) / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    env = place.environment() | {
        "PATH": f"{programs}:/usr/bin:/bin",
        "SENTINELD_STATE_DIR": str(place.state_dir),
        "JOB_ID": "job-4711",
        "AGENT": "biller",
    }

    def run(line):
        return subprocess.run(
            ["sh", "-c", host.here(line)],
            cwd=place.base,
            env=env,
            input="",
            text=True,
            capture_output=True,
            check=False,
        )

    return run


@pytest.mark.usefixtures("by_activity")
def test_the_gate_does_what_its_page_says(shell, host, place):
    place.telemetry.fill()
    place.once()
    host.paths["--config /etc/sentineld/sentineld.toml"] = ""
    lines = [step.command for step in shown(DOCS / "gate.md")]
    printing = [line for line in lines if "--print" in line]
    (installed,) = [line for line in lines if line.startswith("timeout")]
    (deploys,) = [line for line in lines if "deploy.sh" in line]
    assert sorted(lines) == sorted([*printing, installed, deploys])

    for line in printing:
        done = shell(line)
        assert (done.returncode, "timeout -k 1 10 " in done.stdout) == (0, True), done.stderr
    # Nobody piped it a call: it blocks.
    assert shell(installed).returncode == 2
    assert shell(deploys).stdout == "deployed\n"
    held = shell(deploys.replace("deploybot", "scraper"))
    assert (held.stdout, held.returncode) == ("", 2)


@pytest.mark.usefixtures("by_activity")
def test_the_state_file_is_asked_and_overridden_as_its_page_says(shell, host, place):
    place.env["SENTINELD_STATE_DIR"] = str(place.state_dir)
    place.telemetry.fill()
    place.once()
    host.paths |= {"/etc/sentineld": place.base, " --group sentineld": ""}

    for step in shown(DOCS / "state-file.md"):
        if "git merge" not in step.command:
            host.run(step.command)
        else:
            done = shell(step.command)
            assert done.stdout.splitlines() == ["1", "git merge --ff-only proposal"]
            assert "git" not in shell(step.command.replace('"$AGENT"', "scraper")).stdout
    assert (place.base / "2026-11a.key.pub").is_file()
