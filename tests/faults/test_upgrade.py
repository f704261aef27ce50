"""An upgrade under load, and the way back: another version of the program over the same directories."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import pytest
from harness import PACKAGE, Place, assert_invariants, assert_sound, environment
from live import Agents, daemon, events_counted, has_moved, wait_until

from sentineld.database import SCHEMA_VERSION

#: Where the schema stands, and where it stood once.
SCHEMAS = ("sentineld/database.py", "sentineld/store.py")
LINE = re.compile(r"^SCHEMA_VERSION = (\d+)$", re.MULTILINE)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


def git(*args):
    return subprocess.run(
        ["git", "-C", str(PACKAGE), *args], capture_output=True, text=True, check=True
    ).stdout.strip()


def commits():
    """Return (commit, its schema's version), newest first, of those in which the store changed."""
    if shutil.which("git") is None:
        return
    try:
        found = git("log", "--format=%H", "--", *SCHEMAS).split()
    except subprocess.CalledProcessError:
        return
    for commit in found:
        for schema in SCHEMAS:
            try:
                version = LINE.search(git("show", f"{commit}:{schema}"))
            except subprocess.CalledProcessError:
                # It was elsewhere then, or a shallow clone ends here.
                continue
            if version is not None:
                yield commit, int(version[1])
                break


@pytest.fixture
def checkout(tmp_path):
    """Check out a commit beside the present one; return where its package is."""
    made = []

    def make(commit):
        path = tmp_path / f"checkout{len(made)}"
        git("worktree", "add", "--detach", str(path), commit)
        made.append(path)
        return path

    yield make
    for path in made:
        git("worktree", "remove", "--force", str(path))


class Keeping(Agents):
    """Agents that rotate by renaming and delete nothing: all that was written is still there."""

    def consumed(self, _path):
        return 0


def works(package, directory):
    """Say whether the program of a commit runs: not every one was made to be run."""
    place = Place(directory, package)
    return command(place, "run", "--once", "--telemetry", place.telemetry).returncode == 0


def command(place, *args):
    words = [*map(str, args)]
    if "--state-dir" not in words:
        words += ["--state-dir", str(place.state_dir)]
    return subprocess.run(
        [sys.executable, "-m", "sentineld", *words],
        env=environment(place.package),
        cwd=place.base,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def content(place):
    # Not the file's bytes: who opens a database after a kill moves what stands in its log.
    with closing(place.db()) as db:
        return list(db.iterdump())


def take_turns(place, packages):
    """Let versions follow each other while agents write; each is killed at work but the last one."""
    for package in packages:
        place.package = package
        before = events_counted(place)
        with daemon(place) as process:
            wait_until(lambda p=process, n=before: has_moved(place, p, n), "events counted")
        assert_sound(place)


def is_well(place, published):
    state = json.loads(place.state_file.read_bytes())
    return state["status"] == "ok" and state["seq"] > published


def finish(place, agents):
    agents.stop()
    total = place.by_agent.total()
    published = json.loads(place.state_file.read_bytes())["seq"]
    with daemon(place) as process:
        wait_until(lambda: events_counted(place) >= total, f"{total} events counted")
        # The one before it, which was killed, may have counted them all, and have said that it is well.
        wait_until(lambda: is_well(place, published), "status ok, published by this one")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert_invariants(place)


def test_a_version_with_the_same_schema_takes_over_and_gives_back(tmp_path, checkout, record_property):
    same = [commit for commit, version in commits() if version == SCHEMA_VERSION]
    found = (path for path in map(checkout, reversed(same)) if works(path, tmp_path / "try"))
    former = next(found, None)
    if former is None:
        pytest.skip("no former commit has this schema")
    place = Place(tmp_path / "place")
    agents = Agents(place, random.Random(3), 0.02)
    with place.watcher:
        agents.start()
        take_turns(place, [former, PACKAGE, former, PACKAGE, former])
        place.package = PACKAGE
        finish(place, agents)
    record_property("figure", f"5 changes of version, {place.by_agent.total()} events")


def test_a_former_schema_is_brought_up_to_date_under_load_and_its_program_refuses_the_new_one(
    tmp_path, checkout, record_property
):
    former = [(commit, version) for commit, version in commits() if version < SCHEMA_VERSION]
    if not former:
        pytest.skip("no former commit has another schema")
    commit, version = former[0]
    old = checkout(commit)
    place = Place(tmp_path / "place", old)
    agents = Keeping(place, random.Random(4), 0.02)
    backup = tmp_path / "backup.db"
    with place.watcher:
        agents.start()
        take_turns(place, [old])
        made = command(place, "backup", backup)
        assert made.returncode == 0, made.stderr
        take_turns(place, [PACKAGE])

        place.package = old
        before = content(place)
        refused = command(
            place, "run", "--once", "--config", "sentineld.toml", "--telemetry", place.telemetry
        )
        assert refused.returncode != 0
        assert str(SCHEMA_VERSION) in refused.stderr, refused.stderr
        assert content(place) == before

        take_turns(place, [PACKAGE, PACKAGE])
        finish(place, agents)
        counted = events_counted(place)

        # The way back: the backup from before, and everything that is still there is read again.
        place.package = old
        restored = command(place, "restore", backup)
        assert restored.returncode == 0, restored.stderr
        # What was decided since the backup is decided again.
        place.watcher.demotions.clear()
        again = Keeping(place, random.Random(5), 0.02)
        again.start()
        # Old, and up to date once more: only the present program can be asked what is in its database.
        take_turns(place, [old, old, PACKAGE])
        finish(place, again)
    figure = f"{counted} events, {place.by_agent.total()} at the end"
    record_property("figure", f"schema {version} to {SCHEMA_VERSION} and back: {figure}")
