"""Framing: what a file's beginning tells, and where values begin and end."""

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial

import pytest

from sentineld.framing import DOCUMENT, LINES, STREAM, Unfinished, first_value, sniff, values
from sentineld.stream import next_values


@pytest.mark.parametrize(
    ("head", "framing"),
    [
        (b"", None),
        (b" \n", None),
        (b'{"a": 1', None),
        (b'{"a": "\\', None),
        (b'{"a": 1}', DOCUMENT),
        (b'\xef\xbb\xbf{"a": 1}\n \n', DOCUMENT),
        (b'{\n "a": 1\n}\n', DOCUMENT),
        (b'{"a": 1}\n' + bytes(4096), DOCUMENT),
        (b'[{"a": 1}]\n{"b": 1}\n', DOCUMENT),
        (b'"text"\n', DOCUMENT),
        (b"text\nmore text\n", DOCUMENT),
        (b'{"a": 1}\n{', LINES),
        (b'\n\n{"a": 1} \r\n\n{"b"', LINES),
        (b'{"a": "}\\"{", "b": [1]}\n{"b"', LINES),
        (b'{"a" 1}\n{"b": 1}\n', LINES),
        (b'{"a": "torn\n{"b": 1}\n', LINES),
        (b'text\n{"b": 1}\n', LINES),
        (b'{"a": 1} {"b": 1}\n', STREAM),
        (b'{"a": 1},\n{"b": 1}\n', STREAM),
        (b'{\n"a": 1\n}\n{', STREAM),
        (b'{"a": [1}\n{\n"b": 1\n}\n', STREAM),
        (b'\x1e{"a": 1}\n', STREAM),
        (b'{"a": "torn\x1e{"b": 1}\n\x1e', LINES),
    ],
)
def test_the_beginning_of_a_file_tells_how_it_is_framed(head, framing):
    assert sniff(head) == framing


def test_the_first_object_of_a_file():
    assert first_value(b'\xef\xbb\xbf\n{"a": {}} {') == (4, 13)
    assert first_value(b'{"a": ') == first_value(b"[1]") == first_value(b"") == (0, 0)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"a":1}{"b":2}', [(0, b'{"a":1}'), (7, b'{"b":2}')]),
        (b'[\n{"a":[1,{}]},\n{"b":2}\n]\n', [(2, b'{"a":[1,{}]}'), (16, b'{"b":2}')]),
        (b'12 "x" null,{}\n', [(0, b"12"), (3, b'"x"'), (7, b"null"), (12, b"{}")]),
        (b'text {"a":1}\n{}', [(0, b'text {"a":1}'), (13, b"{}")]),
        (b'}\n{"a" 1}{}', [(0, b"}"), (2, b'{"a" 1}'), (9, b"{}")]),
        (b'{"a":"}{\\"", "b":"\\\\"}{}', [(0, b'{"a":"}{\\"", "b":"\\\\"}'), (22, b"{}")]),
        (b" \r\n\t,[] \x1e", []),
    ],
)
def test_a_stretch_is_cut_into_values_with_their_offsets(data, found):
    assert values(data) == found
    assert values(data, 100) == [(100 + at, value) for at, value in found]


@pytest.mark.parametrize(
    ("torn", "rest"),
    [
        # An opening bracket where no value may stand, a string over a line's end, brackets that do not match.
        (b'{"a": {"b": 1,\n', 2),
        (b'{"a": "b\n', 2),
        (b'{"a": [1}\n', 2),
        # Where one may stand, the first value behind it shows nothing; the second one does.
        (b'{"a":\n', 2),
        (b'{"a": [1,\n', 2),
        (b'[{"a": 1,\n', 2),
        (b"\x1e{\n", 2),
    ],
)
def test_values_behind_one_that_is_torn_are_found_on_their_lines(torn, rest):
    good = [b'{"n": 1}', b'{"n": 2}'][:rest]
    with tempfile.TemporaryFile() as file:
        file.write(torn + b"\n".join(good) + b"\n")
        file.flush()
        found, start, is_skipping = [], 0, False
        while (
            stretch := next_values(file.fileno(), start, is_skipping=is_skipping, limit=4096, line_bytes=1024)
        ) is not None:
            found += [value for _, value in values(stretch.data, start)]
            start, is_skipping = stretch.end, stretch.is_skipping

        assert found[-rest:] == good
        assert len(found) == rest + 1
        assert start == os.fstat(file.fileno()).st_size


def test_a_value_that_has_no_end_costs_no_more_than_a_line():
    with tempfile.TemporaryFile() as file:
        file.write(b'{"a": [' + b"1," * 100_000 + b'\n{"b": 1}\n')
        file.flush()
        pieces, start, is_skipping = [], 0, False
        while (
            stretch := next_values(file.fileno(), start, is_skipping=is_skipping, limit=4096, line_bytes=1024)
        ) is not None:
            pieces.append((stretch.skip, stretch.end - start, stretch.reject is not None))
            start, is_skipping = stretch.end, stretch.is_skipping
            if stretch.data:
                assert stretch.data == b'{"b": 1}\n'

    assert pieces[0][0] == 1
    assert {how for how, _, _ in pieces[1:-1]} == {2}
    assert max(size for _, size, _ in pieces) <= 4096 + 1
    assert [is_told for _, _, is_told in pieces].count(True) == 1


def test_brackets_that_do_not_match_are_seen_at_once():
    with tempfile.TemporaryFile() as file:
        file.write(b'{"a": [1}\n')
        file.flush()
        stretch = next_values(file.fileno(), 0, is_skipping=False, limit=4096, line_bytes=1024)

    assert stretch is not None
    assert (stretch.data, stretch.is_skipping) == (b'{"a": [1}', True)


def test_many_faults_one_behind_the_other_cost_few_reads(tmp_path):
    path = tmp_path / "s.json"
    path.write_bytes(b'{"a":1} ' + b'{"b":"\n' * 5000 + b'{"c":2} ' + b'{"d":"\n{"e":3} ')
    fd = os.open(path, os.O_RDONLY)
    try:
        found, at, is_skipping = [], 0, False
        while (
            one := next_values(fd, at, is_skipping=is_skipping, limit=16_384, line_bytes=1 << 20)
        ) is not None:
            found.append(one.data)
            at, is_skipping = one.end, one.is_skipping
    finally:
        os.close(fd)

    assert b"".join(found) == path.read_bytes()[: len(b"".join(found))]
    assert [value for stretch in found for _, value in values(stretch) if value.endswith(b"}")] == [
        b'{"a":1}',
        b'{"c":2}',
        b'{"e":3}',
    ]
    assert len(found) < 20


def steps(work: Callable[[], object]) -> int:
    """Count the calls and returns of everything that some work does."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def read_all(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        start, is_skipping = 0, False
        while (
            one := next_values(
                file.fileno(), start, is_skipping=is_skipping, limit=65_536, line_bytes=1 << 20
            )
        ) is not None:
            found += [value for _, value in values(one.data, start)]
            start, is_skipping = one.end, one.is_skipping
    return found


@pytest.mark.parametrize(
    "hostile",
    [
        # Each is open until a fault at the very end: looked through from every line, it takes n * n.
        b'{"a":[\n',
        b'{"a":[\n{"b":1},\n',
        b'{"a":[{"b":1},\n{"c":\n',
        b'{"b":"\n',
    ],
)
def test_the_work_is_linear_in_the_bytes_whatever_is_malformed(hostile):
    once, twice = ([hostile * count + b'}\n{"c":1}\n{"d":1}\n'] for count in (100, 200))

    for work in (read_all, sniff, values):
        assert steps(partial(work, *twice)) < 2.1 * steps(partial(work, *once)) + 100
    assert steps(partial(read_all, *once)) < 25 * len(once[0])
    assert read_all(*once)[-2:] == [b'{"c":1}', b'{"d":1}']
    assert read_all(*once).count(b'{"b":1}') == 100 * hostile.count(b'\n{"b":1}')


def test_a_value_that_grows_is_not_looked_through_from_its_beginning_every_time():
    def look_often(how_often: int) -> None:
        unfinished = Unfinished()
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b'{"a":[1')
            for _ in range(how_often):
                file.write(b',[1,{"b":2}]')
                one = next_values(
                    file.fileno(), 0, is_skipping=False, limit=512, line_bytes=65_536, unfinished=unfinished
                )
                assert one is None
            file.write(b"]}")
            one = next_values(
                file.fileno(), 0, is_skipping=False, limit=512, line_bytes=65_536, unfinished=unfinished
            )
            assert one is not None
            assert one.end == file.tell()

    assert steps(partial(look_often, 200)) < 2.1 * steps(partial(look_often, 100))


def test_what_was_written_anew_before_it_was_read_is_looked_through_anew():
    unfinished = Unfinished()
    with tempfile.TemporaryFile(buffering=0) as file:
        for data in (b'{"a":[{"b":[', b'{"a":[{"b"}]}' + b'{"c":1}'):
            file.seek(0)
            file.write(data)
            one = next_values(
                file.fileno(), 0, is_skipping=False, limit=512, line_bytes=1024, unfinished=unfinished
            )
    assert one is not None
    assert [value for _, value in values(one.data)] == [b'{"a":[{"b"}]}', b'{"c":1}']
