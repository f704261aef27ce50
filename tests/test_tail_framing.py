"""Tail: files whose names do not tell how they are framed: lines, streams, and documents that become one."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentineld.config import Config
from sentineld.framing import DOCUMENT, LINES, STREAM
from sentineld.replay import replay_as_observed
from sentineld.tree import base_name, kind_of


def element(name: str, **more: Any) -> dict[str, Any]:
    return {"type": name, "source": "agent", "timestamp": 1_763_858_400, "data": more}


def compact(*names: str) -> bytes:
    return b"".join(json.dumps(element(name)).encode() + b"\n" for name in names)


def pretty(*names: str) -> bytes:
    return b"".join(json.dumps(element(name), indent=2).encode() + b"\n" for name in names)


def append(path: Path, *data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(data))
    return path


def kinds(one: Any) -> list[str]:
    return [item.kind for item in one.incidents]


def whole(one: Any, path: Path) -> dict[str, int]:
    """Return the accounts of everything that was read under a path, whichever source read it."""
    sources = [item for item in one.store.sources() if item.path == str(path)]
    names = ("lines", "accepted", "ignored", "rejected", "duplicates")
    return {name: sum(getattr(source, name) for source in sources) for name in names}


@pytest.fixture
def j(telemetry) -> Path:
    return telemetry.directory / "a.json"


@pytest.fixture
def log(telemetry) -> Path:
    return telemetry.directory / "telemetry.log"


def streams(path: str) -> str | None:
    return STREAM if path.endswith("/telemetry.log") else None


# What a .json file is.


@pytest.mark.parametrize("write", [compact, pretty])
def test_one_object_is_a_document_and_goes_on_behind_itself_when_more_is_appended(line, j, write):
    one = line()
    append(j, write("one"))
    one.poll()
    assert one.source(j).kind == DOCUMENT

    append(j, write("two"), write("three")[:20])
    one.poll()
    append(j, write("three")[20:])
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert one.source(j).kind == (LINES if write is compact else STREAM)
    assert one.source(j).pos == j.stat().st_size
    assert whole(one, j)["lines"] == whole(one, j)["accepted"] == 3
    assert one.order == [["one"], [], ["two"], ["three"]]
    assert not one.incidents
    one.check_accounts()


@pytest.mark.parametrize("write", [compact, pretty])
@pytest.mark.parametrize("is_down", [False, True])
def test_a_restart_at_any_moment_changes_nothing_of_that(line, j, write, is_down):
    one = line()
    append(j, write("one"))
    one.poll()
    if is_down:
        one.close()
    append(j, write("two"))
    if is_down:
        one.open()
    one.tail.scan()
    # Nothing of this batch is committed.
    assert one.intake.live()
    one.restart()
    one.poll()
    one.restart()
    append(j, write("three"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert not one.incidents
    one.check_accounts()


@pytest.mark.parametrize("write", [compact, pretty])
def test_a_restart_between_the_first_object_and_the_second_repeats_nothing(line, j, write):
    one = line()
    append(j, write("one"))
    one.poll()
    append(j, write("two")[:20])
    one.poll()
    assert one.source(j).kind == (LINES if write is compact else STREAM)
    one.restart()
    append(j, write("two")[20:])
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert not one.incidents


@pytest.mark.parametrize("write", [compact, pretty])
def test_history_in_such_a_file_is_history(line, j, write):
    append(j, write(*(f"e{n}" for n in range(500))))
    one = line()
    one.tail.scan()
    for batch in one.intake.history():
        assert all(part.is_history for part in batch.parts)
        one.commit(batch)

    assert one.counted == {f"e{n}": 1 for n in range(500)}
    one.check_accounts()


def test_lines_that_are_rotated_by_renaming_are_read_to_their_end(line, j):
    one = line()
    append(j, compact("one", "two"))
    one.poll()
    append(j, compact("three"))
    j.rename(j.with_name("a-2026-11-23T08-39-35.123.json"))
    append(j, compact("four"))
    one.poll()
    append(j, compact("five"))
    j.rename(j.with_name("a-2026-11-23T08-40-35.001.json"))
    append(j, compact("six", "seven"))
    one.poll()

    assert one.counted == dict.fromkeys(("one", "two", "three", "four", "five", "six", "seven"), 1)
    assert not one.incidents
    one.check_accounts()


def test_a_document_that_grew_and_was_rotated_goes_on_under_its_new_name(line, j):
    one = line()
    append(j, compact("one"))
    one.poll()
    append(j, compact("two"))
    j.rename(j.with_name("a.json.1"))
    append(j, compact("three", "four"))
    for _ in range(3):
        one.poll()

    assert one.counted == dict.fromkeys(("one", "two", "three", "four"), 1)
    assert not one.incidents
    assert not one.rejects


def test_lines_that_are_copied_and_cut_count_once(line, j):
    one = line()
    append(j, compact("one", "two"))
    one.poll()
    for name in ("three", "four", "five"):
        shutil.copyfile(j, j.with_name(f"a.json.{name}".replace(name, str(len(one.counted)))))
        os.truncate(j, 0)
        append(j, compact(name))
        one.poll()
        one.poll(after_s=3)

    assert one.counted == dict.fromkeys(("one", "two", "three", "four", "five"), 1)
    assert not one.incidents
    one.check_accounts()


def test_a_document_that_is_written_anew_as_lines_is_read_from_its_start(line, j):
    one = line()
    append(j, compact("one"))
    one.poll()
    j.write_bytes(compact("two", "three"))
    for _ in range(4):
        one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert not one.incidents


def test_whether_it_is_one_is_known_before_it_is_read_however_late_that_is(line, j):
    one = line()
    append(j, compact("one"))
    one.poll()
    j.write_bytes(compact("two", "three"))
    one.poll()
    # Nobody looks at the path; what changed may be settled by now.
    one.poll(after_s=3, scan=False)
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert not one.rejects


def test_an_array_that_is_replaced_by_lines_is_rewritten(line, j):
    one = line()
    j.write_text(json.dumps([element("one"), element("two")]))
    one.poll()
    j.write_bytes(compact("three", "four"))
    for _ in range(4):
        one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1, "four": 1}
    assert kinds(one) == ["rewritten"]


def test_a_file_that_gets_the_inode_of_a_replaced_document_is_another_one(line, j):
    one = line()
    j.write_text(json.dumps([element("one"), element("two")]))
    one.poll()
    former = j.stat().st_ino
    new = j.with_name(".new")
    new.write_text(json.dumps([element("one"), element("two"), element("three")]))
    new.rename(j)
    lines, number = compact("four"), 0
    while append(path := j.with_name(f"{number}.jsonl"), lines).stat().st_ino != former:
        number += 1
        if number > 200:
            pytest.skip("this file system does not use inode numbers again")
        path.rename(j.with_name(f"{number}.kept"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1, "four": 1}
    assert not one.incidents


def test_an_object_that_is_overwritten_in_place_is_never_taken_for_two(line, j):
    one = line()
    j.write_bytes(pretty("a_long_name_that_leaves_something_behind"))
    one.poll()
    with j.open("r+b") as file:
        file.write(compact("two"))
        one_moment = file.tell()
        file.flush()
        one.poll()
        os.truncate(file.fileno(), one_moment)
    one.poll()

    assert one.counted == {"a_long_name_that_leaves_something_behind": 1, "two": 1}
    assert one.source(j).kind == DOCUMENT
    assert not one.incidents
    assert not one.rejects


@pytest.mark.parametrize("rewrite", ["in place", "by renaming"])
def test_an_object_that_is_rewritten_as_a_whole_is_read_each_time_and_is_no_evidence(line, j, rewrite):
    one = line()
    for number in range(6):
        target = j if rewrite == "in place" else j.with_suffix(".tmp")
        target.write_text(json.dumps(element(f"e{number}", messages=list(range(number))), indent=number % 3))
        target.replace(j)
        one.poll()
        if number == 3:
            one.restart()

    assert one.counted == {f"e{number}": 1 for number in range(6)}
    assert not one.incidents
    assert one.source(j).lines == 6
    one.check_accounts()


def test_a_malformed_first_line_does_not_hide_the_lines_behind_it(line, j):
    one = line()
    append(j, b"starting up\n", compact("one", "two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert [item.reason for item in one.rejects] == ["malformed_json"]


def test_a_document_that_cannot_be_opened_is_told_and_goes_on_once_it_can_be(tmp_path, as_mortal):
    program = """
import json, os, sys
from sentineld.tail import Tail
path = sys.argv[1] + "/a.json"
troubles, ids, now = [], iter(range(1, 99)), 0
tail = Tail([sys.argv[1]], lambda: next(ids), troubles.append, lambda: now)
tail.scan()
(source,) = tail.dirty()
document = tail.read_document(source)
from dataclasses import replace
from sentineld.content import element_hash
from sentineld.decode import decode_document
hashes = b"".join(map(element_hash, decode_document(document.data)))
tail.accept(replace(source, pos=1, elements=hashes, signature=document.signature))
with open(path, "a") as file:
    file.write('{"b": 2}\\n')
os.chmod(path, 0)
for _ in range(40):
    now += 3_000_000
    tail.scan()
    for gone in tail.gone():
        tail.forget(gone)
os.chmod(path, 0o600)
tail.scan()
print(json.dumps([[t.kind for t in troubles][-1:], [s.pos for s in tail.dirty()]]))
"""
    (tmp_path / "a.json").write_text('{"a": 1}\n')
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **as_mortal,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["unreadable"], [9]]


# Streams.


def test_a_stream_is_read_value_by_value_as_it_grows(line, log):
    one = line(claims=streams)
    data = pretty("one", "two") + compact("three")[:-1] + compact("four") + b",[" + compact("five") + b"]"
    for at in range(0, len(data), 7):
        append(log, data[at : at + 7])
        one.poll()

    assert one.counted == dict.fromkeys(("one", "two", "three", "four", "five"), 1)
    assert one.source(log).pos == len(data)
    assert one.source(log).lines == 5
    one.check_accounts()


def test_a_malformed_value_in_a_stream_is_rejected_and_kept_and_hides_no_other(line, log):
    one = line(claims=streams)
    torn = json.dumps(element("torn", x={"y": 1}), indent=2).encode()[:-20] + b"\n"
    append(
        log,
        pretty("one"),
        torn,
        pretty("two"),
        b"some text\n",
        pretty("three"),
        b'{"a": [1}\n',
        pretty("four"),
    )
    one.poll()

    assert one.counted == dict.fromkeys(("one", "two", "three", "four"), 1)
    assert [item.reason for item in one.rejects] == ["malformed_json"] * 3
    assert [item.head for item in one.rejects][1:] == [b"some text", b'{"a": [1}\n']
    assert one.source(log).rejected == 3
    one.check_accounts()


def test_the_last_value_of_a_stream_waits_and_a_file_that_ends_inside_of_it_is_told(line, log):
    one = line(claims=streams)
    append(log, pretty("one"), pretty("two")[:30])
    one.poll()
    assert one.counted == {"one": 1}

    log.unlink()
    one.poll()
    one.poll(after_s=100)

    assert [item.reason for item in one.rejects] == ["torn_line"]
    one.check_accounts()


def test_a_value_over_the_limit_is_skipped_across_restarts_and_hides_no_other(line, log):
    one = line(claims=streams, line_bytes=4096)
    append(log, pretty("one"))
    value = json.dumps(element("long", text=["x" * 50] * 4000), indent=1).encode() + b"\n"
    for at in range(0, len(value), 50_000):
        append(log, value[at : at + 50_000])
        one.poll()
        one.restart()
    append(log, pretty("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert [item.reason for item in one.rejects] == ["line_too_long"]
    assert one.source(log).lines == 3
    one.check_accounts()


def test_a_hole_in_a_stream_is_skipped_told_and_hides_nothing(line, log):
    one = line(claims=streams)
    append(log, pretty("one"), pretty("torn")[:40])
    os.truncate(log, log.stat().st_size + (1 << 30))
    append(log, pretty("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert sorted(item.reason for item in one.rejects) == ["malformed_json", "nul_hole"]
    one.check_accounts()


def test_a_stream_that_is_rotated_copied_and_cut_counts_once(line, log):
    one = line(claims=streams)
    append(log, pretty("one", "two"))
    one.poll()
    append(log, pretty("three"))
    log.rename(log.with_name("telemetry.log.1"))
    append(log, pretty("four"))
    one.poll()
    shutil.copyfile(log, log.with_name("telemetry.log.2"))
    os.truncate(log, 0)
    append(log, pretty("five"))
    one.poll()
    one.restart()
    one.poll(after_s=3)

    assert one.counted == dict.fromkeys(("one", "two", "three", "four", "five"), 1)
    assert not one.incidents
    one.check_accounts()


def test_what_was_unread_when_a_stream_was_cut_is_read_from_its_copy_whatever_its_name(line, log):
    one = line(claims=streams)
    append(log, pretty(*(f"e{number}" for number in range(20))))
    one.poll()
    append(log, pretty("last"))
    shutil.copyfile(log, log.with_name("z.jsonl"))
    os.truncate(log, 0)
    one.poll()
    one.poll(after_s=3)

    assert one.counted == {f"e{number}": 1 for number in range(20)} | {"last": 1}
    assert not one.incidents
    assert not one.rejects


def test_a_stream_that_was_rotated_while_nobody_looked_is_read_to_its_end(line, log):
    one = line(claims=streams)
    append(log, pretty("one"))
    one.poll()
    one.close()
    append(log, pretty("two"))
    log.rename(log.with_name("telemetry.log-20261123"))
    append(log, pretty("three"))
    one.open()
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert not one.incidents


def test_a_rewritten_stream_is_evidence(line, log):
    one = line(claims=streams)
    append(log, pretty("one", "two"))
    one.poll()
    log.write_bytes(log.read_bytes().replace(b"one", b"eno"))
    one.poll()
    one.poll()

    assert kinds(one) == ["rewritten"]


@pytest.mark.parametrize("limit", [512, 4096])
def test_what_was_read_of_a_stream_is_replayed_as_it_was(line, log, telemetry, monkeypatch, limit):
    monkeypatch.setattr("sentineld.intake.CHUNK_BYTES", limit)
    one = line(claims=streams, line_bytes=2048)
    for number in range(10):
        torn = pretty("torn")[: 20 + 5 * number]
        long = json.dumps(element("long", text="x" * 5000)).encode()
        append(log, pretty(f"a{number}", f"b{number}"), torn, b"\n", long, b"\n", pretty(f"c{number}"))
        one.poll()

    replayed = replay_as_observed([str(telemetry.directory)], one.store, Config())

    assert not replayed.missing
    (again,) = replayed.store.sources()
    before = one.source(log)
    names = ("pos", "lines", "accepted", "ignored", "rejected", "duplicates")
    assert [getattr(again, name) for name in names] == [getattr(before, name) for name in names]
    assert before.accepted == 30


# Names.


def test_what_the_configuration_says_of_a_name_wins_over_its_ending_and_its_content(line, telemetry):
    framings = {"x.jsonl": STREAM, "x.json": LINES, "y.jsonl": DOCUMENT, "x.log": LINES}
    one = line(claims=lambda path: framings.get(os.path.basename(path)))
    append(telemetry.directory / "x.jsonl", pretty("one", "two"))
    append(telemetry.directory / "x.json", compact("three"))
    append(telemetry.directory / "y.jsonl", json.dumps([element("four")]).encode())
    append(telemetry.directory / "x.log", compact("five"))
    append(telemetry.directory / "x.log.1", compact("six"))
    append(telemetry.directory / "y.log", compact("seven"))
    one.poll()

    assert one.counted == dict.fromkeys(("one", "two", "three", "four", "five", "six"), 1)
    assert {Path(item.path).name: item.kind for item in one.store.sources()} == framings | {"x.log.1": LINES}


def test_what_the_configuration_excludes_is_not_read_and_rotated_names_follow_their_base(line, telemetry):
    def claims(path):
        return STREAM if path.endswith("x.log") else "" if "/home/" in path else None

    one = line(claims=claims)
    append(telemetry.directory / "home" / "settings.json", compact("no"))
    append(telemetry.directory / "home" / "x.log", compact("one"))
    append(telemetry.directory / "home" / "x.log.1", pretty("two"))
    append(telemetry.directory / "other.json.1", compact("three"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}


def test_a_document_that_the_configuration_claims_later_goes_on_behind_what_was_read(line, j):
    one = line()
    append(j, compact("one"))
    one.poll()
    options = {"line_bytes": 1 << 20, "max_files": 100, "files_per_owner": 100}
    one.tail.configure(one.tail.directories, **options, claims=lambda _path: LINES)
    append(j, b"\n")
    one.poll()
    append(j, compact("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert one.source(j).kind == LINES


def test_names_of_rotated_files_and_those_that_they_had_before():
    names = {
        "x.ndjson": "",
        "x.ndjson.1": "x.ndjson",
        "x.json": "",
        "x.json.1": "x.json",
        "x-2026-11-23T08-39-35.123.json": "x.json",
        "x.jsonl-20261123": "x.jsonl",
    }
    assert {name: base_name(name) for name in names} == names
    assert {kind_of(name) for name in names} == {LINES, DOCUMENT}
    assert base_name("telemetry.log.1") == "telemetry.log"
    assert kind_of("telemetry.log") is None


def test_a_source_that_goes_on_for_a_document_keeps_what_its_records_told(line, j):
    one = line()
    append(j, compact("one"))
    one.poll()
    before = one.source(j)
    one.tail.accept(replace(before, kept=b'{"a":{"":"b"}}'))
    append(j, compact("two"))
    one.poll()

    assert one.source(j).kept == b'{"a":{"":"b"}}'
    assert one.source(j).format == before.format
    assert one.source(j).id != before.id
