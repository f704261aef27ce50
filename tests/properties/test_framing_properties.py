"""Framing and streams, attacked: any values, however written, torn and cut, are found whole and once."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentineld.framing import DOCUMENT, LINES, STREAM, decode_framed, sniff, values
from sentineld.stream import next_values

LINE_BYTES = 300
#: For tests that read through files.
half = settings(max_examples=settings.default.max_examples // 2)

TEXT = st.text(st.sampled_from('a{}[],:"\\ \n\t\x1eé😀\0'), max_size=12)
SCALARS = st.one_of(
    TEXT,
    st.integers(-10, 10**20),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)
#: How a program may write one value: compact, indented, or over several lines without indentation.
WRITTEN = st.builds(
    lambda value, indent, is_ascii: json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode(),
    OBJECTS,
    st.sampled_from([None, None, 0, 2]),
    st.booleans(),
).filter(lambda data: len(data) <= LINE_BYTES)
BETWEEN = st.sampled_from([b"", b"\n", b" ", b"\r\n\r\n", b",", b" , ", b"\x1e", b"\n\x1e", b"],[", b"\t"])
NOISE = st.one_of(
    WRITTEN,
    st.binary(max_size=20),
    st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b'"',
            b"\n{",
            b'{"a":',
            b'{"a":[1}',
            b"\\",
            b"tru",
            b"12",
            b"x" * 400,
            b"\0" * 1100,
        ]
    ),
)


@contextmanager
def opened(data: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.fileno()


def read_all(fd: int, start: int = 0, *, is_skipping: bool = False, limit: int = 64) -> tuple[list[Any], int]:
    """Read as far as there are whole values: (offset, record or reason) of each, and the position."""
    found: list[tuple[int, Any]] = []
    while (
        stretch := next_values(fd, start, is_skipping=is_skipping, limit=limit, line_bytes=LINE_BYTES)
    ) is not None:
        assert stretch.end > start
        decoded = decode_framed(STREAM, stretch.data, start)
        found += zip(decoded.offsets, decoded.records, strict=True)
        rejects = [*decoded.rejects, *([stretch.reject] if stretch.reject else [])]
        found += [(item.offset, item.reason) for item in rejects]
        start, is_skipping = stretch.end, stretch.is_skipping
    return sorted(found, key=lambda item: item[0]), start


@half
@given(st.lists(st.tuples(WRITTEN, BETWEEN), max_size=8), st.sampled_from([1, 16, 64, 4096]))
def test_any_values_one_behind_the_other_are_found_with_their_offsets(pieces, limit):
    data, expected = b"", []
    for value, between in pieces:
        expected.append((len(data), json.loads(value)))
        data += value + between

    with opened(data) as fd:
        found, end = read_all(fd, limit=limit)

    assert found == expected
    assert end == len(data)


@half
@given(st.lists(WRITTEN, max_size=5), st.lists(st.integers(0, 600), max_size=6), st.sampled_from([16, 4096]))
def test_however_it_is_appended_every_value_is_found_once(written, cuts, limit):
    data = b"\n".join(written) + b"\n"
    found, position = [], 0
    with tempfile.TemporaryFile() as file:
        before = 0
        for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
            file.write(data[before:cut])
            file.flush()
            before = cut
            new, position = read_all(file.fileno(), position, limit=limit)
            found += new

    assert [record for _, record in found] == [json.loads(value) for value in written]


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]))
def test_the_elements_of_an_array_are_records(elements, indent):
    flat = [item for item in elements if not isinstance(item, list)]
    data = json.dumps(flat, indent=indent).encode()

    found = values(data)

    assert [json.loads(value) for _, value in found] == flat
    assert all(data[at : at + len(value)] == value for at, value in found)


@half
@given(st.lists(NOISE, max_size=10), st.sampled_from([16, 64, 4096]))
@example([b'{"a": [1}', b"\n", b'{"b": 1}'], 64)
def test_whatever_stands_there_reading_goes_on_and_ends_in_bounds(pieces, limit):
    data = b"".join(pieces)

    with opened(data) as fd:
        found, end = read_all(fd, limit=limit)

    assert end <= len(data)
    assert [offset for offset, _ in found] == sorted({offset for offset, _ in found})
    assert all(0 <= offset < end for offset, _ in found)


@half
@given(st.lists(NOISE, max_size=6), WRITTEN.filter(lambda value: b"\n{" not in value and b"\n[" not in value))
def test_whatever_stood_before_a_value_that_begins_a_line_it_is_found(pieces, value):
    # The second one shows that the first is no part of what was there.
    data = b"".join(pieces) + b"\n\x1e" + value + b"\n" + value + b"\n"

    with opened(data) as fd:
        found, _ = read_all(fd)

    assert [record for _, record in found][-2:] == [json.loads(value)] * 2


@half
@given(st.lists(NOISE, max_size=8), st.sampled_from([16, 64]))
def test_a_stretch_is_cut_into_the_same_values_again_and_a_restart_changes_nothing(pieces, limit):
    data = b"".join(pieces)
    with opened(data) as fd:
        once, end = read_all(fd, limit=limit)
        found, start, is_skipping = [], 0, False
        while (
            stretch := next_values(fd, start, is_skipping=is_skipping, limit=limit, line_bytes=LINE_BYTES)
        ) is not None:
            # Replay has the bytes between two committed positions, and nothing else.
            assert os.pread(fd, stretch.end - start, start)[: len(stretch.data)] == stretch.data
            decoded = decode_framed(STREAM, stretch.data, start)
            assert len(values(stretch.data, start)) == len(decoded.records) + len(decoded.rejects)
            found += decoded.offsets
            start, is_skipping = stretch.end, stretch.is_skipping

    assert start == end
    assert found == [offset for offset, item in once if isinstance(item, dict)]


@given(st.lists(WRITTEN.filter(lambda data: b"\n" not in data), min_size=1, max_size=4), st.integers(0, 2000))
def test_the_beginning_of_lines_is_never_taken_for_anything_else(lines, cut):
    data = b"".join(line + b"\n" for line in lines)

    framing = sniff(data[:cut])

    whole = len(lines[0])
    assert framing == (None if cut < whole else LINES if len(data[:cut].strip()) > whole else DOCUMENT)


@given(WRITTEN, WRITTEN, st.sampled_from([b"", b" ", b"\n", b"\x1e"]), st.integers(1, 100))
def test_one_object_is_a_document_until_another_one_begins_behind_it(first, second, between, share):
    assert sniff(first) == sniff(first + b"\n\n\0\0") == DOCUMENT
    behind = second[:share]
    is_line = b"\n" not in first and between == b"\n"

    assert sniff(first + between + behind) == (LINES if is_line else STREAM)


@given(st.lists(NOISE, max_size=10).map(b"".join))
@example(b"{]\n" * 20_000)
def test_any_beginning_is_framed_in_some_way(data):
    assert sniff(data) in (LINES, STREAM, DOCUMENT, None)
