"""Archive: what a daemon read is replayed as it was, also where a file went on for another one."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sentineld.archive import Archive
from sentineld.config import Config
from sentineld.replay import replay_as_observed

THREAD = "0199a213-81c0-7800-8aa1-bbab2a035a53"


def header(directory: str) -> bytes:
    return _codex("session_meta", id=THREAD, cwd=directory)


def calls(*numbers: int) -> bytes:
    return b"".join(
        _codex("response_item", type="function_call", name="shell", call_id=f"call_{n:024d}", arguments="{}")
        for n in numbers
    )


def _codex(kind: str, **payload: Any) -> bytes:
    return (
        json.dumps({"timestamp": "2025-11-23T00:40:00Z", "type": kind, "payload": payload}).encode() + b"\n"
    )


def native(*names: str) -> bytes:
    records = ({"type": name, "source": "agent", "timestamp": 1_763_858_400, "data": {}} for name in names)
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def events(one: Any, directory: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many events every agent had, live and when replayed; nothing may be missing."""
    replayed = replay_as_observed([str(directory)], one.store, Config())
    assert not replayed.missing
    live, again = ({row.name: row.state for row in store.agents()} for store in (one.store, replayed.store))
    assert live.keys() == again.keys()
    return one.store.event_types(), replayed.store.event_types()


@pytest.fixture
def one(line):
    one = line()
    one.formats = one.intake.formats = Config().formats()
    return one


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_copy_of_a_file_that_was_cut_is_replayed_with_its_memory(one, telemetry, is_restarted):
    rollout = telemetry.directory / f"rollout-x-{THREAD}.jsonl"
    append(rollout, header("/work/one") + calls(1, 2, 3))
    one.poll()
    # What nobody has read yet stands in the copy alone, without the header.
    append(rollout, calls(4, 5))
    shutil.copy(rollout, f"{rollout}.1")
    os.truncate(rollout, 0)
    append(rollout, header("/work/two") + calls(6))
    if is_restarted:
        one.restart()
    for _ in range(3):
        one.poll()

    live, again = events(one, telemetry.directory)

    assert again == live
    assert sum(live.values()) == 6
    assert set(one.store.agent_names()) == {"/work/one", "/work/two"}


def test_a_copy_that_was_held_and_goes_on_by_itself_is_replayed_with_its_memory(one, telemetry):
    rollout = telemetry.directory / f"rollout-x-{THREAD}.jsonl"
    append(rollout, header("/work/one") + calls(*range(1, 9)))
    one.poll()
    shutil.copy(rollout, f"{rollout}.1")
    one.poll()
    append(Path(f"{rollout}.1"), calls(9, 10))
    one.poll()
    one.poll()

    live, again = events(one, telemetry.directory)

    assert again == live
    assert sum(live.values()) == 10
    assert one.store.agent_names() == ["/work/one"]


def test_an_object_that_was_read_before_others_were_appended_is_replayed(one, telemetry):
    path = telemetry.directory / "a.json"
    append(path, native("one"))
    one.poll()
    append(path, native("two"))
    one.poll()

    live, again = events(one, telemetry.directory)

    assert again == live == {"one": 1, "two": 1}


@pytest.mark.parametrize("becomes", ["nothing", "link", "directory", "pipe"])
def test_what_is_taken_away_or_exchanged_while_it_is_replayed_is_missing(one, telemetry, becomes):
    lines, document = telemetry.directory / "a.jsonl", telemetry.directory / "b.json"
    append(lines, native("one", "two"))
    document.write_text(json.dumps([json.loads(native("three"))]))
    append(telemetry.directory / "c.jsonl", native("four"))
    one.poll()
    with Archive(one.store, [str(telemetry.directory)], one.formats) as archive:
        for path in (lines, document):
            path.unlink()
            if becomes == "link":
                path.symlink_to(telemetry.directory / "c.jsonl")
            elif becomes == "directory":
                path.mkdir()
            elif becomes == "pipe":
                os.mkfifo(path)
        events = 0
        for number, (_, _, _, parts) in enumerate(one.store.inputs()):
            batch = archive.batch(number, parts, {})
            archive.accept(batch)
            events += sum(len(part.rows) for part in batch.parts)

        assert events == 1
        assert sorted(text.split(",")[0] for text in archive.missing()) == [str(lines), str(document)]
