"""Tail against a model, for files whose framing changes: every value counts once, and nothing is a misdeed.

Programs append JSON to ``.json`` files, compact or pretty-printed, and to a stream; they rewrite a document,
rotate, copy and cut; the reader is restarted and killed at any moment.
"""

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
#: Each file is written in one way: indentation, and what stands between values.
FILES = {
    "a.json": (None, b"\n"),
    "b.json": (1, b"\n"),
    "c.json": (2, b""),
    "d.log": (2, b"\n\x1e"),
    "e.log": (None, b","),
}

names = st.sampled_from(sorted(FILES))
pads = st.lists(st.sampled_from([0, 0, 30, 500, 2000]), min_size=1, max_size=6)


class Files(RuleBasedStateMachine):
    """Files that programs write in their own ways, and what a reader must have seen."""

    make_line: Any

    @initialize(max_open=st.sampled_from([1, 512]))
    def begin(self, max_open: int) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.directory = self.base / "telemetry"
        self.directory.mkdir()
        self.line = self.make_line(
            self.directory,
            self.base / "line.db",
            max_open=max_open,
            line_bytes=LINE_BYTES,
            claims=lambda path: "stream" if path.endswith(".log") else None,
        )
        self.serial = 0
        self.torn: dict[str, bytes] = {}
        self.expected: Counter[str] = Counter()
        #: Values in the file that stands at a path.
        self.values: Counter[str] = Counter()

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            return
        try:
            for name in FILES:
                self.finish(name)
            for _ in range(4):
                self.line.poll(after_s=3)
            assert self.line.counted == self.expected
            assert not self.line.incidents
            self.line.check_accounts()
        finally:
            self.line.close()
            shutil.rmtree(self.base)

    def value(self, name: str, pad: int) -> bytes:
        indent, between = FILES[name]
        self.serial += 1
        record = {
            "type": f"e{self.serial}",
            "source": "agent",
            "timestamp": 1,
            "data": {"pad": ["x" * pad, {}]},
        }
        data = json.dumps(record, indent=indent).encode()
        # A document may be as long as it likes, and it is one as long as nothing stands behind it.
        if len(data) <= LINE_BYTES or (name.endswith(".json") and not self.values[name]):
            self.expected[f"e{self.serial}"] += 1
        self.values[name] += 1
        return data + between

    def finish(self, name: str) -> None:
        rest = self.torn.pop(name, b"")
        if rest:
            with (self.directory / name).open("ab") as file:
                file.write(rest)

    @rule()
    def poll(self) -> None:
        self.line.poll(after_s=1)

    @rule()
    def look_only(self) -> None:
        self.line.tail.scan()

    @rule()
    def restart(self) -> None:
        self.line.restart()

    @rule()
    def crash_in_a_batch(self) -> None:
        self.line.tail.scan()
        self.line.intake.live()
        self.line.restart()

    @rule(name=names, sizes=pads, share=st.floats(0, 1))
    def append(self, name: str, sizes: list[int], share: float) -> None:
        self.finish(name)
        # Long first values would be taken for documents only if they were seen alone.
        sizes = [0, *sizes[1:]] if not self.values[name] else sizes
        if not FILES[name][1].strip(b","):
            # What stands behind a long value, in the same line, is skipped with it.
            sizes = [size for size in sizes if size < LINE_BYTES]
        data = b"".join(self.value(name, pad) for pad in sizes)
        cut = int(len(data) * share)
        with (self.directory / name).open("ab") as file:
            file.write(data[:cut])
        self.torn[name] = data[cut:]

    @rule(name=names)
    def rotate(self, name: str) -> None:
        path = self.directory / name
        self.finish(name)
        if path.exists():
            self.serial += 1
            path.rename(path.with_name(f"{name}.{self.serial}"))
            self.values[name] = 0
            # One that takes its place begins when the former one has been met under its new name.
            self.line.poll(after_s=3)

    @rule(name=names)
    def copy_and_cut(self, name: str) -> None:
        path = self.directory / name
        self.finish(name)
        # One object alone is a document, and a copy of one is another one.
        if self.values[name] < 2:
            return
        self.line.poll(after_s=3)
        self.serial += 1
        shutil.copyfile(path, path.with_name(f"{name}.{self.serial}"))
        os.truncate(path, 0)
        self.line.poll(after_s=3)
        self.line.poll(after_s=3)

    @rule(indent=st.sampled_from([None, 2]), is_renamed=st.booleans())
    def rewrite_a_document(self, indent: int | None, is_renamed: bool) -> None:
        self.serial += 1
        record = {"type": f"e{self.serial}", "source": "agent", "timestamp": 1, "data": {}}
        self.expected[f"e{self.serial}"] += 1
        path = self.directory / "state.json"
        target = self.base / "temporary" if is_renamed else path
        target.write_text(json.dumps(record, indent=indent))
        target.replace(path)
        self.line.poll(after_s=3)


@pytest.mark.hypothesis
def test_every_value_counts_once_however_its_file_is_framed(make_line):
    machine = type("Machine", (Files,), {"make_line": staticmethod(make_line)})
    few = settings(max_examples=settings.default.max_examples // 6, stateful_step_count=25)
    run_state_machine_as_test(machine, settings=few)
