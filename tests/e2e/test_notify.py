"""The notifier as a process: every decision is told once, whatever fails, and never lost."""

import json
import os
import random
import re
import signal
import stat
import time

import pytest
from command_line import error_of
from journals import numbered
from processes import forked
from receivers import receiver
from schemas import check

from sentineld.journal import Journal

#: Nothing waits longer than it must.
QUICK = 'digest = "20ms"\ncooldown = "1ms"\nfirst_retry = "20ms"\nlast_retry = "100ms"\ntimeout = "300ms"\n'


@pytest.fixture
def hook():
    with receiver() as made:
        yield made


@pytest.fixture
def log(place):
    place.state_dir.mkdir()
    return Journal(str(place.state_dir / "decisions.jsonl"), kept_files=100)


def running(place):
    """Run a notifier over the decision log of a place."""
    arguments = ["notify", "--config", "sentineld.toml", "--state-dir", str(place.state_dir)]
    return forked(arguments, place.environment(), place.base, place.base / "notify.err")


def configure(place, hook, more=""):
    return place.config(f'[notify]\nwebhook = "{hook.url}"\n{QUICK}{more}')


def status(place):
    return place.json("notify", "--status", "--config", place.base / "sentineld.toml")


def test_it_tells_of_what_comes_after_its_first_start_across_failures_and_rotations(
    place, hook, log, wait_for
):
    configure(place, hook)
    log.append([numbered(1)])
    hook.plan = [503, "hang", "lose", (429, {"Retry-After": "0"}), "cut"]
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        for number in range(2, 12):
            log.append([numbered(number, f"agent-{number}")])
            if number % 3 == 0:
                log.rotate()
        wait_for(lambda: hook.numbers() == list(range(2, 12)), "every decision")
        assert notifier.logs("notice_failed")
        check(
            "notify", wait_for(lambda: (s := status(place))["targets"][0]["queued"] == 0 and s, "its status")
        )
        assert notifier.stop() == 0
    assert len(hook.posts) > len(hook.taken), "what was lost on the way came again under the same key"
    assert (
        "s3cret"
        not in notifier.stderr.read_text() + (place.base / "state-notify" / "notifier.json").read_text()
    )


def test_killed_at_any_moment_it_loses_nothing_and_repeats_only_under_the_same_key(
    place, hook, log, wait_for
):
    configure(place, hook)
    chance = random.Random(5)
    place.command("notify", "--once", "--config", "sentineld.toml")
    written = 0
    for _ in range(6):
        with running(place):
            for _ in range(8):
                written += 1
                log.append([numbered(written, f"agent-{written % 5}")])
                hook.plan.append(chance.choice([204, 500, "lose", "cut"]))
                if chance.random() < 0.2:
                    log.rotate()
                time.sleep(chance.uniform(0, 0.03))
    with running(place):
        wait_for(lambda: set(hook.numbers()) == set(range(1, written + 1)), "every decision")
        wait_for(lambda: status(place)["targets"][0]["queued"] == 0, "every message")

    assert hook.numbers() == list(range(1, written + 1)), "none twice under another key"


def test_a_message_stands_before_it_is_first_sent(place, hook, log, wait_for):
    configure(place, hook)
    hook.plan = ["hang", "hang"]
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        log.append([numbered(1)])
        wait_for(lambda: hook.posts, "the first attempt")
    log.append([numbered(2)])
    hook.plan = []
    with running(place):
        wait_for(lambda: hook.numbers() == [1, 2], "both")

    assert [post.numbers for post in hook.taken.values()] == [[1], [2]], "not put together anew"


def test_an_answer_that_never_ends_is_not_waited_for(place, hook, log, wait_for):
    configure(place, hook)
    hook.plan = ["drip"]
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        log.append([numbered(1)])
        wait_for(lambda: hook.numbers() == [1], "another attempt")
        assert "no answer in time" in notifier.logs("notice_failed")[0]["cause"]


def test_it_goes_on_after_a_stop_where_it_was(place, hook, log, wait_for):
    configure(place, hook)
    for number in (1, 2):
        with running(place) as notifier:
            wait_for(lambda count=number: len(notifier.logs("notifier_started")) >= count, "the start")
            log.append([numbered(number * 10)])
            wait_for(lambda count=number: len(hook.taken) == count, "a message")
            assert notifier.stop() == 0
        log.append([numbered(number * 10 + 1)])
    assert hook.numbers() == [10, 11, 20]
    assert status(place)["behind"] == 1


def test_a_target_that_hangs_holds_up_no_other(place, hook, log, wait_for):
    told = place.base / "told"
    command = json.dumps(["sh", "-c", f"cat >> {told}"])
    configure(place, hook, f"command = {command}\n")
    hook.plan = ["hang"] * 20
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        log.append([numbered(1)])
        wait_for(lambda: told.exists() and told.read_text().count("\n") == 1, "the command's message")
        assert json.loads(told.read_text())["decisions"][0]["decision_no"] == 1


def test_a_reload_changes_targets_and_a_broken_one_nothing(place, hook, log, wait_for):
    told = place.base / "told"
    configure(place, hook)
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        place.config('[notify]\nwebhook = "http://elsewhere.example/s3cret"\n')
        notifier.signal(signal.SIGHUP)
        (failed,) = wait_for(lambda: notifier.logs("config_reload_failed"), "the refusal")
        assert "s3cret" not in json.dumps(failed)
        place.config(f"[notify]\ncommand = {json.dumps(['sh', '-c', f'cat >> {told}'])}\n{QUICK}")
        notifier.signal(signal.SIGHUP)
        wait_for(lambda: notifier.logs("config_reloaded"), "the reload")
        log.append([numbered(1)])
        wait_for(lambda: told.exists() and told.read_text(), "the command's message")
    assert hook.posts == []


def test_a_log_that_began_anew_is_told_from_its_beginning(place, hook, log, wait_for):
    configure(place, hook)
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        log.append([numbered(number) for number in range(1, 8)])
        wait_for(lambda: len(hook.numbers()) == 7, "the first log")
        os.unlink(log.path)
        log.append([numbered(number, "another") for number in range(1, 4)])
        wait_for(lambda: len(hook.numbers()) == 10, "the second log")
        assert notifier.logs("decision_log_begun_anew")


def test_a_damaged_memory_is_set_aside_and_all_is_told_again(place, hook, log):
    configure(place, hook)
    log.append([numbered(1)])
    memory = place.base / "state-notify" / "notifier.json"
    assert place.command("notify", "--once", "--config", "sentineld.toml").returncode == 0
    assert hook.posts == []
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600
    memory.write_text('{"cursor": ')
    error_of(place.command("notify", "--status", "--config", "sentineld.toml"), 78)
    assert place.command("notify", "--once", "--config", "sentineld.toml").returncode == 0

    assert hook.numbers() == [1]
    assert (memory.parent / "notifier.json.damaged").exists()
    memory.unlink()
    os.mkfifo(memory)
    with open(log.path, "a") as file:
        file.write(json.dumps(numbered(2).to_dict() | {"from_tier": 1e999}) + "\n")
    assert place.command("notify", "--once", "--config", "sentineld.toml").returncode == 0
    assert len(hook.posts) == 2, "a pipe is not waited for, and a line that is no decision stops nothing"


def test_once_tells_what_is_due_and_says_whether_something_waits(place, hook, log):
    configure(place, hook)
    text = place.command("notify", "--status", "--config", "sentineld.toml").stdout
    assert text.startswith("The notifier has not run yet.")
    text = place.command("notify", "--dry-run", "--config", "sentineld.toml").stdout
    assert text == "This is the first start: decisions from before it are not told.\n"
    document = place.json("notify", "--once", "--config", "sentineld.toml")
    check("notify", document)
    assert document["first_start"] is True
    log.append([numbered(1), numbered(2)])
    rehearsed = place.json("notify", "--dry-run", "--config", "sentineld.toml")
    check("notify", rehearsed)
    assert hook.posts == [], "a rehearsal sends nothing"
    assert [item["decision_no"] for item in rehearsed["messages"][0]["decisions"]] == [1, 2]
    hook.plan = [500]
    document = place.json("notify", "--once", "--config", "sentineld.toml", code=1)
    check("notify", document)
    assert document["targets"][0]["last_error"] == "HTTP 500"
    assert document["messages"][0]["key"] == rehearsed["messages"][0]["key"]

    done = place.command("notify", "--once", "--config", "sentineld.toml")
    while done.returncode == 1:
        done = place.command("notify", "--once", "--config", "sentineld.toml")
    assert hook.numbers() == [1, 2]
    assert [post.headers["Idempotency-Key"] for post in hook.posts] == [document["messages"][0]["key"]] * 2
    text = place.command("notify", "--status", "--config", "sentineld.toml").stdout
    assert "read up to decision 2; 0 more in the decision log" in text
    assert "1 delivered, 0 waiting" in text


def test_a_first_start_says_that_the_past_is_not_told(place, hook, log):
    configure(place, hook)
    log.append([numbered(1), numbered(2)])
    text = place.command("notify", "--once", "--config", "sentineld.toml").stdout

    assert text == "This is the first start: decisions from before it are not told; 2 are there.\n"
    assert hook.posts == []


def test_a_test_message_that_is_never_answered_is_not_waited_for(place, hook, log):
    configure(place, hook)
    hook.plan = ["drip"]
    done = place.command("notify", "--test", "--config", "sentineld.toml")

    assert done.returncode == 1
    assert "no answer in time" in done.stdout


def test_a_test_message_goes_to_every_target_and_changes_nothing(place, hook, log):
    configure(place, hook, 'command = ["false"]\n')
    document = place.json("notify", "--test", "--config", "sentineld.toml", code=1)

    check("notify", document)
    assert [item["ok"] for item in document["tests"]] == [True, False]
    assert hook.posts[0].document["is_test"] is True
    assert not (place.base / "state-notify").exists()


def test_without_a_target_or_with_another_notifier_it_says_what_to_do(place, hook, log, wait_for):
    place.config("")
    error_of(place.command("notify", "--once", "--config", "sentineld.toml"), 78)
    configure(place, hook)
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        error_of(place.command("notify", "--once", "--config", "sentineld.toml"), 75)
        assert status(place)["action"] == "status"


def test_a_decision_log_that_may_not_be_read_is_no_permission(place, hook, log, as_mortal):
    configure(place, hook)
    log.append([numbered(1)])
    (place.state_dir / "decisions.jsonl").chmod(0)

    error_of(place.command("notify", "--once", "--config", "sentineld.toml", **as_mortal), 77)


@pytest.mark.usefixtures("by_activity")
def test_what_the_daemon_decides_is_told(place, hook, wait_for):
    config = configure(place, hook)
    place.start("--config", config)
    with running(place) as notifier:
        wait_for(lambda: notifier.logs("notifier_started"), "the start")
        # An agent can call itself so; other characters are in no id.
        hostile = "@everyone/https://evil.example"
        place.telemetry.append("scraper.jsonl", *place.telemetry.flood(hostile))
        wait_for(lambda: hook.taken, "a message")
        told = next(iter(hook.taken.values())).document
    check("notice", told)
    assert told["decisions"][0]["agent_id"] == hostile
    assert r": agent \x40everyone/https\x3a//evil\x2eexample moved from tier 1 to " in told["subject"]
    assert not re.search(r"@|://|\.e", told["subject"] + told["text"])
