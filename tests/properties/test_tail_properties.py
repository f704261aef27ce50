"""Tail against a model: whatever happens to files, what was there at a poll is counted exactly once.

A model appends, tears, completes, rotates, copies, truncates, deletes and restarts at random. Every line has
an event type of its own. The model knows which lines were complete in a file at the moment of a poll: these
are counted once, all others at most once.
"""

import json
import os
import random
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

LINES = ("a.jsonl", "b.jsonl", "sub/c.jsonl")


class Model:
    """Files as agents and logrotate treat them, and what a reader must have seen."""

    def __init__(self, make_line, base: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.directory = base / "telemetry"
        self.outside = base / "outside"
        self.outside.mkdir()
        (self.directory / "sub").mkdir(parents=True)
        self.line = make_line(
            self.directory, base / "line.db", max_open=self.rng.choice([1, 2, 512]), line_bytes=1024
        )
        self.torn: dict[Path, bytes] = {}
        self.serial = 0
        self.must: Counter[str] = Counter()
        self.may: set[str] = set()

    def path(self) -> Path:
        return self.directory / self.rng.choice(LINES)

    def lines_of(self, path: Path) -> list[str]:
        data = path.read_bytes()
        complete = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        return [json.loads(item)["type"] for item in complete if item.startswith(b"{") and len(item) <= 1024]

    def new_line(self) -> bytes:
        self.serial += 1
        name = f"e{self.serial}"
        pad = "x" * self.rng.choice([0, 0, 0, 30, 500, 2000])
        self.may.add(name)
        return (
            json.dumps(
                {"type": name, "source": "agent", "timestamp": self.serial, "data": {"pad": pad}}
            ).encode()
            + b"\n"
        )

    # What may happen.

    def append(self) -> None:
        path = self.path()
        rest = self.torn.pop(path, b"")
        data = b"".join(self.new_line() for _ in range(self.rng.randint(1, 5)))
        with path.open("ab") as file:
            file.write(rest + data)

    def tear(self) -> None:
        path = self.path()
        if path in self.torn:
            return
        data = self.new_line()
        cut = self.rng.randint(1, len(data) - 1)
        with path.open("ab") as file:
            file.write(data[:cut])
        self.torn[path] = data[cut:]

    def garbage(self) -> None:
        path = self.path()
        if path not in self.torn:
            with path.open("ab") as file:
                file.write(self.rng.choice([b"\n", b"nonsense\n", b"[1]\n", b"  \n", b"\xff\n"]))

    def rotate(self) -> None:
        path = self.path()
        if not path.exists():
            return
        self.torn.pop(path, None)
        names = [path.name + ".1"]
        if path.stat().st_ino in {source.ino for source in self.line.store.sources(with_gone=False)}:
            # Only a file that has been read is known under a name that says nothing.
            names.append(path.name + ".old")
        target = path.with_name(self.rng.choice(names))
        if target.exists():
            target.replace(self.outside / f"{self.serial}-{target.name}")
        path.rename(target)

    def copytruncate(self) -> None:
        path = self.path()
        if path.exists():
            self.poll()
            copy = path.with_name(path.name + ".1")
            if copy.exists():
                copy.unlink()
                self.poll()
            self.torn.pop(path, None)
            copy.write_bytes(path.read_bytes())
            os.truncate(path, 0)
            # Original and copy must be seen together once: a copy that vanishes before is nobody's copy.
            for _ in range(self.rng.randint(0, 3)):
                self.rng.choice([self.append, self.tear, self.restart, self.crash_in_a_batch, self.garbage])()
            self.poll()

    def truncate(self) -> None:
        path = self.path()
        if path.exists():
            self.torn.pop(path, None)
            path.write_bytes(b"".join(self.new_line() for _ in range(self.rng.randint(0, 3))))

    def delete(self) -> None:
        path = self.path()
        if path.exists():
            self.torn.pop(path, None)
            path.unlink()

    def move_away(self) -> None:
        path = self.path()
        if path.exists():
            self.torn.pop(path, None)
            path.rename(self.outside / f"{self.serial}-{path.name}")

    def come_back(self) -> None:
        for path in sorted(self.outside.iterdir())[:1]:
            target = self.directory / f"back{self.serial}.jsonl"
            if not target.exists():
                path.rename(target)

    def restart(self) -> None:
        self.line.restart()

    def crash_in_a_batch(self) -> None:
        self.line.tail.scan()
        self.line.intake.live()
        self.line.restart()

    def poll(self) -> None:
        for path in sorted(self.directory.rglob("*")):
            if path.is_file():
                self.must.update({name: 1 for name in self.lines_of(path) if not self.must[name]})
        self.line.poll(after_s=self.rng.choice([0.5, 5, 100]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_every_line_that_was_there_at_a_poll_is_counted_exactly_once(make_line, seed):
    with tempfile.TemporaryDirectory() as base:
        model = Model(make_line, Path(base), seed)
        actions = [model.append] * 6 + [model.poll] * 4 + [model.tear] * 2
        actions += [model.garbage, model.rotate, model.copytruncate, model.truncate, model.delete]
        actions += [model.move_away, model.come_back, model.restart, model.crash_in_a_batch]
        for _ in range(40):
            model.rng.choice(actions)()
        model.poll()
        try:
            counted = model.line.counted
            assert {name for name in model.must if counted[name] != 1} == set()
            assert {name for name, count in counted.items() if count > 1} == set()
            assert set(counted) <= model.may
            model.line.check_accounts()
        finally:
            model.line.close()
