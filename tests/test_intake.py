"""Intake: fair turns while live, one order of time for history."""

import json
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentineld import intake as intake_module
from sentineld.claims import Claims
from sentineld.framing import LINES
from sentineld.intake import new_elements
from sentineld.mapping_files import built_in
from sentineld.native import NativeMapping
from sentineld.recognition import Formats
from sentineld.tail import CHUNK_BYTES
from sentineld.taxonomy import Taxonomy
from sentineld.trust import Trust

START = 1_763_850_000


def record(name: str, at: float, agent: str = "agent", **data: Any) -> dict[str, Any]:
    return {"type": name, "source": agent, "timestamp": at, "data": data}


def write(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in records))
    return path


def read_history(one) -> list[list[str]]:
    """Commit all of history; return the event types of each batch, in the order in which they count."""
    one.order.clear()
    for batch in one.intake.history():
        if batch:
            one.commit(batch)
    return list(one.order)


@pytest.fixture
def small_reads(monkeypatch) -> None:
    """Make reads and batches so small that every boundary is met."""
    monkeypatch.setattr(intake_module, "CHUNK_BYTES", 1024)
    monkeypatch.setattr(intake_module, "HISTORY_ROWS", 20)
    monkeypatch.setattr(intake_module, "_READS", 3)
    monkeypatch.setattr(intake_module, "_HISTORY_BYTES", 2048)


def scattered(directory: Path, count: int, seed: int = 1) -> list[str]:
    """Scatter one agent's events, one a second, over several files and a document; return them in order."""
    rng = random.Random(seed)
    files: list[list[Any]] = [[] for _ in range(6)]
    for n in range(count):
        rng.choice(files).append(record(f"e{n}", START + n, pad="x" * rng.randint(0, 200)))
    for number, records in enumerate(files[:5]):
        write(directory / f"{number}.jsonl", records)
    (directory / "5.json").write_text(json.dumps(files[5]))
    return [f"e{n}" for n in range(count)]


def test_history_of_many_files_comes_in_the_order_of_time(line, telemetry, small_reads):
    names = scattered(telemetry.directory, 400)
    one = line()
    one.tail.scan()
    batches = read_history(one)

    assert names == [name for batch in batches for name in batch]
    assert len(batches) > 5


def test_copies_in_history_hide_no_other_record_where_batches_are_cut(line, telemetry, small_reads):
    rng = random.Random(1)
    files: list[list[Any]] = [[] for _ in range(4)]
    for n in range(120):
        one_record = {**record(f"e{n}", START + n, pad="x" * rng.randint(0, 100)), "id": n}
        rng.choice(files).extend([one_record] * rng.randint(1, 2))
    for number, records in enumerate(files):
        write(telemetry.directory / f"{number}.jsonl", records)
    one = line()
    one.tail.scan()
    batches = read_history(one)

    assert [name for batch in batches for name in batch] == [f"e{n}" for n in range(120)]
    assert len(batches) > 5


@pytest.mark.parametrize("is_stopped", [False, True])
def test_documents_of_history_whose_times_overlap_are_not_in_memory_at_once(
    line, telemetry, small_reads, is_stopped
):
    for n in range(20):
        elements = [record(f"e{m}.{n:02}", START + 100 * m + n, pad=[1.5, None, "é"]) for m in range(60)]
        elements[7:7] = ["no object"]
        (telemetry.directory / f"{n:02}.json").write_text(json.dumps(elements))
    one = line()
    one.tail.scan()
    size = (telemetry.directory / "19.json").stat().st_size
    merge = intake_module._Merge(one.intake, one.tail.dirty())
    most = committed = 0
    while not merge.is_done:
        batch = merge.next_batch()
        rows = sum(len(piece.keys) for head in merge._heads for piece in head.pieces)
        most = max(most, rows)
        if not batch:
            continue
        one.commit(batch)
        committed += 1
        if is_stopped and committed == 5:
            merge.close()
            one.restart()
            one.tail.scan()
            merge = intake_module._Merge(one.intake, one.tail.dirty())

    merge.close()

    assert [name for names in one.order for name in names] == [
        f"e{m}.{n:02}" for m in range(60) for n in range(20)
    ]
    assert [item.reason for item in one.rejects] == ["not_an_object"] * 20
    # Of each document what two reads bring: one waits while another one is read.
    assert most < 20 * 2 * 1024 // (size // 61) < 20 * 30
    assert sum(source.lines for source in one.store.sources()) == 20 * 61
    one.check_accounts()


def test_reading_many_files_ahead_pauses_now_and_then(line, telemetry, small_reads):
    for n in range(30):
        write(telemetry.directory / f"{n}.jsonl", [record(f"e{n}", START + n)])
    one = line()
    one.tail.scan()
    batches = [bool(batch) for batch in one.intake.history()]

    assert batches.index(True) == 10
    assert not any(batches[:10])


@pytest.mark.parametrize("step", [1, 0])
def test_history_of_many_files_is_committed_in_bounded_batches(line, telemetry, small_reads, step):
    names = [f"e{n}" for n in range(300)]
    for n, name in enumerate(names):
        # At one instant the order is that of the files' names.
        place = n * 7919 % 300 if step else n
        write(telemetry.directory / f"{place:03}.jsonl", [record(name, START + n * step)])
    one = line()
    one.tail.scan()
    batches = read_history(one)

    assert [name for batch in batches for name in batch] == names
    assert max(map(len, batches)) <= 40


def test_history_keeps_the_order_of_each_file_where_its_times_go_back(line, telemetry, small_reads):
    write(telemetry.directory / "a.jsonl", [record(f"a{n}", START + 100 - n) for n in range(100)])
    write(telemetry.directory / "b.jsonl", [record(f"b{n}", START + n * 2) for n in range(100)])
    one = line()
    one.tail.scan()
    order = [name for batch in read_history(one) for name in batch]

    assert [name for name in order if name[0] == "a"] == [f"a{n}" for n in range(100)]
    assert [name for name in order if name[0] == "b"] == [f"b{n}" for n in range(100)]


@pytest.mark.parametrize("kill_after", [1, 2, 7])
def test_a_run_that_dies_between_batches_goes_on_where_it_was(line, telemetry, small_reads, kill_after):
    names = scattered(telemetry.directory, 300)
    one = line()
    one.tail.scan()
    history = one.intake.history()
    for _ in range(kill_after):
        one.commit(next(history))
    order = [name for batch in one.order for name in batch]
    next(history)  # read, and lost with the process
    one.restart()
    one.tail.scan()
    order += [name for batch in read_history(one) for name in batch]

    assert names == order
    one.check_accounts()


def test_positions_never_run_ahead_of_what_was_taken(line, telemetry, small_reads):
    scattered(telemetry.directory, 300)
    one = line()
    one.tail.scan()
    for batch in one.intake.history():
        one.commit(batch)
        for source in one.store.sources():
            assert source.lines == source.accepted
            if source.kind == LINES:
                data = Path(source.path).read_bytes()[: source.pos]
                assert data.count(b"\n") == source.lines
            else:
                assert source.pos == source.lines == len(source.elements) // 16


def test_blank_and_rejected_lines_of_history_are_counted_where_they_stand(line, telemetry, small_reads):
    rng = random.Random(3)
    for name in "abc":
        lines = [
            rng.choice(["", "garbage", "[]", json.dumps(record(f"{name}{n}", START + n + rng.random()))])
            for n in range(200)
        ]
        (telemetry.directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    one = line()
    one.tail.scan()
    read_history(one)

    for source in one.store.sources():
        lines = Path(source.path).read_text().splitlines()
        assert source.lines == 200
        assert source.ignored == lines.count("")
        assert source.rejected == lines.count("garbage") + lines.count("[]")
    one.check_accounts()


def test_a_line_over_the_limit_in_history_is_counted_once(line, telemetry, small_reads):
    records = [record("one", START), record("long", START + 1, pad="x" * 50_000), record("two", START + 2)]
    write(telemetry.directory / "a.jsonl", records)
    one = line(line_bytes=2048)
    one.tail.scan()

    assert [name for batch in read_history(one) for name in batch] == ["one", "two"]
    assert one.source(telemetry.directory / "a.jsonl").rejected == 1
    one.check_accounts()


def test_what_is_appended_while_history_is_read_is_live(line, telemetry, small_reads):
    path = write(telemetry.directory / "a.jsonl", [record(f"e{n}", START + n) for n in range(100)])
    one = line()
    one.tail.scan()
    for number, batch in enumerate(one.intake.history()):
        assert all(part.is_history for part in batch.parts)
        one.commit(batch)
        with path.open("a") as file:
            file.write(json.dumps(record(f"late{number}", START)) + "\n")
    one.tail.scan()
    batch = one.intake.live()

    assert sum(len(part.rows) for part in batch.parts) == number + 1
    assert not any(part.is_history for part in batch.parts)


def test_a_file_that_is_truncated_while_history_is_read_is_read_anew(line, telemetry, small_reads):
    a = write(telemetry.directory / "a.jsonl", [record(f"a{n}", START + n) for n in range(200)])
    write(telemetry.directory / "b.jsonl", [record(f"b{n}", START + n) for n in range(200)])
    one = line()
    one.tail.scan()
    for number, batch in enumerate(one.intake.history()):
        one.commit(batch)
        if number == 1:
            write(a, [record("fresh", START)])
    one.poll()

    assert one.counted["fresh"] == 1
    assert all(one.counted[f"b{n}"] == 1 for n in range(200))
    one.check_accounts()


def test_history_of_more_files_than_descriptors_counts_everything_once(line, telemetry, small_reads):
    for number in range(30):
        write(
            telemetry.directory / f"{number}.jsonl", [record(f"e{number}-{n}", START + n) for n in range(20)]
        )
    one = line(max_open=4)
    one.tail.scan()
    read_history(one)
    one.poll()
    one.restart()
    one.poll()

    assert one.store.meta().events == 600
    assert not one.troubles


def test_a_rewritten_document_in_history_is_taken_whole(line, telemetry, small_reads):
    doc = telemetry.directory / "a.json"
    doc.write_text(json.dumps([record("one", START), record("two", START + 1)]))
    one = line()
    one.poll()
    doc.write_text(json.dumps([record("three", START), record("two", START + 1), record("four", START + 99)]))
    write(telemetry.directory / "b.jsonl", [record(f"b{n}", START + n) for n in range(100)])
    one.tail.scan()
    batches = []
    for batch in one.intake.history():
        batches.append({part.source_id for part in batch.parts})
        one.commit(batch)
    one.poll()

    # Only a document whose past is unchanged can be committed in part.
    assert sum(one.source(doc).id in ids for ids in batches) == 1
    assert len(batches) > 2
    assert {name: count for name, count in one.store.event_types().items() if name[0] != "b"} == {
        "one": 1,
        "two": 1,
        "three": 1,
        "four": 1,
    }


# Live.


def test_noisy_files_do_not_starve_quiet_ones(line, telemetry):
    noise = json.dumps(record("noise", START, pad="x" * 1000)) + "\n"
    for number in range(40):
        (telemetry.directory / f"a{number}.jsonl").write_text(noise * (4 * CHUNK_BYTES // len(noise)))
    write(telemetry.directory / "z.jsonl", [record("quiet", START)])
    one = line()
    one.tail.scan()
    turns = 0
    while not one.counted["quiet"]:
        turns += 1
        # The noisy files go on.
        for number in range(40):
            with (telemetry.directory / f"a{number}.jsonl").open("a") as file:
                file.write(noise * (2 * CHUNK_BYTES // len(noise)))
        one.tail.scan()
        one.commit(one.intake.live())
        assert turns <= 3


def test_one_file_takes_no_more_than_a_batch(line, telemetry):
    noise = json.dumps(record("noise", START, pad="x" * 1000)) + "\n"
    (telemetry.directory / "a.jsonl").write_text(noise * 10_000)
    one = line()
    one.tail.scan()
    batch = one.intake.live()

    assert sum(part.end - part.start for part in batch.parts) <= intake_module.BATCH_BYTES + CHUNK_BYTES


def test_full_batches_that_are_quick_grow_up_to_a_bound_and_slow_ones_do_not(line, telemetry, monkeypatch):
    monkeypatch.setattr(intake_module, "BATCH_BYTES", 60_000)
    noise = json.dumps(record("noise", START, pad="x" * 1000)) + "\n"
    (telemetry.directory / "a.jsonl").write_text(noise * 1600)
    one = line()
    one.tail.scan()

    def take(took_us: int) -> float:
        batch = one.intake.live()
        one.commit(batch)
        one.intake.pace(took_us)
        return round(sum(part.end - part.start for part in batch.parts) / CHUNK_BYTES)

    assert [take(10_000), take(10_000), take(10_000), take(150_000), take(900_000)] == [1, 2, 4, 4, 4]
    assert [take(900_000), take(10_000)] == [2, 1]
    while take(10_000):
        pass
    # One that was not full says nothing of a backlog, and those who come then are not kept waiting.
    (telemetry.directory / "b.jsonl").write_text(noise * 400)
    one.tail.scan()
    assert take(10_000) == 1


def test_history_is_read_in_small_batches_until_it_is_known_to_be_of_few_agents(line):
    intake = line().intake
    small = intake.history_rows
    intake.spare(100)
    assert intake.history_rows == intake_module.HISTORY_ROWS >= 4 * small
    intake.spare(10_000)
    assert intake.history_rows == small
    intake.spare(small)
    assert intake.history_rows == small


def test_where_memory_is_short_batches_are_smaller(line, telemetry, small_reads):
    scattered(telemetry.directory, 400)
    one = line()
    one.tail.scan()
    one.intake.divisor = 4

    assert len(read_history(one)) > 2 * 400 / intake_module.HISTORY_ROWS
    noise = json.dumps(record("noise", START, pad="x" * 1000)) + "\n"
    (telemetry.directory / "a.jsonl").write_text(noise * 700)
    one.tail.scan()
    taken = sum(part.end - part.start for part in one.intake.live().parts)
    assert 0 < taken <= intake_module.BATCH_BYTES // 4 + CHUNK_BYTES


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")


def owned(directory: Path, name: str, owner: int, size: int) -> Path:
    """Write a file of an owner with so many bytes of events whose type names the owner."""
    text = json.dumps(record(f"of-{owner}", START, pad="x" * 1000)) + "\n"
    path = directory / name
    path.write_text(text * max(1, size // len(text)))
    os.chown(path, owner, -1)
    return path


@needs_root
def test_every_owner_has_a_turn_in_every_batch_however_many_files_another_one_floods(line, telemetry):
    for number in range(200):
        owned(telemetry.directory, f"a{number:03}.jsonl", 1001, 3 * CHUNK_BYTES)
    for owner in (1002, 1003, 1004):
        owned(telemetry.directory, f"z{owner}.jsonl", owner, 4 * CHUNK_BYTES)
    one = line()
    one.tail.scan()
    batch = one.intake.live()
    taken = Counter()
    for part in batch.parts:
        taken[part.owner] += part.end - part.start

    # The quiet ones have nothing left; the flooder has the rest of the batch.
    assert [taken[owner] >= 4 * CHUNK_BYTES - 2000 for owner in (1002, 1003, 1004)] == [True] * 3
    assert taken[1001] > 10 * CHUNK_BYTES
    assert [part.owner for part in batch.parts[:8]] == [1001, 1002, 1003, 1004] * 2
    one.commit(batch)


@needs_root
def test_an_owners_own_files_share_its_turns(line, telemetry):
    for number in range(100):
        owned(telemetry.directory, f"a{number:03}.jsonl", 1001, 8 * CHUNK_BYTES)
        owned(telemetry.directory, f"b{number:03}.jsonl", 1002, 8 * CHUNK_BYTES)
    one = line()
    one.tail.scan()
    read = []
    for _ in range(7):
        batch = one.intake.live()
        read += [part.source_id for part in batch.parts if part.owner == 1001]
        one.commit(batch)

    assert len(set(read)) == 100


@needs_root
@settings(max_examples=settings.default.max_examples // 6)
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(2, 8),
)
@example([[12]] * 4, 2)
@example([[12] * 4, [12]], 2)
def test_every_file_with_news_has_its_turn_within_a_bounded_number_of_batches(make_line, sizes, turns):
    with (
        tempfile.TemporaryDirectory() as base,
        mock.patch.object(intake_module, "CHUNK_BYTES", 1024),
        mock.patch.object(intake_module, "_TURN_BYTES", 512),
        mock.patch.object(intake_module, "BATCH_BYTES", turns * 512),
    ):
        directory = Path(base) / "telemetry"
        directory.mkdir()
        for owner, files in enumerate(sizes, 1001):
            for number, size in enumerate(files):
                owned(directory, f"{owner}-{number}.jsonl", owner, size * 1100)
        one = make_line(directory, Path(base) / "db")
        one.tail.scan()
        waits: Counter[int] = Counter()
        # At worst a batch is one turn, each owner comes after all others, and so does each of its files.
        bound = len(sizes) * max(map(len, sizes))
        while batch := one.intake.live():
            waiting = {source.id for source in one.tail.dirty()}
            for part in batch.parts:
                waits[part.source_id] = -1
            for number in waiting:
                waits[number] += 1
                assert waits[number] <= bound
            for _, source in batch.sources.values():
                one.tail.accept(source)
        assert not one.tail.dirty()
        one.close()


@pytest.mark.parametrize(
    ("known", "now", "fresh", "is_rewritten"),
    [
        ("", "abc", [0, 1, 2], False),
        ("ab", "abc", [2], False),
        ("abc", "abc", [], False),
        ("abc", "ab", [], True),
        ("abc", "axcd", [1, 3], True),
        ("aab", "aaab", [2], True),
        ("ab", "ba", [], True),
    ],
)
def test_new_elements_are_those_that_were_not_there(known, now, fresh, is_rewritten):
    def hashes(text: str) -> list[bytes]:
        return [letter.encode() * 16 for letter in text]

    assert new_elements(b"".join(hashes(known)), hashes(now)) == (fresh, is_rewritten)


def test_what_is_changed_after_it_was_read_ahead_is_not_taken_for_what_was_read(line, telemetry, small_reads):
    paths = [write(telemetry.directory / f"{n}.jsonl", [record(f"e{n}", START + n)]) for n in range(30)]
    one = line()
    one.tail.scan()
    batches = one.intake.history()
    assert not next(batches)
    paths[0].write_bytes(paths[0].read_bytes().replace(b"e0", b"xx"))
    for batch in batches:
        if batch:
            one.commit(batch)
    for _ in range(2):
        one.poll()

    assert one.counted == {f"e{n}": 1 for n in range(30)} | {"xx": 1}
    assert [(item.kind, item.path) for item in one.incidents] == [("rewritten", str(paths[0]))]


def test_history_of_small_files_costs_few_calls_a_file(line, telemetry):
    """Recognising formats once took more calls than all else together."""
    formats = Formats(built_in(Taxonomy().classify))
    claims = Claims(formats, Trust(), {}, os.getuid())
    for n in range(400):
        write(telemetry.directory / f"{n % 8}" / f"{n}.jsonl", [record("plan", START + n)])
    one = line(claims=claims)
    one.intake.formats = formats
    calls = Counter[str]()
    sys.setprofile(lambda _frame, event, _arg: calls.update([event]))
    try:
        one.tail.scan()
        batches = [batch for batch in one.intake.history() if batch]
    finally:
        sys.setprofile(None)
    count = (calls["call"] + calls["c_call"]) / 400

    assert sum(len(batch.parts) for batch in batches) == 400
    # Measured: 340. Each costs about 0.15 us.
    assert count < 450, count


def test_few_lines_that_could_not_be_read_at_once_are_not_tried_so_again(line, telemetry, monkeypatch):
    tried = []
    read = NativeMapping.rows_of_lines
    monkeypatch.setattr(
        NativeMapping, "rows_of_lines", lambda *args: tried.append(len(args[1])) or read(*args)
    )
    call = record("tool_call", START, tool="Bash", args={"command": "ls"})
    path, one = telemetry.directory / "a.jsonl", line()

    def append(*records: dict[str, Any]) -> int:
        tried.clear()
        with path.open("a") as file:
            file.writelines(json.dumps(item) + "\n" for item in records)
        one.tail.scan()
        one.commit(one.intake.live())
        return len(tried)

    # Which format it is, the first one tells.
    assert [append(call) for _ in range(4)] == [0, 1, 0, 0]
    many = [record("file_read", START, path="x" * 100)] * 50
    # Without the kernel, the first of them make their type known.
    assert [append(*many) for _ in range(2)] == [1, 1]
    # What was read last could be: it is tried again.
    assert append(call) == 1
    assert list(map(len, one.order)) == [1, 1, 1, 1, 50, 50, 1]
