"""Numbering: numbers that are missing are found, and no honest way of writing is accused."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.numbering import (
    END,
    ESTABLISHED,
    GAP,
    LIMIT,
    MAX_COUNTS,
    MAX_FILES,
    PATIENCE,
    REPEAT,
    Item,
    Numbering,
)

ONE, TWO = 1, 2
ENOUGH = range(1, ESTABLISHED + 2)
LATER = PATIENCE + 1


class Files:
    """Files that one agent writes: each record with its number, behind the one before."""

    def __init__(self) -> None:
        self.numbering = Numbering()
        self.offsets: dict[int, int] = {}
        self.found = []

    def write(self, numbers, source=ONE, refused=0, is_copy=False):
        items = []
        for number in numbers:
            offset = self.offsets[source] = self.offsets.get(source, -100) + 100
            items.append(Item(offset, number, refused, is_copy))
        found = list(self.numbering.follow(source, items))
        self.found += found
        return [(item.kind, item.detail) for item in found]

    def cut(self, source=ONE):
        self.offsets.pop(source)


@pytest.fixture
def files():
    return Files()


def test_missing_numbers_are_told_when_they_are_too_late(files):
    files.write(ENOUGH)
    first, count = ESTABLISHED + 4, PATIENCE
    assert files.write(range(first, first + count)) == []
    assert files.write([first + count]) == [(GAP, f"missing before it: {first - 2} to {first - 1}")]
    assert files.found[0].offset == (ESTABLISHED + 1) * 100, "the record behind the jump"
    assert files.found[0].source_id == ONE
    assert files.write(range(first + count + 1, first + 99)) == [], "once"


def test_one_missing_number_is_named(files):
    files.write(ENOUGH)
    assert files.write(range(ESTABLISHED + 3, 99)) == [(GAP, f"missing before it: {ESTABLISHED + 2}")]


def test_a_late_record_is_no_gap_and_those_that_stay_out_are_counted(files):
    files.write(range(1, 30))
    assert files.write([31, 30, *range(32, 80)]) == []
    assert files.write([83, 82, *range(84, 120)]) == [(GAP, "missing before it: 80 to 82 (2 of them)")]


def test_a_jump_before_the_count_is_one_is_not_told(files):
    assert files.write([*range(1, ESTABLISHED + 1), ESTABLISHED + 5, *range(ESTABLISHED + 6, 99)]) == []


def test_after_a_gap_the_count_has_to_show_itself_again(files):
    files.write(ENOUGH)
    assert len(files.write([*range(30, 60)])) == 1
    assert files.write([*range(70, 70 + ESTABLISHED)]) == [], "it was told less than 16 steps before"
    assert len(files.write([*range(100, 130)])) == 1


@pytest.mark.parametrize("numbers", [[5] * 40, [1, 3, 2, 9, 4] * 9, range(1, 500, 7), range(90, 0, -1)])
def test_what_was_never_a_count_is_not_judged(files, numbers):
    assert files.write(numbers) == []


def test_a_restart_begins_a_new_count(files):
    assert files.write([*range(1, 40), *range(1, 40), *range(40), *range(500, 501)]) == []


def test_a_file_begins_with_any_number(files):
    files.write(range(1, 40))
    assert files.write(range(90, 140), TWO) == []


def test_a_file_that_is_cut_begins_again(files):
    files.write(range(1, 40))
    files.cut()
    assert files.write(range(60, 99)) == []
    files.cut()
    assert files.write([*range(20, 40)]) == []


def test_what_could_not_be_read_explains_a_jump(files):
    files.write(range(1, 40))
    assert files.write(range(44, 99), refused=1) == []
    assert len(files.write(range(120, 150), refused=1)) == 1, "but no later one"


def test_a_second_count_that_begins_anywhere_is_not_a_jump(files):
    files.write(range(1, 40))
    mixed = [number for pair in zip(range(500, 540), range(40, 80), strict=True) for number in pair]
    assert files.write(mixed) == []


def test_a_second_count_that_goes_on_in_a_new_file_is_not_a_jump(files):
    files.write([number for pair in zip(range(1, 40), range(501, 540), strict=True) for number in pair])
    assert files.write([*range(40, 70), *range(540, 570), *range(70, 90)], TWO) == []


def test_a_count_over_several_files_is_no_gap(files):
    files.write(range(1, 40))
    for number in range(40, 90, 2):
        assert files.write([number], ONE) == []
        assert files.write([number + 1], TWO) == []
    assert files.write(range(200, 250)) == [], "another file may still bring it"


def test_more_counts_than_are_remembered_are_not_judged(files):
    counts = [list(range(1000 * n + 40, 1000 * n + 99)) for n in range(MAX_COUNTS + 3)]
    rows = [number for step in zip(*counts, strict=True) for number in step]
    files.write(range(1, 40))
    assert files.write(rows) == []


def test_numbers_that_come_again_are_told_as_such(files):
    files.write(ENOUGH)
    last = ESTABLISHED + 1
    assert files.write([last, *range(last + 1, 90)]) == [(REPEAT, f"number {last}, and then {last + 16}")]
    assert files.write([5, 60, *range(61, 150)]) == [
        (REPEAT, "number 5, and then 89"),
        (REPEAT, "number 60, and then 89"),
    ]


def test_a_copy_of_a_record_is_no_repeat_and_its_number_counts(files):
    files.write(ENOUGH)
    assert files.write([3], is_copy=True) == []
    assert files.write([ESTABLISHED + 2], is_copy=True) == []
    assert files.write(range(ESTABLISHED + 3, 90)) == []


def test_the_end_of_numbers_is_told_once_a_stretch(files):
    files.write(ENOUGH)
    assert files.write([None] * (PATIENCE - 1)) == []
    assert files.write([None]) == [(END, "the records before it were numbered")]
    assert files.write([None] * 99) == []
    assert files.write([None] * 99, TWO) == [], "another file never was"
    assert Files().write([None] * 99) == []


def test_a_pardon_forgives_what_was_not_told_yet(files):
    files.write(ENOUGH)
    files.write([99])
    files.numbering.forgive()
    assert files.write(range(100, 200)) == []


def test_leaving_out_every_other_record_hides_nothing(files):
    assert (GAP, "missing before it: 18") in files.write([*ENOUGH, *range(19, 19 + 4 * PATIENCE, 2)])


numbers = st.one_of(st.integers(0, 60), st.integers(0, LIMIT - 1), st.none())


@given(st.lists(st.tuples(st.integers(1, 6), numbers, st.booleans(), st.booleans()), max_size=200))
def test_whatever_comes_it_is_bounded_and_survives_being_stored(rows):
    numbering = Numbering()
    for offset, (source, number, is_copy, is_cut) in enumerate(rows):
        item = Item(0 if is_cut else offset, number, offset // 7, is_copy)
        assert {finding.kind for finding in numbering.follow(source, [item])} <= {GAP, REPEAT, END}
        stored = msgspec.json.encode(numbering)
        assert len(stored) < 8192
        numbering = msgspec.json.decode(stored, type=Numbering)
    assert len(numbering.files) <= MAX_FILES
    assert len(numbering.waiting) <= PATIENCE
    assert all(len(file.counts) <= MAX_COUNTS for file in numbering.files)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 40)), max_size=150), st.randoms())
def test_how_records_are_put_together_makes_no_difference(rows, rng):
    whole, pieces = Numbering(), Numbering()
    items = [(source, Item(at, number, 0)) for at, (source, number) in enumerate(rows)]
    runs: list[tuple[int, list[Item]]] = []
    for source, item in items:
        if runs and runs[-1][0] == source and rng.random() < 0.7:
            runs[-1][1].append(item)
        else:
            runs.append((source, [item]))
    one = [found._replace(position=0) for source, run in runs for found in whole.follow(source, run)]
    each = [found._replace(position=0) for source, item in items for found in pieces.follow(source, [item])]
    assert one == each
    assert whole == pieces


@given(st.integers(0, 1 << 40), st.lists(st.integers(1, 60), min_size=1, max_size=8), st.randoms())
def test_honest_agents_are_never_accused(first, stretches, rng):
    """One count over rotated and cut files, restarts, copies, and threads that overtake each other."""
    files = Files()
    number, source = first, ONE
    for length in stretches:
        written = list(range(number, number + length))
        lateness = {number: number + rng.randrange(8) for number in written}
        written.sort(key=lateness.__getitem__)
        files.write(written, source)
        number += length
        event = rng.choice(["rotate", "cut", "restart", "copy", "go on"])
        if event == "rotate":
            source += 1
        elif event == "cut":
            files.cut(source)
        elif event == "restart":
            number = rng.choice([0, 1])
        elif event == "copy":
            files.write(written[-1:], source, is_copy=True)
    files.write(range(number, number + LATER), source)
    assert [found for found in files.found if found.kind == GAP] == []


@given(st.integers(2, 1 << 40), st.integers(ESTABLISHED + 1, 60), st.integers(1, 9), st.integers(LATER, 60))
def test_a_stretch_that_is_taken_out_is_always_found(first, before, lost, behind):
    files = Files()
    files.write(range(first, first + before))
    files.write(range(first + before + lost, first + before + lost + behind))
    assert [found.kind for found in files.found] == [GAP]


def test_random_losses_in_a_long_file_are_found(files):
    rng = random.Random(11)
    lost = sorted(rng.sample(range(100, 10_000, 100), 30))
    files.write(number for number in range(1, 10_200) if number not in lost)
    assert [found.detail for found in files.found] == [f"missing before it: {number}" for number in lost]
