"""Process logs: one line a record, nothing unescaped, and never a reason to stop."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from sentineld import log
from sentineld.log import Reporter
from sentineld.visible import visible

ROOT = Path(__file__).parent.parent

HOSTILE = [
    "\x1b[2J\x1b]0;title\x07",
    "line\nline",
    "cr\rover",
    "tab\tbed",
    "\x9b31mred",
    "\u202egnp.exe",
    "\u2028\u2029\x85",
    "\ud800",
    "\x00nul",
    "\x7f",
    "\u200b\ufeff",
    "\u2066isolated\u2069",
    "\u3164\ufe0f\U000e0100\u034f",
    "\U000e0041\U000e007f",
    "k=v event=forged",
    '{"event": "forged"}',
    "\\x1b",
    "x" * 1_000_000,
    "%s %d {0}",
]


@pytest.fixture(autouse=True)
def _reset():
    yield
    structlog.reset_defaults()


def written(form: str, **fields: object) -> str:
    stream = io.StringIO()
    log.configure("debug", form, stream)
    structlog.get_logger().warning("an_event", **fields)
    return stream.getvalue()


def test_a_line_stands_below_the_records_until_it_is_taken_away(monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        log.configure("debug", "json")
        log.show("10 %")
        structlog.get_logger().warning("an_event")
        log.show("20 %")
        log.show("")
        log.show("")
        structlog.get_logger().warning("another")

    text = (tmp_path / "log").read_bytes().decode()
    first, second, third, fourth, rest = text.split("\r\x1b[K")
    assert (first, second, fourth) == ("", "10 %", "20 %")
    record, _, line = third.partition("\n")
    assert (json.loads(record)["event"], line) == ("an_event", "10 %")
    assert json.loads(rest)["event"] == "another"


def test_a_terminal_that_takes_nothing_is_not_waited_for(monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        # The buffer of a terminal holds a few thousand bytes.
        for number in range(10_000):
            log.show(f"{number} %" + "." * 60)
        assert log.records_lost() == 0
        os.close(ours)


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_an_agent_supplies_leaves_unescaped(form, text):
    output = written(
        form,
        cause=f"x {text}",
        given={"path": text, text: 1, "list": [text, {"deep": text}]},
        error=text,
        raw=text.encode("utf-8", "surrogatepass"),
    )

    assert output.endswith("\n")
    assert output.count("\n") == 1
    # Colours are off where the stream is no terminal, so no escape at all may be left.
    assert output[:-1].isprintable()
    assert len(output) < 10_000


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_json_records_stay_one_object_with_the_same_event(text):
    document = json.loads(written("json", given={"agent": text}))

    assert document["event"] == "an_event"
    assert document["given"]["agent"] == visible(text)


def test_a_traceback_stays_on_one_line():
    stream = io.StringIO()
    log.configure("debug", "json", stream)
    try:
        int("\x1b[31m")
    except ValueError:
        structlog.get_logger().exception("failed")

    assert stream.getvalue().count("\n") == 1
    assert "ValueError" in json.loads(stream.getvalue())["exception"]


def test_visible_text_is_cut_and_readable():
    assert visible("plain text, äöü") == "plain text, äöü"
    assert visible("a\nb\x1b\x9b\u202e\ud800") == r"a\nb\x1b\x9b\u202e\ud800"
    assert visible("x" * 500) == "x" * 400 + "..."


def run(program: str, **more: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-c", program], timeout=120, check=False, **more)  # type: ignore[call-overload]


_PROGRAM = """
import structlog, sys
from sentineld import log
log.configure("info", "json")
for n in range(1000):
    structlog.get_logger().info("an_event", n=n, text="x" * 100)
print("alive")
"""


def test_a_full_disk_behind_stderr_does_not_stop_the_process():
    with open("/dev/full", "wb") as full:
        done = run(_PROGRAM, stdout=subprocess.PIPE, stderr=full)

    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_a_closed_stderr_does_not_stop_the_process():
    read, write = os.pipe()
    os.close(read)
    done = run(_PROGRAM, stdout=subprocess.PIPE, stderr=write)
    os.close(write)

    assert (done.returncode, done.stdout) == (0, b"alive\n")


@pytest.mark.parametrize("kind", ["pipe", "pair", "shared"])
def test_a_reader_that_does_not_read_does_not_hold_up_the_process_and_is_told_of_the_loss(kind):
    # Longer than what a pipe takes as a whole.
    program = _PROGRAM.replace('"x" * 100', '["x" * 300] * 20')
    program = program.replace('print("alive")', 'print("alive", flush=True); sys.stdin.read(1)')
    program += 'structlog.get_logger().info("last")'
    if kind == "shared":
        # Where a second description cannot be had, as of a pipe of another user.
        program = program.replace("log.configure", "log._unblocked = lambda fd: (None, None); log.configure")
    reader, writer = (end.detach() for end in socket.socketpair()) if kind == "pair" else os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer
    ) as process:
        os.close(writer)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"alive\n"
        os.set_blocking(reader, False)
        errors = b"".join(iter(lambda: read_some(reader), b""))
        os.set_blocking(reader, True)
        process.stdin.write(b"x")
        process.stdin.flush()
        errors += b"".join(iter(lambda: os.read(reader, 65_536), b""))
    os.close(reader)
    records = [json.loads(line) for line in errors.splitlines()]
    kept = [record["n"] for record in records[:-1]]

    assert 15 < len(kept) < 1000
    assert kept == list(range(len(kept))), "the first ones, in their order, none torn"
    assert records[-1]["event"] == "last"
    assert records[-1]["records_dropped"] == 1000 - len(kept)


def read_some(fd: int) -> bytes:
    try:
        return os.read(fd, 65_536)
    except BlockingIOError:
        return b""


def test_what_waits_is_written_at_the_end_of_the_process():
    program = _PROGRAM.replace("range(1000)", "range(250)").replace('"x" * 100', '"x" * 300')
    program = program.replace('print("alive")', 'print("alive", flush=True)')
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"alive\n"
        records = [json.loads(line) for line in process.stderr.read().splitlines()]

    assert [record["n"] for record in records] == list(range(250))


def test_a_reader_that_never_reads_delays_the_end_of_the_process_by_a_second_only():
    reader, writer = os.pipe()
    began = time.monotonic()
    done = run(_PROGRAM, stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    os.close(reader)

    assert (done.returncode, done.stdout) == (0, b"alive\n")
    assert time.monotonic() - began < 60


def test_a_process_without_stderr_has_no_log():
    done = run(_PROGRAM, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2))

    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_the_descriptor_that_others_share_stays_blocking():
    program = _PROGRAM + "import os; assert os.get_blocking(2); print('blocking')"
    done = run(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    assert done.stdout == b"alive\nblocking\n"


def test_configuring_again_opens_nothing_new_and_loses_nothing():
    program = """
import os, structlog, sys
from sentineld import log
log.configure("info", "json")
before = len(os.listdir("/proc/self/fd"))
for n in range(300):
    log.configure("info", "json")
    structlog.get_logger().info("an_event", n=n, text="x" * 300)
assert len(os.listdir("/proc/self/fd")) == before
print("alive", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"alive\n"
        records = [json.loads(line) for line in process.stderr.read().splitlines()]

    assert [record["n"] for record in records] == list(range(300))


def test_what_libraries_and_the_interpreter_say_becomes_records_too():
    program = """
import logging, threading, time, warnings
from sentineld import log
log.configure("info", "json")
log.catch_strays(lambda: time.monotonic_ns() // 1000)
for _ in range(3):
    logging.getLogger("library").warning("a \x1b[2J %s", "b\\nc")
logging.getLogger("library").info("nothing to tell")
warnings.warn("odd \x1b")
thread = threading.Thread(target=lambda: [][1], name="worker \x1b")
thread.start()
thread.join()
raise ValueError("at the \x9bend\\n")
"""
    done = run(program, stderr=subprocess.PIPE)
    records = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.returncode == 1
    assert [record["event"] for record in records] == ["library_warning"] * 2 + ["crashed"] * 2
    assert records[0]["given"]["message"] == r"a \x1b[2J b\nc"
    assert [record["thread"] for record in records[2:]] == [r"worker \x1b", "main"]
    assert "IndexError" in records[2]["exception"]
    assert "at the \\x9bend" in records[3]["exception"]
    assert done.stderr.isascii()


class Times:
    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us


def reports(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_cause_is_told_once_a_minute_and_what_was_left_out_is_counted():
    stream, times = io.StringIO(), Times()
    log.configure("info", "json", stream)
    reporter = Reporter(times)
    for _ in range(10):
        reporter.warn("an_event", "same cause")
    times.now_us += 61_000_000
    reporter.warn("an_event", "same cause")

    first, second = reports(stream)
    assert "left_out_before" not in first
    assert second["left_out_before"] == 9


def test_causes_beyond_the_rate_are_left_out():
    stream, times = io.StringIO(), Times()
    log.configure("info", "json", stream)
    reporter = Reporter(times)
    for n in range(10_000):
        reporter.warn("an_event", f"cause {n}")
    reporter.warn("other_event", "cause")

    assert len(reports(stream)) == 61
    assert reports(stream)[-1]["event"] == "other_event"


def test_a_clock_that_is_set_back_silences_nothing():
    stream, times = io.StringIO(), Times()
    log.configure("info", "json", stream)
    reporter = Reporter(times)
    reporter.warn("an_event", "cause")
    times.now_us -= 3_600_000_000
    reporter.warn("an_event", "cause")

    assert len(reports(stream)) == 2


# The table of event names.


def table() -> dict[str, str]:
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z_]+)` \| [a-z]+ \| (.*?) \|", text, re.MULTILINE))


def source() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "sentineld").rglob("*.py")))


def test_the_table_lists_exactly_the_events_that_the_source_writes():
    code = source()
    calls = re.findall(
        r"(?:_log|_reporter)\.(?:debug|info|warning|warn|error|exception)\(\s*\"([a-z_]+)\"", code
    )
    calls += re.findall(r"fault\(\s*\"[a-z_]+\",\s*\"([a-z_]+)\"", code)
    (names,) = re.findall(r"_EVENT_NAMES = \{(.*?)\}", code, re.DOTALL)
    calls += re.findall(r": \"([a-z_]+)\"", names)
    calls += re.findall(r"_EVENT_NAMES\.get\([^)]*, \"([a-z_]+)\"\)", code)

    calls += re.findall(r"\btell\(\"([a-z_]+)\",", (ROOT / "sentineld" / "recovery.py").read_text())

    assert set(calls) == set(table())


def test_the_table_names_the_fields_that_the_source_writes():
    code = source()
    for name, fields in table().items():
        for field in re.findall(r"`([a-z_.]+)`", fields):
            assert re.search(rf"\b{field.split('.')[-1]}\b[\"]?\s*[=:]", code), f"{name}: {field}"


def test_the_table_of_trouble_lists_exactly_the_kinds_that_the_tail_tells():
    text = (
        (ROOT / "docs" / "logs.md").read_text(encoding="utf-8").partition("## Kinds of telemetry trouble")[2]
    )
    code = source()
    told = set(re.findall(r"(?:Trouble|vidence\.tell|vidence\.charge)\(\s*\"([a-z_]+)\"", code))
    told |= set(re.findall(r"(?:RefusedError\(|else )\"([a-z_]*(?:zstd|compressed)[a-z_]*)\"", code))
    told |= set(re.findall(r"\"([a-z_]+)\": \"", code.partition("_VERDICTS = {")[2].partition("}")[0]))

    assert told == set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
