"""Recognition, and the way of mapped records through intake and pipeline: none is lost, none counts twice."""

import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentineld import intake as intake_module
from sentineld.mapping_files import parse_mappings
from sentineld.recognition import Formats

#: A format with everything that needs care: a header, calls and results, several events a record.
BOT = b"""
[[source]]
name = "bot"
glob = ["**/bots/{bot}/*.jsonl"]
match = {bot_version = {present = true}}
kind = "kind"
[source.defaults]
agent = "{path.bot}"
session = "kept.run"
time = "at"
[[source.event]]
when = {kind = "start"}
remember.run = {value = "run"}
emit = false
[[source.event]]
when = {kind = "calls"}
each = {call = "calls"}
id = "call.id"
tool = "call.name"
arguments = "call.args"
time = ["call.at", "at"]
remember.tool = {key = "call.id", value = "call.name"}
[[source.event]]
when = {kind = "failed"}
type = "=error"
tool = "kept.tool[id]"
id = "result:{id}"
outcome = "=error"
"""
START = 1_763_850_000


@pytest.fixture
def formats() -> Formats:
    return Formats(
        parse_mappings(
            BOT, "bot.toml", lambda tool, _: SimpleNamespace(event_class=tool, entities=(), features=())
        )
    )


@pytest.fixture
def directory(telemetry) -> Path:
    return telemetry.directory


@pytest.fixture
def bots(line, formats):
    one = line()
    one.formats = one.intake.formats = formats
    return one


def write(path: Path, records: list[Any], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        file.write("".join(json.dumps(item) + "\n" for item in records))
    return path


def start(run: str = "r1", at: float = START) -> dict[str, Any]:
    return {"kind": "start", "run": run, "at": at}


def calls(*names: str, at: float = START, **more: Any) -> dict[str, Any]:
    return {"kind": "calls", "at": at, "calls": [{"id": f"c-{name}", "name": name} for name in names], **more}


# Which format a file is in.


def test_a_path_is_recognised_before_what_stands_in_the_file(formats):
    assert formats.recognise("/x/bots/a/1.jsonl", [{"type": "t", "source": "s"}]) == "wordpress"
    assert formats.recognise("/x/bots/a/1.jsonl", [{"type": "t", "source": "s"}, {"bot_version": 1}]) == "bot"
    assert formats.recognise("/x/1.jsonl", [{"bot_version": 1}]) == "bot"
    assert formats.recognise("/x/1.jsonl", [{"bot_version": 1, "type": "t", "source": "s"}]) == "wordpress"
    assert formats.recognise("/x/1.jsonl", [{"anything": 1}]) == ""
    assert formats.recognise("/x/bots/a/1.jsonl", []) == ""


def test_a_forced_format_is_not_questioned(formats):
    assert formats.force("bot").recognise("/x/1.jsonl", [{"type": "t", "source": "s"}]) == "bot"
    with pytest.raises(KeyError):
        Formats((), "bot")


def test_what_nothing_recognises_is_rejected_and_looked_at_again(bots, directory):
    line = bots
    path = write(directory / "x.jsonl", [{"anything": 1}])
    line.poll()
    assert [item.reason for item in line.rejects] == ["missing_type"]
    write(path, [{"bot_version": 1, **calls("one")}], "a")
    line.poll()
    assert line.counted == {"one": 1}
    assert line.source(path).format == "bot"
    write(path, [calls("two")], "a")
    line.restart()
    line.poll()
    assert line.counted == {"one": 1, "two": 1}


# Through the line.


def test_records_that_are_several_events_or_none_keep_the_accounts_of_lines(bots, directory):
    line = bots
    path = write(
        directory / "bots/b1/x.jsonl",
        [
            {"bot_version": 1, **start()},
            calls("one", "two"),
            {"kind": "new"},
            calls("one"),
            calls("one", "three"),
        ],
    )
    line.poll()
    source = line.source(path)
    assert line.counted == {"one": 1, "two": 1, "three": 1}
    assert (source.lines, source.accepted, source.ignored, source.rejected, source.duplicates) == (
        5,
        2,
        2,
        0,
        1,
    )
    assert line.store.unknown_records() == {"bot": {"new": 1}}
    assert line.store.meta().tool_calls == 3
    assert [row.agent_id for row in line.store.agents()] == ["b1"]


def test_the_memory_of_a_file_outlives_a_restart(bots, directory):
    line = bots
    path = write(directory / "bots/b1/x.jsonl", [{"bot_version": 1, **start("r7")}, calls("one")])
    line.poll()
    line.restart()
    write(path, [{"kind": "failed", "id": "c-one", "at": START + 1}], "a")
    line.poll(scan=False)
    line.tail.scan()
    batch = line.intake.live()
    (rows,) = [part.rows for part in batch.parts]
    assert rows.sessions == {0: "r7"}
    assert rows.facts[0].tool == "one"
    assert rows.facts[0].outcome == "error"
    assert rows.tool_calls == []


def test_a_batch_that_is_lost_leaves_no_memory(bots, directory):
    line = bots
    path = write(directory / "bots/b1/x.jsonl", [{"bot_version": 1, **start("r1")}])
    line.poll()
    write(path, [start("r2"), calls("one")], "a")
    line.tail.scan()
    assert line.intake.live()
    line.restart()
    assert b"r1" in line.source(path).kept
    line.tail.scan()
    batch = line.intake.live()
    line.commit(batch)
    assert batch.parts[0].rows.sessions == {0: "r2"}
    assert b"r2" in line.source(path).kept


def test_the_same_id_with_other_content_counts_and_is_evidence(bots, directory):
    line = bots
    path = directory / "bots/b1/x.jsonl"
    write(path, [{"bot_version": 1, **calls("one")}])
    write(directory / "bots/b2/y.jsonl", [{"kind": "calls", "calls": [{"id": "c-one", "name": "other"}]}])
    line.poll()
    assert line.counted == {"one": 1, "other": 1}
    assert [(item.kind, item.count) for item in line.store.incidents()] == [("id_conflict", 1)]


def test_a_record_without_a_usable_time_counts_at_the_files_time(bots, directory):
    line = bots
    path = write(directory / "bots/b1/x.jsonl", [{"bot_version": 1, **calls("one", at="soon")}])
    line.poll()
    assert line.counted == {"one": 1}
    assert line.source(path).timeless == 1


@pytest.fixture
def small_reads(monkeypatch) -> None:
    monkeypatch.setattr(intake_module, "CHUNK_BYTES", 1024)
    monkeypatch.setattr(intake_module, "HISTORY_ROWS", 12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_history_of_records_with_several_events_loses_none(
    make_line, formats, small_reads, tmp_path_factory, seed
):
    rng = random.Random(seed)
    base = tmp_path_factory.mktemp("history")
    directory = base / "t"
    expected: Counter[str] = Counter()
    serial = 0
    for number in range(4):
        records: list[dict[str, Any]] = [{"bot_version": 1, **start()}]
        for _ in range(rng.randint(1, 30)):
            # One record holds events of very different times.
            items = []
            for _ in range(rng.randint(0, 4)):
                serial += 1
                expected[f"e{serial}"] = 1
                items.append({"id": f"c{serial}", "name": f"e{serial}", "at": START + rng.randint(0, 500)})
            records.append({"kind": "calls", "at": START, "calls": items})
        write(directory / f"bots/b{number}/x.jsonl", records)
    line = make_line(directory, base / "line.db")
    line.formats = line.intake.formats = formats
    try:
        line.tail.scan()
        for batch in line.intake.history():
            line.commit(batch)
            if rng.random() < 0.2:
                # Killed between two batches: what is left is read on, or merged anew.
                break
        line.restart()
        line.tail.scan()
        for batch in line.intake.history():
            line.commit(batch)
        assert line.counted == expected
        line.check_accounts()
    finally:
        line.close()


def test_records_of_unknown_kinds_are_told(bots, directory):
    write(directory / "bots/b1/x.jsonl", [{"bot_version": 1, **start()}, {"kind": "a"}, {"kind": "b"}, {}])
    bots.poll()
    told = [item for item in bots.troubles if item.kind == "unknown_record"]
    assert [item.detail for item in told] == ["format bot does not know a, b, (unnamed)"]
