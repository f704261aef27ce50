"""Process logs: one line a record, nothing unescaped, and never a reason to stop."""

import io
import json
import os
import re
import subprocess
import sys
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
    return subprocess.run([sys.executable, "-c", program], timeout=50, check=False, **more)  # type: ignore[call-overload]


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


def test_a_reader_that_does_not_read_does_not_hold_up_the_process_and_is_told_of_the_loss():
    program = _PROGRAM.replace("range(1000)", "range(250)").replace('"x" * 100', '"x" * 300')
    program = program.replace('print("alive")', 'print("alive", flush=True); sys.stdin.read(1)')
    program += 'structlog.get_logger().info("last")'
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"alive\n"
        os.set_blocking(process.stderr.fileno(), False)
        errors = process.stderr.read()
        os.set_blocking(process.stderr.fileno(), True)
        errors += process.communicate(b"x", timeout=30)[1]
    records = [json.loads(line) for line in errors.splitlines()]
    kept = len(records) - 1

    assert 100 < kept < 250
    assert records[-1]["event"] == "last"
    assert records[-1]["records_dropped"] == 250 - kept


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
    code = (ROOT / "sentineld" / "tail.py").read_text(encoding="utf-8")
    told = set(re.findall(r"Trouble\(\s*\"([a-z_]+)\"", code))
    told |= set(re.findall(r"\"([a-z_]+)\": \"", code.partition("_VERDICTS = {")[2].partition("}")[0]))

    assert told == set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
