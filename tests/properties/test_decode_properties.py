"""Decoding under attack: the fast way equals the slow way, nothing is lost, no duplicate key passes."""

import json
import math
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentineld import decode
from sentineld.decode import Reject, decode_document, decode_line, decode_lines

# Pieces from which both good and bad JSON grows: every escape and every spelling of a quotation mark.
FRAGMENTS = st.sampled_from(
    [
        *(
            b'{ } [ ] , : " a b \\ 1 null "a" "b" "" \\" \\\\ \\u0022 \\u0061 "\\u0061" "\\u0022" {} "{" "}"'
        ).split(),
        b'"a":1',
        b'"a":{}',
        b'{"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b"\r",
        b" ",
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        "é".encode(),
        "\u2028".encode(),
        b"\\ud800",
        b"\\udc00",
        b'"\\ud83d',
        b'"\\uDC00"',
        b'"\\ud800\\udbff\\udc00"',
        b"\\ud83d\\ude00",
        b"1e999",
        b"NaN",
        b"9" * 30,
        b"{" * 40,
        b'{"a":' * 33 + b"1" + b"}" * 33,
    ]
)
SOUP = st.lists(FRAGMENTS, max_size=8).map(b"".join)

KEYS = st.sampled_from(["a", "b", "\\u0061", "\\u0022", '\\"', "\\\\", "", "\\u0062", "{", "}"])


def _render(pairs):
    return b"{" + b",".join(f'"{key}":{value}'.encode() for key, value in pairs) + b"}"


VALUES = st.recursive(
    st.sampled_from(
        [
            "1",
            "1.5",
            "null",
            '""',
            '"\\""',
            '"\\u0022"',
            '"}"',
            '"{\\"a\\":1}"',
            '"é"',
            "12345678901234567890123",
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(st.tuples(KEYS, inner), max_size=3).map(lambda pairs: _render(pairs).decode()),
    ),
    max_leaves=5,
)
OBJECTS = st.lists(st.tuples(KEYS, VALUES), max_size=4).map(_render)
GOOD = st.dictionaries(
    st.text(max_size=4),
    st.one_of(
        st.text(max_size=6), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none()
    ),
    max_size=4,
).map(lambda record: json.dumps(record, ensure_ascii=False).encode())
#: Two halves of a record, and two records on a line: line ends and values do not fall together.
TORN = st.sampled_from(
    [
        b'{"a":',
        b"1}",
        b'{"a":1}{"b":2}',
        b'{"a":[{}',
        b"{}]}",
        b'{"a":{}',
        b'"b":{}}',
        b'{"a":"}',
        b'{"}',
        b"",
        b"  ",
    ]
)
LINES = st.lists(st.one_of(GOOD, OBJECTS, SOUP, TORN), max_size=6).map(
    lambda lines: [line.replace(b"\n", b" ") for line in lines]
)


class _TwiceError(Exception):
    pass


def _refuse(pairs):
    if len(dict(pairs)) != len(pairs):
        raise _TwiceError
    return dict(pairs)


def has_duplicate_keys(line):
    try:
        json.loads(line, object_pairs_hook=_refuse)
    except _TwiceError:
        return True
    return False


def one_by_one(lines, base):
    records, offsets, rejects, ignored = [], [], [], []
    offset = base
    for line in lines:
        bare = line[3:] if offset == 0 and line.startswith(b"\xef\xbb\xbf") else line
        result = decode_line(bare, offset)
        if result is None:
            ignored.append(offset)
        elif isinstance(result, Reject):
            rejects.append(result)
        else:
            records.append(result)
            offsets.append(offset)
        offset += len(line) + 1
    return records, offsets, rejects, ignored


@settings(max_examples=3 * settings.default.max_examples)
@given(LINES, st.sampled_from([0, 1, 4096]))
def test_a_chunk_decodes_as_its_lines_do(lines, base):
    decoded = decode_lines(b"".join(line + b"\n" for line in lines), base)

    assert (decoded.records, decoded.offsets, decoded.rejects, decoded.ignored) == one_by_one(lines, base)
    assert len(lines) == len(decoded.records) + len(decoded.rejects) + len(decoded.ignored)


@given(st.lists(GOOD, min_size=1, max_size=8), st.sampled_from([b"", b"\r"]))
def test_good_lines_take_the_fast_way_and_come_out_as_json_reads_them(lines, ending):
    data = b"".join(line + ending + b"\n" for line in lines)

    decoded = decode_lines(data, 7)

    assert decode._decode_whole(data, data.split(b"\n")[:-1]) is not None or b"\\u0022" in data
    assert decoded.records == [json.loads(line) for line in lines]
    assert [
        data[offset - 7 :][: len(line)] for offset, line in zip(decoded.offsets, lines, strict=True)
    ] == lines


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(OBJECTS, min_size=1, max_size=4))
def test_no_object_with_a_duplicate_key_passes_and_no_other_is_refused_for_it(lines):
    decoded = decode_lines(b"".join(line + b"\n" for line in lines), 1)

    expected = [line for line in lines if not has_duplicate_keys(line)]
    assert decoded.records == [json.loads(line) for line in expected]
    assert {item.reason for item in decoded.rejects} <= {"duplicate_key"}


@settings(max_examples=2 * settings.default.max_examples)
@given(st.lists(SOUP.map(lambda soup: soup.replace(b"\n", b"")), min_size=1, max_size=3))
def test_whatever_is_accepted_is_what_a_second_reader_reads(lines):
    decoded = decode_lines(b"".join(line + b"\n" for line in lines), 1)

    starts = dict(zip(one_starts(lines), lines, strict=True))
    for record, offset in zip(decoded.records, decoded.offsets, strict=True):
        assert mended(starts[offset]) == record
        assert not has_duplicate_keys(starts[offset])


def mended(line):
    """Read a line as a second reader does that replaces afterwards what cannot be held."""
    return replaced(json.loads(line))


def replaced(value, depth=0):
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, dict | list):
        return value
    if depth == decode.MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {replaced(key): replaced(item, depth + 1) for key, item in value.items()}
    return [replaced(item, depth + 1) for item in value]


def one_starts(lines):
    starts, offset = [], 1
    for line in lines:
        starts.append(offset)
        offset += len(line) + 1
    return starts


@given(st.lists(OBJECTS, max_size=5))
def test_elements_of_a_document_are_judged_one_by_one(elements):
    result = decode_document(b"[" + b",".join(elements) + b"]")

    assert isinstance(result, list)
    assert [isinstance(item, Reject) for item in result] == [has_duplicate_keys(item) for item in elements]
    assert all(
        item == json.loads(element) if not isinstance(item, Reject) else item.offset == number
        for number, (item, element) in enumerate(zip(result, elements, strict=True))
    )


@pytest.mark.parametrize("depth", [31, 32, 33, 500])
@pytest.mark.parametrize("neighbours", [0, 3])
def test_depth_is_limited_the_same_way_in_a_chunk_and_in_a_line(depth, neighbours):
    line = b'{"a":' * depth + b"1" + b"}" * depth

    decoded = decode_lines((line + b"\n") + b'{"b":"{{[["}\n' * neighbours, 1)

    assert decoded.records[0] == mended(line)
    assert len(decoded.records) == neighbours + 1


BRACKETED = st.recursive(
    st.one_of(st.integers(), st.text(alphabet='{}[]",\\ab', max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(alphabet='{]"\\a', max_size=3), inner, max_size=3),
    ),
    max_leaves=12,
)


def depth_of(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(BRACKETED, st.integers(0, 6))
def test_what_is_nested_deeper_is_seen_without_looking_into_strings(value, limit):
    assert decode._is_deeper(json.dumps(value).encode(), limit) == (depth_of(value) > limit)


# Every reader of bytes that others wrote, with the checks that the fuzzer makes.

FUZZ = runpy.run_path(str(Path(__file__).parent.parent / "faults" / "fuzz_decode.py"))
MEMBERS = st.sampled_from(
    [
        b'"type":"file_read"',
        b'"type":"tool_call"',
        b'"type":7',
        b'"type":"a\\ud800"',
        b'"source":"agent-1"',
        b'"source":"a b"',
        b'"source":""',
        b'"timestamp":1763858410',
        b'"timestamp":1e300',
        b'"timestamp":-1e18',
        b'"timestamp":true',
        b'"timestamp":"2025-11-23T00:40:10Z"',
        b'"timestamp":"9999-12-31T23:59:60+25:00"',
        b'"timestamp":99999999999999999999999999999999',
        b'"data":{"session":"\\u0000","tool":"Read","args":{"path":"/root/.ssh/id_rsa"}}',
        b'"data":{"session":18446744073709551616,"tool":{}}',
        b'"data":[[1]]',
        b'"data":null',
        b'"id":"1"',
        b'"event_id":-9223372036854775809',
        b'"record.id":{}',
        b'"type":"plan"',
    ]
)
RECORDS = st.lists(MEMBERS, max_size=6).map(lambda members: b"{" + b",".join(members) + b"}")
CHANGES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 4), st.one_of(st.binary(max_size=4), FRAGMENTS)), max_size=4
)


def changed(seed, changes):
    for at, length, piece in changes:
        seed = seed[: at + 1] + piece + seed[at + 1 + length :]
    return seed


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(st.one_of(RECORDS, SOUP, TORN, st.binary(max_size=20)), max_size=4))
def test_lines_keep_their_promises_whatever_they_hold(lines):
    FUZZ["check"](b"\x00" + b"\n".join(lines))


@settings(max_examples=2 * settings.default.max_examples)
@given(st.lists(st.one_of(RECORDS, SOUP), max_size=4), st.sampled_from([b"[", b"", b"\xef\xbb\xbf["]))
def test_documents_keep_their_promises_whatever_they_hold(elements, start):
    FUZZ["check"](b"\x01" + start + b",".join(elements) + b"]")


@settings(max_examples=3 * settings.default.max_examples)
@given(st.sampled_from(FUZZ["SEEDS"]), CHANGES)
def test_every_reader_keeps_its_promises_for_what_is_almost_right(seed, changes):
    FUZZ["check"](changed(seed, changes))


@given(st.integers(0, 4), st.binary(max_size=200))
def test_every_reader_keeps_its_promises_for_anything(target, data):
    FUZZ["check"](bytes([target]) + data)
