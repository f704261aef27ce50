"""Tail against a model: whatever happens to files, every line counts once, and every misdeed is told.

Agents and logrotate append, tear, complete, rotate, copy, cut, punch, delete and move files; the reader is
restarted and killed at any moment. Every line has an event type of its own. The model knows what must have
been counted after a poll, what may have been, and which deeds are evidence: normal life is none, and each
destruction of unread bytes, each cut and each rewriting is told exactly once.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

LINE_BYTES = 1024
NAMES = ("a.jsonl", "b.jsonl", "sub/c.jsonl")
PADS = (0, 0, 30, 500, 900, 2000)

names = st.sampled_from(NAMES)
pads = st.lists(st.sampled_from(PADS), min_size=1, max_size=12)


class Files(RuleBasedStateMachine):
    """Files as agents and logrotate treat them, and what a reader must have seen."""

    make_line: Any

    @initialize(max_open=st.sampled_from([1, 2, 512]))
    def begin(self, max_open: int) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.directory = self.base / "telemetry"
        (self.directory / "sub").mkdir(parents=True)
        self.outside = self.base / "outside"
        self.outside.mkdir()
        self.line = self.make_line(
            self.directory, self.base / "line.db", max_open=max_open, line_bytes=LINE_BYTES
        )
        self.serial = 0
        self.torn: dict[str, bytes] = {}
        #: How often each line is counted at least (after a poll that it was there for) and at most.
        self.least: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.told: list[str] = []

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            return
        try:
            for _ in range(3):
                self.poll()
            counted = Counter({name: n for name, n in self.line.counted.items() if "!" not in name})
            assert {name: counted[name] for name, n in self.least.items() if counted[name] < n} == {}
            assert {name: n for name, n in counted.items() if n > self.most[name]} == {}
            assert [item.kind for item in self.line.incidents] == self.told
            self.line.check_accounts()
        finally:
            self.line.close()
            shutil.rmtree(self.base)

    # Helpers.

    def path(self, name: str) -> Path:
        return self.directory / name

    def new_name(self) -> str:
        self.serial += 1
        return f"e{self.serial}"

    def new_line(self, pad: int) -> bytes:
        name = self.new_name()
        record = {"type": name, "source": "agent", "timestamp": self.serial, "data": {"pad": "x" * pad}}
        data = json.dumps(record).encode()
        if len(data) <= LINE_BYTES:
            self.most[name] = 1
        return data + b"\n"

    def lines_of(self, path: Path) -> list[str]:
        with path.open("rb") as file:
            parts, end = [], 0
            # Holes may be huge.
            while True:
                try:
                    start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                except OSError:
                    break
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                parts.append(os.pread(file.fileno(), end - start, start).replace(b"\0", b""))
        data = b"".join(parts)
        whole = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        found = []
        for item in whole:
            with contextlib.suppress(ValueError):
                record = json.loads(item) if len(item) <= LINE_BYTES else None
                if isinstance(record, dict) and "!" not in str(record.get("type", "!")):
                    found.append(record["type"])
        return found

    def finish(self, name: str) -> None:
        """Complete the unfinished line, as nobody would who rotates or removes a file in peace."""
        rest = self.torn.pop(name, b"")
        if rest:
            with self.path(name).open("ab") as file:
                file.write(rest)

    def write(self, name: str, sizes: list[int]) -> None:
        data = self.torn.pop(name, b"") + b"".join(self.new_line(pad) for pad in sizes)
        with self.path(name).open("ab") as file:
            file.write(data)

    def settle(self, kind: str) -> None:
        """Expect what was just done to be told once, within a few scans."""
        self.told.append(kind)
        for _ in range(3):
            self.poll()
        assert [item.kind for item in self.line.incidents] == self.told

    # The reader.

    @rule()
    def poll(self) -> None:
        for path in self.directory.rglob("*"):
            if path.is_file() and path.suffix != ".json":
                for name in self.lines_of(path):
                    self.least[name] = max(1, self.least[name])
        self.line.poll(after_s=3)

    @rule()
    def let_time_pass(self) -> None:
        self.poll()
        self.line.poll(after_s=100)
        self.line.poll(after_s=100)

    @rule()
    def look_only(self) -> None:
        self.line.tail.scan()

    @rule()
    def restart(self) -> None:
        self.line.restart()

    @rule()
    def crash_in_a_batch(self) -> None:
        self.line.tail.scan()
        batch = self.line.intake.live()
        # What died with the batch is found again.
        del batch
        self.line.restart()

    # Normal life.

    @rule(name=names, sizes=pads)
    def append(self, name: str, sizes: list[int]) -> None:
        self.write(name, sizes)

    @rule(name=names, pad=st.sampled_from(PADS), share=st.floats(0.01, 0.99))
    def tear(self, name: str, pad: int, share: float) -> None:
        self.finish(name)
        data = self.new_line(pad)
        cut = max(1, int(len(data) * share))
        with self.path(name).open("ab") as file:
            file.write(data[:cut])
        if cut < len(data):
            self.torn[name] = data[cut:]

    @rule(name=names, data=st.sampled_from([b"\n", b"nonsense\n", b"[1]\n", b"  \n", b"\xff\n", b"\0\n"]))
    def write_garbage(self, name: str, data: bytes) -> None:
        self.finish(name)
        with self.path(name).open("ab") as file:
            file.write(data)

    @rule(name=names, length=st.integers(1024, 1 << 34), pad=st.sampled_from(PADS))
    def leave_a_hole(self, name: str, length: int, pad: int) -> None:
        self.finish(name)
        with self.path(name).open("ab") as file:
            os.truncate(file.fileno(), os.fstat(file.fileno()).st_size + length)
            file.write(self.new_line(pad))

    @rule(name=names)
    def touch(self, name: str) -> None:
        if self.path(name).exists():
            os.utime(self.path(name))

    @rule(name=names, is_down=st.booleans(), is_known=st.booleans())
    def rotate(self, name: str, is_down: bool, is_known: bool) -> None:
        path = self.path(name)
        if not path.exists():
            return
        self.finish(name)
        if is_known:
            # Only a file that has been read is known under a name that says nothing.
            self.poll()
        if is_down:
            self.line.close()
        self.serial += 1
        path.rename(path.with_name(path.name + (f".old{self.serial}" if is_known else f".{self.serial}")))
        if is_down:
            self.write(name, [0])
            self.line.open()

    @rule(
        name=names,
        is_down=st.booleans(),
        is_seen=st.booleans(),
        sizes=st.lists(st.sampled_from(PADS), max_size=8),
        then=st.sampled_from(["", "restart", "crash"]),
    )
    def copytruncate(self, name: str, is_down: bool, is_seen: bool, sizes: list[int], then: str) -> None:
        path = self.path(name)
        if not path.exists():
            return
        self.finish(name)
        self.poll()
        if not path.stat().st_blocks or path.stat().st_size > 1 << 20:
            return
        if is_down:
            self.line.close()
        self.serial += 1
        shutil.copyfile(path, path.with_name(f"{path.name}.{self.serial}"))
        if is_seen and not is_down:
            self.line.tail.scan()
        os.truncate(path, 0)
        if is_down:
            self.line.open()
        if sizes:
            self.write(name, sizes)
        if then == "restart":
            self.restart()
        elif then == "crash":
            self.crash_in_a_batch()
        # Original and copy must be met together once: a copy that vanishes before is nobody's copy.
        self.poll()

    @rule(name=names)
    def copy(self, name: str) -> None:
        path = self.path(name)
        if not path.exists() or path.stat().st_size > 1 << 20:
            return
        self.finish(name)
        self.poll()
        self.serial += 1
        target = self.directory / f"copy{self.serial}.jsonl"
        shutil.copyfile(path, target)
        # A file of its own: it begins like one that is whole.
        copied = self.lines_of(target)
        self.line.poll(after_s=3)
        for line in copied:
            self.most[line] += 1
            self.least[line] += 1

    @rule(name=names, sizes=pads, is_down=st.booleans(), count=st.integers(1, 3))
    def replace_by_a_longer_one(self, name: str, sizes: list[int], is_down: bool, count: int) -> None:
        path = self.path(name)
        if not path.exists():
            return
        self.finish(name)
        self.poll()
        # What is shorter than that may begin alike by chance.
        if not 1024 <= path.stat().st_size <= 1 << 20:
            return
        if is_down:
            self.line.close()
        for _ in range(count):
            temporary = self.base / "temporary"
            temporary.write_bytes(path.read_bytes() + b"".join(self.new_line(pad) for pad in sizes))
            temporary.replace(path)
        if is_down:
            self.line.open()
        # Where nobody held the former file, a whole scan has to tell that it was not renamed.
        self.line.poll(after_s=1)
        self.poll()
        self.poll()

    @rule(name=names, is_recreated=st.booleans())
    def delete_what_was_read(self, name: str, is_recreated: bool) -> None:
        if self.path(name).exists():
            self.finish(name)
            self.poll()
            self.path(name).unlink()
            if is_recreated:
                self.write(name, [0])
            self.poll()

    @rule(name=names)
    def move_away(self, name: str) -> None:
        if self.path(name).exists():
            self.finish(name)
            self.poll()
            self.serial += 1
            self.path(name).rename(self.outside / str(self.serial))
            self.poll()

    @rule()
    def come_back(self) -> None:
        for path in sorted(self.outside.iterdir())[:1]:
            path.rename(self.directory / f"back{path.name}.jsonl")

    @rule()
    def replace_a_document(self) -> None:
        name = self.new_name()
        self.most[name] = self.least[name] = 1
        temporary = self.base / "temporary"
        temporary.write_text(json.dumps({"type": name, "source": "agent", "timestamp": 1, "data": {}}))
        temporary.replace(self.directory / "state.json")
        self.line.poll(after_s=1)

    # Misdeeds.

    def can_harm(self, name: str) -> bool:
        if not self.path(name).exists():
            return False
        self.finish(name)
        for _ in range(3):
            self.poll()
        return self.path(name).stat().st_size > 0

    @rule(name=names, is_down=st.booleans())
    def cut_what_was_read(self, name: str, is_down: bool) -> None:
        if self.can_harm(name):
            if is_down:
                self.line.close()
            os.truncate(self.path(name), 0)
            if is_down:
                self.line.open()
            self.settle("truncated")

    @rule(name=names, sizes=pads)
    def cut_what_was_unread(self, name: str, sizes: list[int]) -> None:
        if self.can_harm(name):
            self.write(name, sizes)
            self.line.tail.scan()
            os.truncate(self.path(name), 0)
            self.settle("gap")

    @rule(name=names, share=st.floats(0, 1), is_down=st.booleans(), is_growing=st.booleans())
    def rewrite(self, name: str, share: float, is_down: bool, is_growing: bool) -> None:
        path = self.path(name)
        if not self.can_harm(name) or path.stat().st_size > 1 << 20:
            return
        data = path.read_bytes()
        places = [at for at in range(len(data)) if data[at] not in b"\n\0!"]
        if not places:
            return
        if is_down:
            self.line.close()
        # It is read again from its start.
        for line in self.lines_of(path):
            self.most[line] += 1
        with path.open("r+b") as file:
            file.seek(places[int(share * (len(places) - 1))])
            file.write(b"!")
        os.utime(path, ns=(0, self.serial))
        if is_down:
            self.line.open()
        if is_growing:
            self.write(name, [0])
        self.settle("rewritten")

    @rule(name=names, sizes=pads)
    def remove_while_nobody_looks(self, name: str, sizes: list[int]) -> None:
        if self.can_harm(name):
            self.write(name, sizes)
            self.line.close()
            self.path(name).unlink()
            self.line.open()
            self.settle("missing")


@pytest.mark.hypothesis
def test_every_line_counts_once_and_every_misdeed_is_told(make_line):
    machine = type("Machine", (Files,), {"make_line": staticmethod(make_line)})
    few = settings(max_examples=settings.default.max_examples // 2, stateful_step_count=25)
    run_state_machine_as_test(machine, settings=few)


def grown_beyond_its_copy(files: Files) -> None:
    files.begin(max_open=2)
    files.write_garbage(name="a.jsonl", data=b"\n")
    files.copytruncate(name="a.jsonl", is_down=False, is_seen=True, sizes=[0], then="")


def rewritten_beside_its_copy(files: Files) -> None:
    grown_beyond_its_copy(files)
    files.rewrite(name="a.jsonl", share=0.0, is_down=False, is_growing=False)


def replaced_on_the_inode_of_a_deleted_one(files: Files) -> None:
    files.begin(max_open=1)
    files.append(name="a.jsonl", sizes=[0])
    files.delete_what_was_read(name="a.jsonl", is_recreated=False)
    files.append(name="a.jsonl", sizes=[0, 900])
    files.replace_by_a_longer_one(name="a.jsonl", sizes=[0], is_down=False, count=1)


@pytest.mark.parametrize(
    "sequence",
    [grown_beyond_its_copy, rewritten_beside_its_copy, replaced_on_the_inode_of_a_deleted_one],
    ids=lambda sequence: sequence.__name__,
)
def test_sequences_that_once_went_wrong(make_line, sequence):
    # File systems give inodes as they like: more than once.
    for _ in range(3):
        files = type("Machine", (Files,), {"make_line": staticmethod(make_line)})()
        try:
            sequence(files)
        finally:
            files.teardown()
