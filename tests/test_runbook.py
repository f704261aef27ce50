"""Every command of the runbook, in its order, on a state directory with a daemon that runs.

The daemon and sentineld's commands are real. In place of systemd there is a process that the test starts,
stops and signals as `systemctl` would; the journal is that process's log; `pip` is not run.
"""

import re
import shlex
import shutil
import signal
import subprocess

import command_line
import pytest
from pages import ROOT, blocks
from processes import Forked
from receivers import receiver

PAGE = ROOT / "docs" / "runbook.md"
#: What the configuration holds beside the tables that the page shows.
BASE = 'telemetry.directories = ["{telemetry}"]\nnotify.webhook = "{hook}"\n'


class Machine:
    """What the page takes for granted: the service, its paths, and the commands beside sentineld."""

    def __init__(self, place, hook, wait_for):
        self.place, self.wait_for = place, wait_for
        self.etc, self.backups = place.base / "etc", place.base / "backups"
        for directory in (self.etc, self.backups):
            directory.mkdir()
        self.paths = {
            "/var/lib/sentineld": place.state_dir, "/run/sentineld": place.state_dir,
            "/etc/sentineld": self.etc, "/var/backups": self.backups,
            "/var/log/agents": place.telemetry.directory,
        }  # fmt: skip
        self.config = self.etc / "sentineld.toml"
        self.hook = hook
        self.journal = place.base / "journal"
        self.daemon = None
        self.configure("")

    def here(self, text):
        for path, local in self.paths.items():
            text = re.sub(rf"{re.escape(path)}(?=[/ \"\n]|$)", str(local), text)
        return text

    def configure(self, text):
        base = BASE.format(telemetry=self.place.telemetry.directory, hook=self.hook.url)
        self.config.write_text(base + self.here(text))

    def run(self, command):
        """Run one line of the page; return its exit code and all that it printed."""
        words = shlex.split(self.here(command), comments=True)
        words = words[words[0] == "sudo" :]
        if words[0] == "sentineld":
            arguments = words[1:]
            if arguments[0] != "keygen":
                arguments += ["--config", str(self.config), "--state-dir", str(self.place.state_dir)]
            else:
                # The group of a host that has the service.
                arguments = [word for word in arguments if word not in ("--group", "sentineld")]
            done = command_line.run(arguments, self.place.environment(), self.place.base, 60)
            return done.returncode, done.stdout + done.stderr
        if words[0] in ("systemctl", "journalctl"):
            return getattr(self, words[0])(*words[1:])
        if words[0].endswith("/pip"):
            return 0, ""
        assert shutil.which(words[0]), f"the page uses a command that nothing is known of: {command}"
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def systemctl(self, verb, unit):
        assert unit == "sentineld"
        assert verb in ("start", "stop", "restart", "reload", "status"), verb
        if verb in ("stop", "restart"):
            assert self.daemon.stop() == 0
            self.daemon = None
        if verb in ("start", "restart"):
            arguments = ["run", "--config", str(self.config), "--state-dir", str(self.place.state_dir)]
            count = self.published()
            self.daemon = Forked(arguments, self.place.environment(), self.place.base, self.journal)
            self.wait_for(lambda: self.published() > count, "a state file")
        if verb == "reload":
            count = len(self.daemon.logs("config_reloaded"))
            self.daemon.signal(signal.SIGHUP)
            self.wait_for(lambda: len(self.daemon.logs("config_reloaded")) > count, "the reload")
        return 0, ""

    def published(self):
        state = self.place.state() or {"epoch": 0, "seq": 0}
        return state["epoch"], state["seq"]

    def journalctl(self, *options):
        assert options[0] == "-u"
        assert options[1] in ("sentineld", "sentineld-notify")
        return 0, self.journal.read_text()


@pytest.mark.usefixtures("by_activity")
def test_every_command_of_the_runbook_does_what_the_page_says(place, wait_for, request):
    place.telemetry.fill()
    ran = {}
    with receiver() as hook:
        machine = Machine(place, hook, wait_for)
        request.addfinalizer(lambda: machine.daemon and machine.daemon.kill())
        machine.systemctl("start", "sentineld")
        wait_for(lambda: place.tier("scraper") == 3, "the demotion")
        for block in blocks(PAGE):
            if block.language == "toml":
                machine.configure(block.text)
                continue
            assert block.language == "console", block
            for line in block.text.splitlines():
                command = line.strip().removeprefix("$ ")
                assert command != line.strip(), "a line of a console block is a command"
                if command in ran and "systemctl" not in command:
                    continue
                code, ran[command] = machine.run(command)
                assert code == 0, f"{line}: exit {code}: {ran[command]}"

        assert [post.document["is_test"] for post in hook.posts] == [True]
    assert "scraper: tier 3" in ran["sudo sentineld why scraper"]
    assert "researcher" not in place.state()["agents"]
    decided = [item["cause"] for item in place.decisions()]
    assert {"pinned", "unpinned", "pardoned", "renamed", "retired", "erased"} >= set(decided) - {"detected"}
    assert place.state()["key_id"] == "2027-01a"
    changed = machine.daemon.logs("option_changed")
    assert ("limits.decision_log_files", 4, 2) in [(i["option"], i["old"], i["new"]) for i in changed]
