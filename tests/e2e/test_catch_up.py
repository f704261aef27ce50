"""Catching up: what is told of a backlog, to other processes and to who sits at a terminal."""

import json
import os
import re
import sys

import pytest
from schemas import check
from terminal_output import ERASE, run_at_terminal

pytestmark = pytest.mark.usefixtures("by_activity")


def write_backlog(place, events):
    """Write so many events of one honest agent, 180 bytes each."""
    lines = [
        json.dumps(place.telemetry.record("biller", "model_call", 1_790_000_000 + number, note="x" * 100))
        for number in range(1000)
    ]
    block = ("\n".join(lines) + "\n").encode()
    with (place.telemetry.directory / "backlog.jsonl").open("ab") as file:
        for _ in range(events // 1000):
            file.write(block)
    return events // 1000 * len(block)


def command(place, *arguments):
    return [sys.executable, "-m", "sentineld", *arguments, "--state-dir", str(place.state_dir)]


def test_status_says_how_much_is_left_and_how_long_it_takes(place, wait_for):
    textfile = place.base / "metrics.prom"
    config = place.config(f'[metrics]\ntextfile = "{textfile}"\ninterval = "1s"\n')
    size = write_backlog(place, 200_000)
    daemon = place.start("--config", config, wait=False)
    wait_for(lambda: os.path.exists(place.state_file), "a first state")

    def told():
        document = place.json("status", code=None)
        return document["state"]["catching_up"] and document["state"]["catching_up"]["eta_s"] and document

    document = wait_for(told, "an estimate")
    check("status", document)
    check("state", place.state())
    assert document["state"]["status"] == "catching_up"
    progress = document["state"]["catching_up"]
    assert 0 < progress["bytes_left"] < size
    # What is left takes about as long as it is said to.
    assert progress["eta_s"] == pytest.approx(
        progress["bytes_left"] / progress["bytes_per_s"], rel=0.5, abs=2
    )
    text = place.command("status").stdout
    assert re.search(r"^catching up: .* left, .*/s, done in \d+:\d\d$", text, re.MULTILINE), text
    rate = wait_for(
        lambda: (
            textfile.exists()
            and re.search(r"^sentineld_catch_up_bytes_per_second (\S+)", textfile.read_text(), re.MULTILINE)
        ),
        "metrics",
    )
    assert float(rate[1]) >= 0

    assert daemon.stop() == 0


def test_nothing_is_said_of_it_once_all_is_read(place):
    write_backlog(place, 10_000)
    place.start()

    document = place.json("status")
    assert (document["state"]["status"], document["state"]["catching_up"]) == ("ok", None)
    assert "catching_up" not in place.state()


def test_a_bar_stands_below_the_log_at_a_terminal(place):
    write_backlog(place, 200_000)
    env = {**place.environment(), "TERM": "xterm", "NO_COLOR": "1"}
    arguments = command(place, "run", "--once", "--telemetry", str(place.telemetry.directory))

    code, told = run_at_terminal(arguments, env, columns=40)

    assert code == 0, told
    first, *shown = told.split(ERASE)
    assert "started" in first
    bars = [text for text in shown if "%" in text and "\n" not in text]
    assert bars, told
    assert max(map(len, bars)) < 40
    assert told.endswith(ERASE), "nothing of it stays"
    percents = [int(re.search(r"(\d+) %", text)[1]) for text in bars]
    assert percents == sorted(percents)
    assert "\x1b" not in "".join([first, *shown]), "NO_COLOR"


def test_replay_draws_it_too_and_not_with_json(place):
    write_backlog(place, 150_000)
    env = {**place.environment(), "TERM": "xterm"}
    arguments = command(place, "replay", str(place.telemetry.directory))

    assert "%" in run_at_terminal(arguments, env)[1]
    assert run_at_terminal([*arguments, "--json"], env) == (0, "")


def test_without_a_terminal_there_is_no_bar(place):
    write_backlog(place, 100_000)

    assert ERASE not in place.once().stderr
