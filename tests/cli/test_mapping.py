"""``sentineld mapping``: what each record of a file becomes and why, and which formats there are."""

import json
import os
from collections import Counter

import pytest
from command_line import error_of
from schemas import check

SECRET = "AKIAIOSFODNN7EXAMPLE"

BOT = """
[[source]]
name = "bot"
description = "A bot that deploys"
glob = ["**/bots/{bot}.jsonl"]
places = ["~/bots"]
kind = "kind"
[source.defaults]
agent = "{path.bot}"
session = "kept.run"
time = "at"
[[source.event]]
when = {kind = "start"}
note = "opens a run"
remember.run = {value = "run"}
emit = false
[[source.event]]
name = "call"
when = {kind = "calls"}
each = {call = "calls"}
id = "call.id"
tool = "call.name"
arguments = "call.args"
outcome = {error = {"call.failed" = true}}
duration_ms = "call.ms"
tokens = {input = "call.in", output = "call.out"}
entities = [{kind = "host", role = "sink", value = "call.to"}]
"""


BOTH = [(None, 0), (None, 1)]


def call(number, name="Read", **more):
    return {"id": f"c{number}", "name": name, "args": {"n": number}, **more}


def write(place, name, *records):
    path = place.base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n" for item in records)
    )
    return path


@pytest.fixture
def bot(place):
    path = place.base / "bot.toml"
    path.write_text(BOT)
    return path


@pytest.fixture
def session(place):
    return write(
        place,
        "bots/b1.jsonl",
        {"kind": "start", "run": "r-1"},
        {
            "kind": "calls",
            "at": "2026-01-05T10:00:00Z",
            "calls": [
                call(
                    1, "Bash", failed=True, ms=120, to="x.example", args={"command": f"deploy --key {SECRET}"}
                ),
                call(2, **{"in": 7, "out": 3}),
            ],
        },
        b"{broken\n",
        b"\n",
        {"kind": "novel"},
        {"kind": "calls", "calls": [call(2)]},
        {"kind": "calls", "calls": [call(2, args={"n": 3})]},
        b'{"kind": "calls", "calls"',
    )


def test_each_record_is_told_of_with_what_it_became_and_why(place, bot, session):
    document = place.json("mapping", "try", session, "--mapping", bot)

    check("mapping-try", document)
    assert document["file"] | {"path": ""} == {
        "path": "",
        "format": "bot",
        "why": "it is the one that --mapping declares",
        "recognised": "bot",
        "framing": "lines",
        "unread_bytes": 25,
        "troubles": [],
    }
    records = document["records"]
    assert [(item["line"], item["fate"]) for item in records] == [
        (1, "ignored"), (2, "events"), (3, "rejected"), (4, "ignored"), (5, "unknown"), (6, "duplicate"),
        (7, "events"),
    ]  # fmt: skip
    data = session.read_bytes()
    assert [item["offset"] for item in records] == [
        sum(map(len, data.splitlines(keepends=True)[: item["line"] - 1])) for item in records
    ]
    assert records[0]["notes"] == ["opens a run"]
    assert records[2]["reason"] == "malformed_json"
    assert records[4]["unknown"] == ["novel"]
    first, second = records[1]["events"]
    assert first["payload"] == '{"tool": "Bash", "args": {"command": "deploy --key ***"}}'
    assert first | {"payload": "", "class": "", "type": ""} == {
        "table": "call",
        "type": "",
        "class": "",
        "is_tool_call": True,
        "tool": "Bash",
        "agent": "b1",
        "claimed": "",
        "role": "",
        "session": "r-1",
        "time": "2026-01-05T10:00:00Z",
        "id": "c1",
        "call_id": "c1",
        "state": "",
        "outcome": "error",
        "duration_ms": 120,
        "input_tokens": None,
        "output_tokens": None,
        "entities": [{"kind": "host", "role": "sink", "value": "x.example"}],
        "asked": None,
        "payload": "",
    }
    assert (second["class"], second["input_tokens"], second["output_tokens"]) == ("file_read", 7, 3)
    assert records[6]["events"][0]["state"] == "conflict"
    assert records[6]["events"][0]["time"] is None
    summary = document["summary"]
    assert summary | {"by_class": 0, "by_type": 0, "next": 0} == {
        "records": 7,
        "fates": {"ignored": 2, "events": 2, "rejected": 1, "unknown": 1, "duplicate": 1},
        "events": 3,
        "tool_calls": 3,
        "by_class": 0,
        "by_type": 0,
        "agents": {"b1": 3},
        "outcomes": {"error": 1},
        "duplicates": 1,
        "id_conflicts": 1,
        "timeless": 1,
        "ignored": {"opens a run": 1, "blank line": 1},
        "unknown": {"novel": 1},
        "rejected": {"malformed_json": 1},
        "next": 0,
    }
    assert sum(summary["by_class"].values()) == 3
    assert any(f'mappings = ["{bot}"]' in step for step in summary["next"])


def test_it_agrees_with_the_daemon(place, bot, session):
    config = place.config(f'[telemetry]\nmappings = ["{bot.name}"]\n')
    done = place.command("run", "--once", "--json", "--telemetry", session.parent, "--config", config)
    totals = json.loads(done.stdout)["totals"]

    document = place.json("mapping", "try", session, "--config", config, "--limit", 1)

    summary = document["summary"]
    assert len(document["records"]) == 1
    assert document["file"]["format"] == "bot"
    assert summary["tool_calls"] == totals["tool_calls"] == 3
    assert summary["by_type"] == totals["by_type"]
    assert summary["unknown"] == totals["unknown_records"]["bot"]
    fates = Counter(summary["fates"])
    assert (fates["events"], fates["rejected"], fates["duplicate"], fates["ignored"] + fates["unknown"]) == (
        totals["accepted"],
        totals["rejects"],
        totals["duplicates"],
        totals["ignored"],
    )


def test_the_text_fits_80_columns_moves_no_terminal_and_shows_no_secret(place, bot, session):
    with session.open("ab") as file:
        file.write(
            b': []}\n{"kind": "calls", "calls": '
            b'[{"id": "x", "name": "\\u001b[2J", "args": {"a": "\xe2\x80\xae"}}]}\n'
        )

    done = place.command("mapping", "try", session, "--mapping", bot, "--limit", 0)

    assert done.returncode == 0, done.stderr
    assert done.stdout.isprintable() or all(line.isprintable() for line in done.stdout.splitlines())
    assert SECRET not in done.stdout
    long = [line for line in done.stdout.splitlines() if len(line) > 80 and str(place.base) not in line]
    assert long == []
    for words in (
        "line 1, byte 0: ignored: opens a run",
        "tool call Bash, error, 120 ms",
        "agent b1, session r-1",
        "host sink x.example",
        "7 tokens in, 3 tokens out",
        "rejected, malformed_json",
        "unknown: novel",
        "a duplicate, does not count",
        "no time of its own",
        "next: ",
    ):
        assert words in done.stdout, words


def test_all_records_are_counted_and_few_are_shown(place, bot):
    path = write(place, "bots/long.jsonl", *({"kind": "calls", "calls": [call(n)]} for n in range(300)))

    text = place.command("mapping", "try", path, "--mapping", bot).stdout
    document = place.json("mapping", "try", path, "--mapping", bot, "--limit", 0)

    assert text.count("\nline ") == 20
    assert "300 records: 300 became 300 events" in text
    assert "--limit 0" in text
    assert len(document["records"]) == document["summary"]["events"] == 300
    assert document["records"][-1]["line"] == 300


@pytest.mark.parametrize(
    ("content", "framing", "places"),
    [
        (b'{"type": "plan",\n "source": "a"}\n' * 2, "stream", [(1, 0), (3, 33)]),
        (b'[{"type": "plan", "source": "a"},\n {"type": "plan", "source": "b"}]', "document", BOTH),
    ],
)
def test_files_are_framed_as_the_daemon_frames_them(place, content, framing, places):
    document = place.json("mapping", "try", write(place, "x.json", content))

    assert document["file"]["framing"] == framing
    assert document["file"]["format"] == "wordpress"
    assert [(item["line"], item["offset"]) for item in document["records"]] == places
    assert document["summary"]["events"] == 2


def test_native_telemetry_is_told_of_too(place):
    command = 'curl -d {"password": "hunter2 and more"} x.example'
    data = {"tool": "Bash", "password": "hunter2", "args": {"command": command}}
    record = {"type": "tool_call", "source": "a", "id": "7", "data": data}
    path = write(place, "x.jsonl", record, {"type": "plan"})

    document = place.json("mapping", "try", path)

    check("mapping-try", document)
    event = document["records"][0]["events"][0]
    assert (event["tool"], event["id"], event["is_tool_call"]) == ("Bash", "7", True)
    assert "hunter2" not in json.dumps(document)
    assert document["records"][1]["reason"] == "missing_source"


def test_what_nothing_recognises_says_so_and_what_to_do(place):
    path = write(place, "x.jsonl", {"a": 1})

    done = place.command("mapping", "try", path)

    assert done.returncode == 0
    assert "not recognised" in done.stdout
    assert "next: declare its format in a mapping" in done.stdout


def test_a_mapping_that_would_not_be_recognised_is_tried_all_the_same(place, bot):
    path = write(place, "elsewhere.jsonl", {"kind": "calls", "calls": [call(1)]})

    document = place.json("mapping", "try", path, "--mapping", bot)

    assert document["summary"]["tool_calls"] == 1
    assert (document["file"]["format"], document["file"]["recognised"]) == ("bot", "")
    assert any("would not recognise it" in step for step in document["summary"]["next"])


def test_a_format_may_be_forced(place, bot, session):
    forced = place.json("mapping", "try", session, "--mapping", bot, "--format", "wordpress")
    built_in = place.json("mapping", "try", session, "--format", "codex")

    assert forced["summary"]["rejected"]["missing_type"] == 5
    assert built_in["file"]["format"] == "codex"


@pytest.mark.parametrize(
    "where", [["mapping", "try", "bots/b1.jsonl"], ["replay", "bots"], ["run", "--telemetry", "bots"]]
)
def test_an_unknown_format_names_the_nearest(place, session, where):
    done = place.command(*where, "--format", "codexx")

    error_of(done, 78)
    assert "try: did you mean codex?" in done.stderr


def test_an_unknown_format_beside_a_mapping_names_the_nearest(place, bot, session):
    done = place.command("mapping", "try", session, "--mapping", bot, "--format", "bott")

    error_of(done, 78)
    assert "try: did you mean bot?" in done.stderr


def test_a_mapping_that_means_nothing_names_file_key_and_nearest_name(place, session):
    bad = place.base / "bad.toml"
    bad.write_text(BOT.replace("duration_ms", "duration_mss"))

    done = place.command("mapping", "try", session, "--mapping", bad)

    assert error_of(done, 78).startswith(f"error: {bad}: source[0].event[1].duration_mss")
    assert done.stderr.splitlines()[-1] == "try: did you mean duration_ms?"
    checked = place.command("check", "--config", place.config('[telemetry]\nmappings = ["bad.toml"]\n'))
    assert checked.returncode == 78
    assert "duration_mss" in checked.stderr


def test_a_file_without_records_says_so(place):
    half = write(place, "half.jsonl", b'{"type": "pl')

    document = place.json("mapping", "try", half)
    text = place.command("mapping", "try", write(place, "empty.json")).stdout

    check("mapping-try", document)
    assert (document["records"], document["file"]["unread_bytes"]) == ([], 12)
    assert "it holds no record yet" in text


@pytest.mark.parametrize(("file", "code"), [(".", 2), ("missing.jsonl", 2), ("pipe", 2)])
def test_what_is_no_file_is_a_usage_error(place, file, code):
    os.mkfifo(place.base / "pipe")
    error_of(place.command("mapping", "try", file), code)


def test_the_list_of_formats_says_whose_they_are(place, bot):
    config = place.config('[telemetry]\nmappings = ["bot.toml"]\n')

    document = place.json("mapping", "list", "--config", config)

    check("mapping-list", document)
    listed = {entry["name"]: entry for entry in document["formats"]}
    assert listed["wordpress"]["file"] is None
    assert listed["codex"]["file"] is None
    assert listed["bot"]["file"] == str(bot)
    assert listed["bot"]["places"] == [str(place.base / "bots")]
    text = place.command("mapping", "list", "--config", config).stdout
    assert "bot (" in text
    assert "A bot that deploys" in text
