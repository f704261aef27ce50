"""The compiled kernel and its references in Python give the same bits, whatever comes in."""

import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from copy import deepcopy

import pytest
from activity import BY_ACTIVITY
from hypothesis import example, given
from hypothesis import strategies as st

from sentineld import kernel
from sentineld.batch import Part, combine
from sentineld.config import Config
from sentineld.decode import decode_lines
from sentineld.entropy import batch_entropy_units, byte_entropy, entropy_units, terms
from sentineld.event import OPERATION_KIND, OTHER
from sentineld.instant import parse_iso
from sentineld.kernel import span
from sentineld.monitor import NEVER_US, BehavioralMonitor
from sentineld.native import NativeMapping
from sentineld.replay import replay
from sentineld.rows import Rows
from sentineld.values import from_otel
from sentineld.window import Window

compiled = kernel.compiled
pytestmark = pytest.mark.skipif(compiled is None, reason="the kernel is not built here")

AT = 1_763_858_410
#: Tens of seconds, the width of a bucket of a window.
TEN_US = 10_000_000


@contextmanager
def reference():
    """Let the references run."""
    kernel.compiled = None
    try:
        yield
    finally:
        kernel.compiled = compiled


# Entropy.


@given(st.lists(st.binary(max_size=300)))
@example([b"", b"\0", b"a" * 4095, b"a" * 4096, bytes(range(256)) * 16, b"\xff" * 5000])
def test_entropies_are_the_references(payloads):
    assert compiled.entropy(payloads, terms()) == [
        entropy_units(byte_entropy(payload)) if len(payload) < 4096 else -1 for payload in payloads
    ]
    found = batch_entropy_units(payloads)
    with reference():
        assert found == batch_entropy_units(payloads)


def test_a_payload_of_ten_megabytes_is_counted_as_well():
    payload = random.Random(1).randbytes(10_000_000)

    assert batch_entropy_units([b"a", payload]) == [0, entropy_units(byte_entropy(payload))]


# Native lines.


def rows_of_lines(data, base=1):
    """Return the rows of lines that the kernel takes, else None."""
    rows = NativeMapping()._rows_of_plain_lines(data, base, "")
    if rows is not None:
        assert all(len(column) == len(rows) for column in (rows.at_us, rows.agent_ids, rows.event_types))
    return rows


def rows_one_by_one(data, base=1):
    """Return the rows that the reference makes of lines, and what it has against them."""
    with reference():
        decoded = decode_lines(data, base)
        rows, rejects = NativeMapping().rows(decoded)
    return rows, [*decoded.rejects, *rejects, *decoded.ignored]


def check(data):
    """Compare both over lines that the kernel need not take."""
    found = rows_of_lines(data)
    if found is not None:
        rows, complaints = rows_one_by_one(data)
        assert complaints == []
        assert found == rows
    return found


def line(data="{}", source="a", event_type="file_read", timestamp=AT, **more):
    members = {"type": event_type, "timestamp": timestamp, "source": source} | more
    return (json.dumps(members)[:-1] + ', "data": ' + data + "}\n").encode("utf-8", "surrogatepass")


#: What programs write.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18) + 1, 10**18 - 1)
    | st.decimals(-(10**8), 10**8, places=3).map(float)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)
PLAIN = st.builds(
    lambda data, source, event_type, timestamp, is_ascii, separators: line(
        json.dumps(data, ensure_ascii=is_ascii, separators=separators), source, event_type, timestamp
    ),
    st.dictionaries(st.sampled_from(["path", "z", "a", "message", "é", "", "}"]), VALUES, max_size=4),
    st.text("aZ9._:/@+~-", min_size=1, max_size=12),
    st.sampled_from(["file_read", "api_call", "note", "two words", "x" * 128]),
    st.integers(1, 10**11 - 1)
    | st.integers(1, 10**10).map(lambda number: number / 1000)
    | st.sampled_from(["2025-11-23T00:40:10Z", "2025-11-23T00:40:10.123456+02:00", "nonsense", ""]),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\r")]),
)


@given(st.lists(PLAIN, min_size=1, max_size=4))
def test_rows_of_what_programs_write_are_the_references(lines):
    check(b"".join(lines))


#: Numbers, texts and objects of which the kernel must say whether they stand as they would be written.
SPELLINGS = [
    *(
        "1",
        "-1",
        "0",
        "-0",
        "00",
        "01",
        "1.0",
        "-1.0",
        "0.0",
        "-0.0",
        "1.50",
        "0.05",
        "0.001",
        "0.0001",
        "1.",
    ),
    *(
        "123456789012.345",
        "99999999999999.9",
        "0.100000000000001",
        "123456789012345.5",
        "1234567890.12345678",
    ),
    *("0.3333333333333333", "4e2", "1E5", "9" * 18, "9" * 19, "-" + "9" * 18, "1e400", ".5", "+1", "1_0"),
    *("NaN", "Infinity", "nul", "nulll", "true", "tru", "false", "null", '"', '"a', '""', r'"\u0041"'),
    *(r'"\/"', r'"\""', r'"\\"', r'"\u0022"', r'"\n\t\r\b\f"', r'"\x"', r'"\u00e9"', r'"\u00E9"', '"é"'),
    *(r'"\ud800"', r'"\ud83d\ude00"', r'"\ud83d\u0041"', r'"\ude00"', r'"\ud83d"', r'"\u12"', r'"\u001f"'),
    *('"\x7f"', '"\x1f"', '"\0"', '"\ud800"', "[]", "[1,]", "[,]", "[1 2]", "[[[[[[[1]]]]]]]"),
    *("[" * 8 + "]" * 8, "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40, '{"a":1,"a":2}', '{"a":1,}'),
    *('{"é":1,"\\u00e9":2}', '{"/":1,"\\/":2}', "{a:1}", '{"a" 1}', '{"tool":1}', '[{"session":1,"tool":2}]'),
    *('"' + "y" * 4060 + '"', '"' + "y" * 4200 + '"', '"' + "é" * 3000 + '"', '"' + "y" * 70_000 + '"'),
    "{" + ",".join(f'"{number}":1' for number in range(70)) + "}",
    "{" + ",".join(f'"{number}":1' for number in range(60)) + "}",
]


@pytest.mark.parametrize("value", SPELLINGS, ids=lambda value: value[:24].encode("unicode_escape").decode())
def test_a_value_in_every_spelling(value):
    for data in ("{" + f'"k":{value}' + "}", value, '{"tool":' + value + "}"):
        check(line() + line(data) + line())


TIMES = [
    *("0", "-1", "0.5", "0.0000000001", "99999999999", "99999999999.999", "100000000000", "1763858410000"),
    *(
        "1763858410.123456",
        "1763858410.12345",
        "1763858410.9999999",
        "01",
        "1e9",
        "1763858410.",
        "null",
        "true",
    ),
    *('"x"', '""', '"2025-11-23T00:40:10Z"', '"2025-11-23T00:40:10.5+01:00"', '"\\u0032025-11-23T00:40:10Z"'),
    *("[]", "9999999999999999999999", "1.0000005", "0.0000005", "0.0000015"),
]


@pytest.mark.parametrize("timestamp", TIMES)
def test_a_time_in_every_spelling(timestamp):
    text = '{"type":"a","timestamp":' + timestamp + ',"source":"a","data":{}}\n'

    check(text.encode())
    check(line() + text.encode())


@pytest.mark.parametrize(
    "text",
    [
        *(
            '{"type":"a","source":"a","timestamp":1}',
            '{"type":"a","source":"a","timestamp":1,"data":{},"x":1}',
        ),
        '{"type":"a","type":"b","source":"a","timestamp":1,"data":{}}',
        '{"type":"a","source":"a","timestamp":1,"data":{},"data":{"a":1}}',
        '{"type":"a","source":"a","timestamp":1,"data":{}}{"type":"a"}',
        '{"type":"a","source":"a","timestamp":1,"data":{}},',
        '{"type":"a","source":"a","timestamp":1,"data":{}\r',
        *(
            ' {"type":"a","source":"a","timestamp":1,"data":{}}',
            '{"type":"a","source":"a b","timestamp":1,"data":{}}',
        ),
        '{"type":"tool_call","source":"a","timestamp":1,"data":{}}',
        '{"type":"a\\n","source":"a","timestamp":1,"data":{}}',
        '{"type":"é","source":"a","timestamp":1,"data":{}}',
        '{"type":"a","source":"' + "a" * 129 + '","timestamp":1,"data":{}}',
        *("", "{", "{}", "\0", '\ufeff{"type":"a","source":"a","timestamp":1,"data":{}}'),
    ],
)
def test_lines_that_are_no_common_records_are_left_to_the_reference(text):
    data = line() + text.encode() + b"\n" + line()
    is_plain = text.startswith(" ")

    assert (check(data) is None) is not is_plain


def test_common_records_are_not_left_to_the_reference():
    data = [
        line(),
        line(
            '{"path": "/a b", "n": 1, "f": 0.25, "ok": true, "list": [1, {"a": null}]}', timestamp=AT + 0.25
        ),
        line(r'{"text": "\u00e9\ud83d\ude00 \"quoted\" \\ \n"}', timestamp="2025-11-23T00:40:10Z"),
        line('{"text": "é😀"}', source="a" * 128, event_type="two words"),
        line().replace(b"\n", b"\r\n"),
    ]

    for found in (check(one) for one in [*data, b"".join(data)]):
        assert found is not None


@given(st.lists(PLAIN, min_size=1, max_size=3), st.data())
def test_bytes_that_somebody_changed_never_pass_for_others(lines, data):
    text = bytearray(b"".join(lines))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 4)))
        text[at:until] = data.draw(
            st.binary(max_size=3)
            | st.sampled_from(
                [b'"', b"\\", b"{", b"}", b",", b"\n", b"\0", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90"]
            )
        )

    check(bytes(text) + b"\n")


@given(st.binary(max_size=300))
def test_arbitrary_bytes_do_no_harm(data):
    check(data + b"\n")
    assert data.endswith(b"\n") or rows_of_lines(data) is None


@pytest.mark.parametrize(
    "unit", [b"{", b'"', b"[", b"\\", b"\n", b"0", b'{"a":', b"{}\n", b" ", b"\0", b"\xff"]
)
def test_ten_megabytes_of_anything_do_no_harm(unit):
    assert rows_of_lines(unit * (10_000_000 // len(unit)) + b"\n") is None
    assert rows_of_lines(line()[:-2] + unit * (10_000_000 // len(unit)) + b"\n") is None


def test_every_beginning_of_a_record_is_refused():
    whole = line(r'{"k": ["\u00e9\ud83d\ude00", 1.5, true, {"a": null}]}')

    assert rows_of_lines(whole) is not None
    for length in range(len(whole) - 1):
        assert rows_of_lines(whole[:length] + b"\n") is None
        assert rows_of_lines(whole[:length]) is None


# Observations by agent.


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.integers(0, 2))), st.booleans())
def test_observations_by_agent_are_the_references(events, has_facts):
    def part(start):
        times = [AT + at for at, _, _ in events]
        rows = Rows(times, [name for _, name, _ in events], [kind for _, _, kind in events])
        rows.entropies, rows.offsets = times.copy(), [start + number for number in range(len(events))]
        rows.event_types = ["t"] * len(events)
        if has_facts and events:
            rows.facts = {len(events) - 1: "facts"}
        return Part(7, 1, start, start + len(events), 0, AT + 4, 0, True, rows)

    def inputs():
        return combine([part(0), part(len(events))], lambda owner, name: (owner, name.replace("c", "a")))

    found = inputs()
    with reference():
        wanted = inputs()
    assert found == wanted
    assert list(found.observations) == list(wanted.observations)


@given(st.lists(st.integers(-(1 << 62), 1 << 62), min_size=1))
def test_the_span_of_times_is_the_references(times):
    run = [(at, 0, 0, "t", 1, 2, None) for at in times]

    assert span(run) == span(tuple(run)) == (min(times), max(times))


# The window over a run.

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [0, 1, TEN_US // 2, TEN_US, 3 * TEN_US, 31 * TEN_US, 400 * TEN_US, -TEN_US, -40 * TEN_US]
        ),
        st.integers(0, 2),
        st.sampled_from([0, 1, 123_456_789, 600_000_000, 1_000_000_000]),
    ),
    max_size=40,
)


def run_of(steps, at=AT * 1_000_000):
    run = []
    for step, kind, units in steps:
        at = max(0, at + step)
        run.append((at, kind, units, "t", 1, len(run), None))
    return run


def followed(monitor, run, deadline_us, pieces):
    """Follow a run to its end, as ``step`` does; return everything that can be seen of it."""
    window, clock_us, level, seen = monitor.new_window(), run[0][0] if run else 0, 1, []
    for start in range(0, len(run), pieces):
        piece, position = run[start : start + pieces], 0
        while position < len(piece):
            stop = monitor.observe(window, clock_us, level, piece, position, deadline_us)
            seen.append((stop, deepcopy(window), deepcopy(list(window.buckets.items()))))
            position, clock_us = stop.position, stop.clock_us
            if stop.crossing is not None:
                level = stop.crossing.level
            elif position < len(piece):
                deadline_us = NEVER_US
    return seen


MONITORS = st.sampled_from(
    [
        BehavioralMonitor(),
        BehavioralMonitor(saturation=1, suspicious_threshold=0.2, anomalous_threshold=0.4),
        BehavioralMonitor(entropy_weight=1.0, file_weight=0.0, network_weight=0.0, suspicious_threshold=0.5),
        BehavioralMonitor(saturation=7, window_seconds=0.03),
    ]
)


@given(MONITORS, STEPS, st.integers(1, 40), st.sampled_from([NEVER_US, AT * 1_000_000 + 5 * TEN_US]))
def test_what_a_window_takes_in_is_the_references(monitor, steps, pieces, deadline_us):
    run = run_of(steps)

    found = followed(monitor, run, deadline_us, pieces)

    with reference():
        assert followed(monitor, run, deadline_us, pieces) == found


def taken(window, run, *, newest=None, parts=None, start=0, clock_us=0, width=TEN_US):
    monitor = BehavioralMonitor()
    return compiled.observe(
        run, start, NEVER_US, clock_us, window.newest if newest is None else newest, width, window.buckets,
        [window.events, window.file_ops, window.network_ops, window.entropy_units],
        *(parts or monitor._parts), 0.3, -1.0, 0.5,
    )  # fmt: skip


def test_a_run_in_order_is_not_left_to_the_reference():
    monitor, window = BehavioralMonitor(), Window(newest=AT * 1_000_000 // TEN_US)
    run = run_of([(TEN_US // 3, number % 3, 600_000_000) for number in range(500)])

    assert taken(window, run) is not None
    assert monitor.observe(window, 0, 1, run).position > 0


@pytest.mark.parametrize(
    ("members", "buckets"),
    [
        *[({"events": most}, {}) for most in (-1, 1 << 53, 1 << 70)],
        *[({"entropy_units": most}, {}) for most in (-1, (1 << 53) + 1, 1 << 70)],
        ({"events": 1, "file_ops": 1}, {3: [1, 2, 0, 0]}),
        ({"events": 1}, {3: [1, 0, 0, -5]}),
        ({"events": 9}, {3: [1, 0, 0]}),
        ({"events": 9}, {3: (1, 0, 0, 0)}),
        ({"events": 9}, {3: [1, 0, 0, 1.0]}),
        ({"events": 9}, {3: [1 << 80, 0, 0, 0]}),
        ({"events": 9}, {"3": [1, 0, 0, 0]}),
        ({"events": 9}, {1 << 80: [1, 0, 0, 0]}),
        ({"events": 9}, {40: [1, 0, 0, 0]}),
        ({"events": 9}, {3: [1, 0, 0, 0], 2: [1, 0, 0, 0]}),
        ({"events": 9}, {number: [1, 0, 0, 0] for number in range(-50, 4)}),
    ],
)
def test_a_window_that_no_window_can_be_is_left_to_the_reference(members, buckets):
    window = Window(newest=3, buckets=buckets, **members)
    before = deepcopy(buckets)

    # The first is in the oldest bucket, the second lets that leave.
    assert taken(window, run_of([(3 * TEN_US, 1, 5), (400 * TEN_US, 1, 5)], 0)) is None
    assert window.buckets == before


@pytest.mark.parametrize(
    "item",
    [(-1, 0, 0), (1 << 61, 0, 0), (1 << 70, 0, 0), (0, -1, 0), (0, 256, 0), (0, 0, -1), (0, 0, 10**9 + 1),
     (0, 0, 1 << 70), (0.5, 0, 0), ("0", 0, 0), (), (0, 0), [0, 0, 0], None],
)  # fmt: skip
def test_an_observation_that_none_can_be_is_left_to_the_reference(item):
    assert taken(Window(newest=0), [item]) is None


def test_what_comes_late_between_two_buckets_is_left_to_the_reference():
    run = run_of([(0, 1, 5), (2 * TEN_US, 1, 5), (-TEN_US, 1, 5)])

    assert taken(Window(newest=0), run[:2]) is not None
    assert taken(Window(newest=0), run) is None


JUNK = [None, 0, -1, 1 << 70, 1.5, "x", b"x", [], [None], (), {}, {"a": None}, b"\0" * 8, b"\0" * 32_768]


@pytest.mark.parametrize(
    "name", ["entropy", "native_lines", "group", "span", "observe", "attributes", "instant"]
)
def test_arguments_of_any_type_are_refused_without_harm(name):
    rng = random.Random(7)
    function = getattr(compiled, name)
    for _ in range(3000):
        count = {"entropy": 2, "native_lines": 5, "span": 1, "attributes": 3, "instant": 1}.get(name, 0)
        arguments = [rng.choice(JUNK) for _ in range(count)]
        if name == "group":
            arguments = [{}, *(rng.choice([[], ["a"], ["a"], None]) for _ in range(5)), 7, ["a"], None]
        if name == "observe":
            arguments = [
                *(run_of([(0, 1, 5)]), 0, NEVER_US, 0, 0, TEN_US, {}, [0, 0, 0, 0]),
                *(b"\0" * 16, b"\0" * 16, 0.3, 0.1, 0.5),
            ]
            arguments[rng.randrange(13)] = rng.choice(JUNK)
        try:
            function(*arguments)
        except (TypeError, ValueError, OverflowError):
            continue
    with pytest.raises(TypeError):
        function()


def test_lines_end_before_the_end_of_the_file_can_be_counted():
    data = line()

    assert compiled.native_lines(data, (1 << 63) - 1, OPERATION_KIND, OTHER, terms()) is None
    assert compiled.native_lines(data, -1, OPERATION_KIND, OTHER, terms()) is None
    assert compiled.native_lines(data, 1 << 62, OPERATION_KIND, OTHER, terms())[5] == [1 << 62]


# Values of mapped records.

ODD = st.sampled_from([None, True, 1.5, "", "x", "12", " 7", "1_0", "9" * 18, "9" * 19, "٣", [], ["1"], {}])
TYPED = st.dictionaries(
    st.sampled_from(["stringValue", "intValue", "boolValue", "arrayValue"]), ODD | st.text(), max_size=2
)
ATTRIBUTES = st.lists(
    ODD | st.fixed_dictionaries({}, optional={"key": ODD | st.sampled_from(["a", "b"]), "value": ODD | TYPED})
)


@given(ATTRIBUTES)
@example([{"key": "a", "value": {"intValue": "x"}}, {"key": "a", "value": {"stringValue": None}}])
def test_attributes_of_otlp_are_the_references(items):
    with reference():
        wanted = from_otel(items)
    found = from_otel(items)
    assert (found, [*map(type, found.values())]) == (wanted, [*map(type, wanted.values())])


SPELLED = r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-6]\d:[0-6]\d(\.\d{1,9})?[Zz+ ]"


@given(
    st.from_regex(SPELLED, fullmatch=True)
    | st.datetimes().map(lambda at: at.isoformat() + "Z")
    | st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds") + "Z")
    | st.text(min_size=20, max_size=27)
)
@example("2024-02-29T23:59:59.999999Z")
@example("2023-02-29T00:00:00Z")
@example("1900-02-29T00:00:00Z")
@example("0001-01-01T00:00:00Z")
@example("9999-12-31T23:59:59.999999Z")
@example("2024-02-29T23:59:5\ud800Z")
def test_an_instant_is_the_references_where_it_is_read_at_all(text):
    found = compiled.instant(text)
    assert found is None or found == parse_iso(text)


def test_instants_as_programs_write_them_are_read():
    for text in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678901Z"):
        assert compiled.instant(text) == parse_iso(text)


# Which one is used.


def test_one_variable_lets_the_references_run():
    program = "from sentineld import kernel; print(kernel.name())"

    def in_use(**more):
        done = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | more, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert in_use(SENTINELD_KERNEL="") == "compiled"
    assert in_use(SENTINELD_KERNEL="reference") == "reference"


def test_a_replay_starts_without_what_only_the_reference_and_logs_need():
    program = (
        "import sys, sentineld.cli.replay; print(*[n for n in ('numpy', 'structlog') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


# The whole line.


def telemetry(path):
    rng = random.Random(5)
    with path.open("w") as file:
        for number in range(3000):
            record = {
                "type": rng.choice(["file_write", "api_call", "file_read", "note", "model_call"]),
                "source": f"agent-{rng.randrange(9)}",
                "timestamp": AT + number // 4 - rng.choice([0, 0, 0, 0, 45]),
                "data": {
                    "path": f"/srv/é{rng.random()}",
                    "n": rng.randrange(99),
                    "text": "x\n" * rng.randrange(9),
                },
            }
            if number % 500 == 499:
                record["data"]["session"] = "s"
            file.write(json.dumps(record, ensure_ascii=number % 2 == 0) + "\n")


@pytest.mark.parametrize("mode", ["activity", "learned"])
def test_a_replay_decides_and_keeps_the_same_with_and_without(tmp_path, mode):
    telemetry(tmp_path / "t.jsonl")
    config = BY_ACTIVITY if mode == "activity" else Config()

    def outcome():
        replayed = replay([str(tmp_path)], config)
        states = [tuple(row) for row in replayed.store.agents()]
        return replayed.decisions, replayed.sessions.peaks, states

    found = outcome()
    with reference():
        wanted = outcome()
    assert found == wanted
    assert found[2]
    assert mode == "learned" or found[0]
