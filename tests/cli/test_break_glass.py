"""``sentineld break-glass``: an order by hand, on record, obeyed with the daemon dead, gone by itself."""

import json
import os
import signal
import stat
import sys
import time

import pytest

from sentineld.keys import load_verification_key
from sentineld.override import override_path
from sentineld.published_file import remove_leftovers
from sentineld.router import TierRouter

CONFIG = """
[telemetry]
directories = ["{telemetry}"]
[state]
valid_for = "{valid_for}"
key_file = "{base}/signing.key"
key_id = "k1"
{more}
"""


@pytest.fixture
def signed(place):
    """Make a key and a configuration; give the flags of every command."""
    assert place.command("keygen", "signing.key").returncode == 0
    text = CONFIG.format(telemetry=place.telemetry.directory, base=place.base, valid_for="30s", more="")
    return ["--config", str(place.config(text))]


def override(place):
    return override_path(str(place.state_file))


def record(place):
    return [json.loads(line) for line in (place.state_dir / "break-glass.jsonl").read_text().splitlines()]


def reader(place):
    key = load_verification_key(place.base / "signing.key.pub", "k1")
    return TierRouter(state_file=place.state_file, keys=[key])


@pytest.mark.usefixtures("by_activity")
def test_an_order_is_obeyed_with_the_daemon_dead_shown_and_on_record(place, signed):
    place.telemetry.fill()
    daemon = place.start(*signed, telemetry=False)
    router = reader(place)
    assert router.behavior_tier("scraper") == 3
    daemon.kill()
    place.state_file.unlink()
    assert router.behavior_tier("biller") == 3

    order = ["break-glass", "--tier", 1, "--for", "1h", "--reason", "host is down"]
    done = place.command(*order, *signed)

    assert done.returncode == 0, done.stderr
    assert "every agent: tier 1 until" in done.stdout
    assert router.behavior_tier("scraper") == router.behavior_tier("biller") == 1
    assert "override" in router.behavior("biller").reason
    told = place.command("tier", "biller", *signed)
    assert (told.stdout, told.returncode) == ("1\n", 0)
    assert "warning: an operator's override gives tier 1" in told.stderr
    assert place.json("tier", "biller", *signed)["is_overridden"] is True
    status = place.json("status", *signed, code=3)
    assert status["state"]["override"]["reason"] == "host is down"
    assert {agent["tier"] for agent in status["agents"].values()} == {1}
    assert "override" in place.command("status", *signed).stdout
    (entry,) = record(place)
    assert (entry["action"], entry["tier"], entry["reason"]) == ("ordered", 1, "host is down")
    assert entry["uid"] == os.getuid()
    assert entry["actor"]
    assert stat.S_IMODE(os.stat(override(place)).st_mode) == 0o640


@pytest.mark.usefixtures("by_activity")
def test_an_end_ends_it_and_the_old_order_does_not_come_back(place, signed):
    place.telemetry.fill()
    place.once(*signed)
    router = reader(place)
    assert place.command("break-glass", "--tier", 1, "--reason", "r", *signed).returncode == 0
    assert router.behavior_tier("scraper") == 1
    with open(override(place), "rb") as file:
        old = file.read()
    done = place.command("break-glass", "--end", "--reason", "host is up", *signed)

    assert (done.returncode, done.stderr) == (0, "")
    assert router.behavior_tier("scraper") == 3
    assert place.command("tier", "scraper", *signed).stderr == ""
    with open(override(place), "wb") as file:
        file.write(old)
    assert router.behavior_tier("scraper") == 3
    assert [entry["action"] for entry in record(place)] == ["ordered", "ended"]
    numbers = [entry["number"] for entry in record(place)]
    assert numbers == sorted(set(numbers))


def test_numbers_grow_even_where_the_file_is_gone_and_the_clock_was_set_back(place, signed):
    place.once(*signed)
    ahead = (1 << 52) + 5
    (place.state_dir / "break-glass.jsonl").write_text(f'{{"number":{ahead}}}\n{{"number":7,"torn')
    document = place.json("break-glass", "--tier", 2, "--reason", "r", *signed)

    assert document["number"] == ahead + 1
    assert record_of_last(place)["number"] == ahead + 1


def record_of_last(place):
    return json.loads((place.state_dir / "break-glass.jsonl").read_text().splitlines()[-1])


def test_one_agent_can_be_named(place, signed):
    place.telemetry.fill()
    place.once(*signed)
    document = place.json(
        "break-glass", "--tier", 2, "--agent", "scraper", "--agent", "biller", "--reason", "r", *signed
    )
    router = reader(place)

    assert document["agents"] == ["biller", "scraper"]
    tiers = {name: router.behavior_tier(name) for name in ("scraper", "biller", "mailer")}
    assert tiers == {"scraper": 2, "biller": 2, "mailer": 1}
    assert place.json("why", "scraper", *signed)["tier"] == 2


def test_a_living_daemon_tells_of_it_in_its_log(place, signed):
    place.config((place.base / "sentineld.toml").read_text().replace("30s", "1s"))
    daemon = place.start(*signed, telemetry=False)
    place.command("break-glass", "--tier", 2, "--for", "1s", "--reason", "a drill", *signed)
    told = daemon.wait_log("override_in_force")

    assert told["given"]["reason"] == "a drill"
    assert told["tier"] == 2
    assert daemon.wait_log("override_ended")["number"] == told["number"]
    assert "expired" in daemon.wait_log("override_ignored")["error"]
    with open(override(place), "wb") as file:
        file.write(b"{}")
    daemon.wait_log("override_ignored", 2)
    assert daemon.stop() == 0


@pytest.mark.usefixtures("by_activity")
def test_an_order_replaces_a_living_daemons_word(place, signed):
    place.telemetry.fill()
    daemon = place.start(*signed, telemetry=False)
    place.command("break-glass", "--tier", 1, "--reason", "r", *signed)
    router = reader(place)

    assert place.tier("scraper") == 3
    assert router.behavior_tier("scraper") == 1
    for count in (1, 2):
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("config_reloaded", count)
        daemon.wait_log("override_in_force")
    assert daemon.stop() == 0
    assert len(daemon.logs("override_in_force")) == 1, "told once"


@pytest.mark.parametrize(
    "args",
    [
        ["--reason", "r"],
        ["--tier", 1, "--end", "--reason", "r"],
        ["--tier", 1],
        ["--tier", 0, "--reason", "r"],
        ["--tier", 1, "--reason", ""],
        ["--tier", 1, "--reason", "x" * 201],
        ["--tier", 1, "--reason", "a\x1bb"],
        ["--tier", 1, "--reason", "r", "--for", "25h"],
        ["--tier", 1, "--reason", "r", "--for", "500ms"],
        ["--tier", 1, "--reason", "r", "--for", "soon"],
        ["--tier", 1, "--reason", "r", "--agent", ""],
        ["--end", "--reason", "r", "--agent", "a"],
    ],
)
def test_a_wrong_order_is_not_given(place, args):
    done = place.command("break-glass", *args)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "\ntry: " in done.stderr
    assert not place.state_dir.exists()


def test_no_order_without_the_key_that_signs(place, signed):
    place.once(*signed)
    (place.base / "signing.key").rename(place.base / "elsewhere")
    order = ["break-glass", "--tier", 1, "--reason", "r", *signed]

    assert place.command(*order).returncode == 78
    assert place.command(*order, "--key-file", "signing.key.pub").returncode == 78
    assert not os.path.exists(override(place))
    assert not (place.state_dir / "break-glass.jsonl").exists()
    done = place.command(*order, "--key-file", "elsewhere")
    # Readers with this configuration look for the key where it was.
    assert done.returncode == 0, done.stderr
    assert reader(place).behavior_tier("anyone") == 1


def test_no_order_without_a_record(place, signed):
    place.once(*signed)
    (place.state_dir / "break-glass.jsonl").mkdir()
    order = ["break-glass", "--tier", 1, "--reason", "r", *signed]
    done = place.command(*order)

    assert done.returncode == 77
    assert "--audit-log" in done.stderr
    assert not os.path.exists(override(place))
    assert place.command(*order, "--audit-log", place.base / "audit").returncode == 0
    assert json.loads((place.base / "audit").read_text())["action"] == "ordered"


def test_who_may_not_write_there_gives_no_order(place, signed, as_mortal):
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("needs file modes to count")
    place.once(*signed)
    place.state_dir.chmod(0o555)
    done = place.command("break-glass", "--tier", 1, "--reason", "r", *signed, **as_mortal)
    place.state_dir.chmod(0o755)

    assert done.returncode == 77
    assert not os.path.exists(override(place))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_daemons_user(place):
    run = place.base / "run"
    run.mkdir()
    os.chown(run, 12345, 12346)
    document = place.json(
        "break-glass",
        "--tier",
        2,
        "--reason",
        "r",
        "--config",
        place.config(f'[state]\nfile = "{run}/state.json"\n'),
        "--audit-log",
        place.base / "audit",
    )
    status = os.stat(document["file"])

    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 12346, 0o640)
    assert TierRouter(state_file=run / "state.json", expected_owner=12345).behavior_tier("a") == 2
    assert document["signed"] is False


@pytest.mark.usefixtures("by_activity")
def test_an_order_that_was_ended_is_refused_by_readers_that_never_saw_the_end(place, signed, wait_for):
    place.config((place.base / "sentineld.toml").read_text().replace('"30s"', '"2s"'))
    place.telemetry.fill()
    place.start(*signed)
    # As if the clock had been ahead once.
    (place.state_dir / "break-glass.jsonl").write_text(f'{{"number":{1 << 52}}}\n')
    place.json("break-glass", "--tier", 1, "--reason", "r", *signed)
    with open(override(place), "rb") as file:
        old = file.read()
    place.json("break-glass", "--end", "--reason", "r", *signed)
    number = record_of_last(place)["number"]
    wait_for(lambda: place.state().get("override_floor") == number, "the daemon tells of it")
    with open(override(place), "wb") as file:
        file.write(old)

    assert reader(place).behavior_tier("scraper") == 3
    assert place.command("tier", "scraper", *signed).returncode == 1

    # Also by a daemon that never saw it, and by the next command, whose order is obeyed.
    place.daemons[-1].stop()
    os.unlink(override(place))
    place.start(*signed)
    assert place.state()["override_floor"] == number
    with open(override(place), "wb") as file:
        file.write(old)
    assert reader(place).behavior_tier("scraper") == 3
    (place.state_dir / "break-glass.jsonl").unlink()
    os.unlink(override(place))
    assert place.json("break-glass", "--tier", 2, "--reason", "r", *signed)["number"] > number
    assert reader(place).behavior_tier("scraper") == 2


def test_what_a_command_that_crashed_left_is_removed_once_it_is_old(place, signed):
    place.once(*signed)
    left = place.state_dir / f".state.json.override.{'a' * 16}.tmp"
    left.write_text("")
    place.json("break-glass", "--tier", 1, "--reason", "r", *signed)
    assert left.exists()

    remove_leftovers(override(place), before_ns=time.time_ns() + 10**9)
    assert not left.exists()
    assert os.path.exists(override(place))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_record_that_root_begins_belongs_to_the_daemons_user_and_links_are_left_alone(place):
    place.state_dir.mkdir()
    os.chown(place.state_dir, 1234, 1234)
    log = place.state_dir / "break-glass.jsonl"
    place.json("break-glass", "--tier", 1, "--reason", "r")
    assert (log.stat().st_uid, log.stat().st_gid, stat.S_IMODE(log.stat().st_mode)) == (1234, 1234, 0o640)

    # Nothing that was there before is given away or followed.
    victim = place.base / "victim"
    victim.write_text("")
    log.unlink()
    log.symlink_to(victim)
    assert place.command("break-glass", "--tier", 1, "--reason", "r").returncode == 77
    log.unlink()
    os.link(victim, log)
    place.json("break-glass", "--tier", 1, "--reason", "r")
    assert victim.stat().st_uid == 0
