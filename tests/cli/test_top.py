"""``sentineld top``: on a real pseudo-terminal of several sizes, and without one."""

import os
import re
import signal
import sys
import time

import pytest
from command_line import error_of
from hypothesis import given
from hypothesis import strategies as st
from schemas import check
from terminal import Terminal

from sentineld.cli.screen import SORTS, Choice, Pager, cells, draw, fit, rows_of, wrapped

UP, DOWN, END = "\x1b[A", "\x1b[B", "\x1b[4~"


def top(place, *more, columns=80, rows=24, **env):
    command = [sys.executable, "-m", "sentineld", "top", "--interval", "200ms", *more]
    environment = {**place.environment(), "TERM": "linux", "LC_ALL": "C.UTF-8", **env}
    return Terminal([*command, "--state-dir", str(place.state_dir)], environment, columns, rows)


def agents(terminal):
    """Return the names in the first column, from the line after the heading."""
    head = next(n for n, line in enumerate(terminal.lines) if line.startswith("AGENT"))
    return [line.split()[0] for line in terminal.lines[head + 1 : -1] if line]


@pytest.mark.usefixtures("by_activity")
def test_the_table_lives_on_a_terminal(place):
    place.telemetry.fill()
    place.once()
    with top(place) as terminal:
        terminal.wait_text(
            "sentineld top", "4 agents: 1 anomalous, 0 suspicious, 3 normal; by tier", "q quit"
        )
        assert agents(terminal)[0] == "scraper"
        assert max(map(len, terminal.lines)) <= 80
        heading = next(line for line in terminal.lines if line.startswith("AGENT"))
        assert heading.split() == [
            "AGENT",
            "TIER",
            "SCORE",
            "THRESHOLD",
            "EV/MIN",
            "LAST",
            "MOST",
            "SURPRISING",
        ]

        # Sort, turn round, filter.
        terminal.press("a")
        terminal.wait(lambda _: agents(terminal) == ["biller", "mailer", "researcher", "scraper"])
        terminal.press("r")
        terminal.wait(lambda _: agents(terminal) == ["scraper", "researcher", "mailer", "biller"])
        terminal.press("/RE")
        terminal.wait(lambda _: agents(terminal) == ["researcher"])
        terminal.press("\x7f\x7fe\n")
        terminal.wait_text("by agent, reversed; 4 contain 'e'")
        terminal.press("\x1b")
        terminal.wait(lambda _: "contain" not in terminal.text)

        # Why of the third agent, and back.
        terminal.press("rt" + DOWN + END + UP + UP + UP + "\n")
        terminal.wait_text("why scraper", "In the window before it", "q back")
        terminal.press(END)
        terminal.wait_text("What lifts it")
        terminal.press("?")
        terminal.wait_text("keys of this view", "also escape, enter, left", "10 bits")
        terminal.press("q")
        terminal.wait_text("why scraper", "What lifts it")
        terminal.press("q")
        terminal.wait_text("q quit")
        terminal.press("?")
        terminal.wait_text("EV/MIN is of")
        terminal.press("q")
        terminal.wait_text("q quit")

        # News come by themselves.
        place.telemetry.append("new.jsonl", *place.telemetry.normal("newcomer"))
        place.once()
        terminal.wait_text("newcomer", "5 agents")

        terminal.resize(40, 12)
        terminal.wait(lambda _: terminal.lines[-1] == "q quit  enter why  / filter  ? help")
        assert agents(terminal)[0] == "scraper"
        assert max(map(len, terminal.lines)) <= 40
        assert terminal.lines[0].endswith(" ago")
        assert terminal.lines[1] == "5 agents: 1 at 3, 0 at 2; by tier"
        terminal.press("\n")
        terminal.wait(
            lambda _: terminal.lines[-1].startswith("q back  arrows scroll  ") and "why" in terminal.text
        )
        terminal.press("q")
        terminal.resize(100, 30)
        terminal.wait(lambda _: "MOST SURPRISING" in terminal.text and terminal.lines[29])
        terminal.press("q")
        assert terminal.wait_end() == 0
        assert terminal.is_as_before
        assert b"\x1b[?25h" in terminal.raw[-40:], "the cursor is shown again"
        assert b"\x1b[31m" in terminal.raw, "red for tier 3"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_it_and_gives_the_terminal_back(place, number):
    place.telemetry.fill()
    place.once()
    with top(place, TERM="xterm", NO_COLOR="1") as terminal:
        terminal.wait_text("q quit")
        assert not terminal.is_as_before
        terminal.process.send_signal(number)
        assert terminal.wait_end() == 0
        assert terminal.is_as_before
        # The screen from before is shown again, with its cursor, and nothing was coloured.
        assert b"\x1b[?1049l" in terminal.raw
        assert re.search(rb"\x1b\[[\d;]*[34]\dm", terminal.raw) is None
        assert b"Traceback" not in terminal.raw


def test_it_stays_when_the_daemon_stops_and_when_the_database_goes(place):
    place.telemetry.fill()
    daemon = place.start()
    with top(place) as terminal:
        terminal.wait_text("ok, enforce, published")
        assert daemon.stop() == 0
        terminal.wait_text("shutdown, enforce, published")
        os.rename(place.state_dir, place.base / "elsewhere")
        terminal.wait_text("there is no database")
        assert "scraper" in terminal.text
        os.rename(place.base / "elsewhere", place.state_dir)
        terminal.wait(lambda _: "there is no database" not in terminal.text)
        terminal.press("\x03")
        assert terminal.wait_end() == 0


@pytest.mark.usefixtures("by_activity")
def test_without_a_terminal_it_prints_one_table(place):
    place.telemetry.fill()
    place.once()

    done = place.command("top")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    lines = done.stdout.splitlines()
    assert lines[1] == "4 agents: 1 anomalous, 0 suspicious, 3 normal; by tier"
    assert lines[4].split()[:2] == ["scraper", "3"]
    with top(place, TERM="dumb") as terminal:
        assert terminal.wait_end() == 0
        assert "scraper" in terminal.text


def test_its_document_is_as_its_schema_says_in_every_mode(place):
    place.telemetry.fill()
    place.once()
    check("top", place.json("top"))
    place.detection_mode = "activity"
    place.once("--mode", "observe")
    document = place.json("top")
    check("top", document)
    first = document["agents"][0]
    assert (first["agent"], first["tier"], first["would"], first["held_by"]) == ("scraper", 1, 3, "observe")
    assert first["surprise"]["detector"] == "activity"
    assert first["events_per_minute"] == 60


def test_what_is_most_surprising_comes_from_the_open_session(place):
    record, now = place.telemetry.record, time.time()
    place.telemetry.append(
        "mailer.jsonl",
        record("mailer", "credential_access", now - 2, path="/home/me/.aws/credentials"),
        record("mailer", "network_request", now - 1, url="https://drop.example.net/u"),
    )
    place.once("--judge-history")

    (agent,) = place.json("top")["agents"]
    surprise = agent["surprise"]
    assert (agent["tier"], agent["would"]) == (3, 3)
    assert (surprise["detector"], surprise["feature"]) == ("rule", "credential_sent")
    assert "rule credential_sent drop." in place.command("top").stdout


def test_errors_are_told_as_everywhere(place):
    assert "there is no database" in error_of(place.command("top"), 3)
    assert "--interval" in error_of(place.command("top", "--interval", "1ms"), 2)
    assert "--interval" in error_of(place.command("top", "--interval", "soon"), 2)


def document(names):
    one = {
        "tier": 1,
        "would": 2,
        "held_by": "observe",
        "pinned": False,
        "score": 0.5,
        "events": 1,
        "events_per_minute": 12.0,
        "last_activity": "2026-11-23T00:00:00Z",
        "surprise": {
            "detector": "sink",
            "feature": "out",
            "value": "\u202e\u4e2d\u6587",
            "usual": "",
            "bits": 9.0,
        },
    }
    state = {"fresh": False, "reason": "it is stale", "status": None, "mode": None, "generated_at": None}
    rows = [{**one, "agent": name} for name in names]
    return {"generated_at": "2026-11-23T00:01:00Z", "state": state, "threshold": 0.6, "agents": rows}


@given(
    st.lists(st.text(max_size=40), max_size=12, unique=True),
    st.integers(1, 140),
    st.integers(1, 30),
    st.sampled_from(sorted(SORTS)),
    st.booleans(),
    st.integers(0, 11),
)
def test_every_size_of_screen_is_filled_and_never_left(names, width, height, sort, is_reversed, place_of):
    choice = Choice(sort=sort, is_reversed=is_reversed, top=7)
    choice.agent = names[place_of] if place_of < len(names) else ""
    told = document(names)

    lines = draw(told, choice, width, height)

    assert len(lines) == height
    texts = ["".join(text for text, _ in line) for line in lines]
    assert all(cells(text) <= max(width, 10) for text in texts)
    assert all(text.isprintable() for text in texts)
    # The chosen agent is in sight.
    assert any(style == "selected" for line in lines for _, style in line) == bool(rows_of(told, choice))


@given(st.text(), st.integers(1, 60))
def test_a_text_is_cut_and_filled_to_its_cells(text, width):
    assert cells(fit(text, width)) == width


@given(st.text(st.characters(exclude_categories=["C", "M"])), st.integers(2, 60))
def test_a_wrapped_line_loses_nothing(line, width):
    pieces = wrapped(line, width)

    assert all(cells(piece) <= width for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(line.split())


def test_a_pager_shows_all_of_a_text_however_small_the_screen():
    pager = Pager("why a", [f"line {number}" for number in range(30)])
    seen = set()
    for first in range(40):
        pager.top = first
        seen |= {text for line in pager.draw(12, 5) for text, _ in line}
    assert {f"line {number}" for number in range(30)} <= seen
