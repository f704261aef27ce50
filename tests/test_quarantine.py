"""Quarantine: what fails is left out record by record; all else counts once, and the effort is bounded."""

import json
import os
import random

import pytest

from sentineld import intake as intake_module
from sentineld import pipeline as pipeline_module
from sentineld import quarantine as quarantine_module
from sentineld import recognition as recognition_module
from sentineld import tail as tail_module
from sentineld.control import judge_control
from sentineld.decode import INTERNAL_ERROR
from sentineld.intake import Intake
from sentineld.lines import next_lines
from sentineld.pipeline import Pipeline
from sentineld.quarantine import Quarantine

START = 1_763_850_000


class Failing(Pipeline):
    """Raises over some event types, when it has judged all of a batch and before it commits that."""

    failures = 0

    def _finish(self, commit, touched, drafts, inputs=None, batch=None, records=()):
        if inputs is not None and any(name.startswith("bad") for name in inputs.event_types):
            Failing.failures += 1
            raise KeyError("planted")
        return super()._finish(commit, touched, drafts, inputs, batch, records)


@pytest.fixture
def failing(make_line, telemetry, tmp_path):
    """Make a line that reads through a quarantine; ``controls`` counts its looks at the sample."""

    class Line(make_line):
        def open(self):
            super().open()
            self.controls = 0
            self.left_out = []
            self.renew()
            self.quarantine = Quarantine(
                self.tail,
                lambda: self.pipeline,
                self.renew,
                self.control,
                lambda _path, rejects, _error: self.left_out.extend(rejects),
            )

        def control(self):
            self.controls += 1
            judge_control(self.pipeline.prior, self.formats, self.now_us)

        def renew(self):
            self._pending.clear()
            former = self.pipeline
            self.pipeline = Failing(self.store, former.prior, agents_per_owner=10_000, observer=self)

        def commit(self, batch):
            for piece, _ in self.quarantine.read(batch, self.now_us):
                for part in piece.parts:
                    self.rejects += part.rejects
                for _, source in piece.sources.values():
                    self.tail.accept(source)
                self.counted.update(self._pending)
                self.order.append(list(self._pending))
                self._pending.clear()
            assert batch.sources.keys() <= {source.id for source in self.store.sources()}

        def read_history(self):
            self.tail.scan()
            for batch in self.intake.history():
                if batch:
                    self.commit(batch)

    Failing.failures = 0
    one = Line(telemetry.directory, tmp_path / "line.db")
    yield one
    one.close()


def record(name, at, agent="agent"):
    return {"type": name, "source": agent, "timestamp": at, "data": {"n": name}}


def scatter(directory, rng, count, bad):
    """Write numbered records of four agents to four files, a document among them; return the sound names."""
    files = [[] for _ in range(4)]
    for number in range(count):
        name = f"bad{number}" if number in bad else f"e{number}"
        rng.choice(files).append(record(name, START + number, f"agent-{number % 4}"))
    for number, records in enumerate(files[:3]):
        lines = [json.dumps(item) for item in records]
        lines[1:1] = ["", "{malformed"]
        (directory / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (directory / "array.json").write_text(json.dumps(files[3]))
    return [f"e{number}" for number in range(count) if number not in bad]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_history", [True, False])
def test_all_others_count_once_wherever_the_failing_ones_stand(failing, telemetry, seed, is_history):
    rng = random.Random(seed)
    bad = set(rng.sample(range(120), seed * 2)) | {0, 119}
    names = scatter(telemetry.directory, rng, 120, bad)
    if is_history:
        failing.read_history()
        # In the order of time, over all files, as if the others had not been there.
        counted = [name for batch in failing.order for name in batch]
        assert [[n for n in counted if int(n[1:]) % 4 == agent] for agent in range(4)] == [
            [n for n in names if int(n[1:]) % 4 == agent] for agent in range(4)
        ]
    else:
        failing.poll()

    assert failing.counted == dict.fromkeys(names, 1)
    assert sorted(item.reason for item in failing.rejects) == sorted(
        [INTERNAL_ERROR] * len(bad) + ["malformed_json"] * 3
    )
    assert {item.offset for item in failing.left_out} == {
        item.offset for item in failing.rejects if item.reason == INTERNAL_ERROR
    }
    assert all(item.head.startswith(b'{"type": "bad') for item in failing.left_out if item.length)
    failing.check_accounts()
    assert sum(item.count for item in failing.store.incidents() if item.kind == INTERNAL_ERROR) == len(bad)
    assert failing.store.decisions() == []
    failing.restart()
    failing.poll()
    assert sum(failing.counted.values()) == len(names)


def test_a_document_whose_past_has_changed_is_refused_whole(failing, telemetry):
    path = telemetry.directory / "array.json"
    path.write_text(json.dumps([record("e0", START), record("e1", START)]))
    failing.poll()
    path.write_text(json.dumps([record("e2", START), record("bad", START), record("e1", START)]))
    telemetry.append("other.jsonl", record("e3", START))
    failing.poll()

    assert failing.counted == {"e0": 1, "e1": 1, "e3": 1}
    assert [item.reason for item in failing.rejects] == [INTERNAL_ERROR] * 2
    failing.check_accounts()


@pytest.fixture
def little_effort(monkeypatch):
    """Give up cutting files soon."""
    monkeypatch.setattr(quarantine_module, "MAX_FAILURES", 50)


@pytest.mark.usefixtures("little_effort")
def test_a_flood_of_failing_records_takes_bounded_effort_and_no_other_file_along(failing, telemetry):
    telemetry.append("flood.jsonl", *(record(f"bad{n}", START) for n in range(3000)))
    telemetry.append("sound.jsonl", *(record(f"e{n}", START) for n in range(300)))
    failing.poll()

    assert sum(failing.counted.values()) == 300
    assert len(failing.rejects) == 3000
    # Two batches.
    assert Failing.failures < 2 * 90
    failing.check_accounts()
    # Nor does it end a daemon that works.
    telemetry.append("flood.jsonl", *(record(f"bad{n}", START) for n in range(1000)))
    failing.poll()
    assert len(failing.rejects) == 4000


@pytest.mark.usefixtures("little_effort")
@pytest.mark.parametrize("broken", ["step", "batch", "intake"])
def test_where_nothing_at_all_can_be_judged_nothing_is_passed_over(failing, telemetry, monkeypatch, broken):
    def fail(*_args, **_more):
        raise KeyError("planted")

    monkeypatch.setattr(
        *{
            "step": (pipeline_module, "observe"),
            "batch": (pipeline_module, "combine"),
            "intake": (recognition_module.Formats, "rows"),
        }[broken],
        fail,
    )
    monkeypatch.setattr(Intake, "decode_at_once", lambda *_, **__: None)
    telemetry.append("a.jsonl", *(record(f"e{n}", START) for n in range(400)))
    telemetry.append("b.jsonl", *(record(f"e{n}", START) for n in range(400)))
    with pytest.raises(RuntimeError, match="all telemetry") as raised:
        failing.poll()
    assert isinstance(raised.value.__cause__, KeyError)
    assert [source.pos for source in failing.store.sources()] == []
    assert failing.controls == 1


@pytest.mark.usefixtures("little_effort")
def test_whoever_alone_writes_nothing_but_what_cannot_be_judged_ends_nothing(failing, telemetry):
    telemetry.append("a.jsonl", *(record(f"bad{n}", START) for n in range(800)))
    failing.poll()
    telemetry.append("a.jsonl", *(record(f"bad{n}", START) for n in range(800)))
    telemetry.append("b.jsonl", record("e0", START))
    failing.poll()

    assert len(failing.rejects) == 1600
    assert failing.counted == {"e0": 1}
    assert failing.controls == 1
    failing.check_accounts()


@pytest.mark.parametrize("is_history", [True, False])
def test_a_file_that_cannot_even_be_read_is_set_aside_and_accuses_nobody(
    failing, telemetry, monkeypatch, is_history
):
    def fail(fd, start, **how):
        if b"unreadable" in os.pread(fd, 4096, start):
            raise IndexError("planted")
        return next_lines(fd, start, **how)

    monkeypatch.setattr(tail_module, "next_lines", fail)
    monkeypatch.setattr(intake_module, "new_elements", lambda *_: 1 / 0)
    monkeypatch.setattr(intake_module, "CHUNK_BYTES", 256)
    path = telemetry.append("a.jsonl", *(record(f"e{n}", START) for n in range(100)))
    telemetry.append("a.jsonl", record("unreadable", START))
    telemetry.append("b.jsonl", *(record(f"f{n}", START) for n in range(100)))
    document = telemetry.directory / "array.json"
    document.write_text(json.dumps([record("d0", START)]))
    if is_history:
        failing.read_history()
    failing.poll()
    path.unlink()
    document.unlink()
    telemetry.append("b.jsonl", record("f100", START))
    failing.poll(after_s=100)
    failing.poll(after_s=100)

    assert {name for name in failing.counted if name[0] != "e"} == {f"f{n}" for n in range(101)}
    assert 0 < sum(name[0] == "e" for name in failing.counted) < 100
    assert failing.kinds() == [INTERNAL_ERROR]
    assert failing.incidents == []


def test_what_no_record_explains_is_raised_on(failing, telemetry, monkeypatch):
    telemetry.append("a.jsonl", record("e0", START))

    def fail(*_args, **_more):
        raise OSError(5, "planted")

    monkeypatch.setattr(failing.pipeline.roster, "settle", fail)
    with pytest.raises(OSError, match="planted"):
        failing.poll()
    assert failing.rejects == []
