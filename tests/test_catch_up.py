"""Catch-up: how much is left, how fast it goes, and what stands in the bar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.catch_up import CatchUp, Progress, bar, size_text, span_text

SECOND = 1_000_000


def test_the_rate_is_what_was_read_and_the_eta_by_how_fast_the_rest_shrinks():
    catch_up = CatchUp()
    assert catch_up.note(0, 500, 1000) == Progress(0, 1000, 0, None)
    # 400 were read, and 200 appended meanwhile: 100 a second go, of 800.
    assert catch_up.note(2 * SECOND, 900, 800) == Progress(400, 800, 200, 8)


def test_nobody_can_say_when_while_more_is_appended_than_read():
    catch_up = CatchUp()
    catch_up.note(0, 0, 1000)
    assert catch_up.note(SECOND, 100, 1000).eta_s is None
    assert catch_up.note(2 * SECOND, 200, 1100).eta_s is None


def test_what_was_long_ago_counts_no_more():
    catch_up = CatchUp()
    done = left = 0
    for second in range(120):
        done += 100 if second < 60 else 1000
        left = 1_000_000 - done
        progress = catch_up.note(second * SECOND, done, left)
    assert progress.bytes_per_s == 1000
    assert progress.eta_s == -(-left // 1000)


def test_one_that_ended_is_forgotten():
    catch_up = CatchUp()
    catch_up.note(0, 0, 100)
    catch_up.note(SECOND, 100, 0)
    catch_up.end()
    assert catch_up.is_due(SECOND)
    assert catch_up.note(1000 * SECOND, 100, 50) == Progress(0, 50, 0, None)


def test_samples_are_a_quarter_of_a_second_apart():
    catch_up = CatchUp()
    assert catch_up.is_due(0)
    catch_up.note(0, 0, 100)
    assert not catch_up.is_due(249_999)
    assert catch_up.is_due(250_000)


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**9), st.integers(0, 10**12)), min_size=1))
def test_figures_are_never_negative(samples):
    catch_up, now, done = CatchUp(), 0, 0
    for after, more, left in samples:
        now, done = now + after, done + more
        progress = catch_up.note(now, done, left)
        assert progress.bytes_per_s >= 0
        assert progress.eta_s is None or progress.eta_s >= 0
        assert len(catch_up._samples) <= 2 + len(samples)


SIZES = st.integers(0, 10**13)


@given(st.builds(Progress, SIZES, SIZES, SIZES, st.none() | st.integers(0, 10**7)), st.integers(0, 300))
def test_the_bar_never_wraps(progress, columns):
    line = bar(progress, columns)
    assert len(line) <= columns
    assert line.isascii()
    assert line.isprintable() or not line
    assert columns < 5 or "%" in line


def test_the_bar_says_more_where_there_is_room():
    progress = Progress(25_000_000, 75_000_000, 10_000_000, 8)

    assert (
        bar(progress, 80)
        == "[#######.....................]  reading  25 %  75.0 MB left  10.0 MB/s  ETA 0:08"
    )
    assert bar(progress, 40) == "25 %  75.0 MB left  10.0 MB/s  ETA 0:08"
    assert bar(progress, 30) == "25 %  10.0 MB/s  ETA 0:08"
    assert bar(progress, 16) == "25 %  ETA 0:08"
    assert bar(progress, 4) == "25 %"
    assert bar(progress, 3) == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (4_940_000_000, "4.9 GB"), (999_600_000, "1.0 GB"),
     (103_000_000, "103 MB"), (10**16, "10000 TB")],
)  # fmt: skip
def test_sizes_are_for_people(count, text):
    assert size_text(count) == text


def test_spans_are_for_people():
    assert [span_text(value) for value in (0, 42, 61, 3725)] == ["0:00", "0:42", "1:01", "1:02:05"]
