"""The sliding window: span, bounds, expiry."""

import pytest

from sentineld.window import BUCKETS, EMPTY, Window


def test_an_event_counts_for_300_to_310_seconds():
    first, last = Window(), Window()
    for window, at_s in ((first, 0), (last, 9)):
        window.advance(at_s // 10)
        window.add(at_s // 10, 1, 1, 0, 5)

    # The bucket of second 0 to 9 leaves at second 310: 310 s after its first event, 301 s after its last.
    first.advance(309 // 10)
    last.advance(309 // 10)
    assert first.events == last.events == 1
    first.advance(310 // 10)
    last.advance(310 // 10)
    assert first.events == last.events == 0
    assert first.oldest == EMPTY


def test_never_more_than_31_buckets_are_held():
    window = Window()
    for bucket in range(1000):
        window.advance(bucket)
        window.add(bucket, 1, 0, 1, 1)
        assert len(window.buckets) <= BUCKETS
    assert (window.events, window.network_ops, window.entropy_units) == (31, 31, 31)


def test_what_is_older_than_the_window_does_not_count():
    window = Window()
    window.advance(100)

    assert not window.add(69, 1, 1, 0, 5)
    assert window.add(70, 1, 1, 0, 5)
    assert window.events == 1


def test_the_window_never_goes_back():
    window = Window()
    window.advance(100)
    window.add(100, 1, 1, 0, 5)
    window.advance(50)

    assert (window.newest, window.events) == (100, 1)


def test_a_leap_of_a_century_empties_the_window_at_once():
    window = Window()
    for bucket in range(5):
        window.advance(bucket)
        window.add(bucket, 1, 1, 1, 5)
    window.advance(10**9)

    assert (window.events, window.file_ops, window.network_ops, window.entropy_units, window.buckets) == (
        0,
        0,
        0,
        0,
        {},
    )


def test_the_next_expiry_is_that_of_the_oldest_bucket_held():
    window = Window()
    assert window.next_expiry() is None
    window.advance(20)
    window.add(20, 1, 0, 0, 0)
    window.add(3, 1, 0, 0, 0)

    assert window.next_expiry() == 34
    window.advance(34)
    assert window.next_expiry() == 51


def test_clearing_forgets_the_counts_but_not_the_time():
    window = Window()
    window.advance(20)
    window.add(20, 1, 1, 1, 7)
    window.clear()

    assert (window.events, window.file_ops, window.network_ops, window.entropy_units) == (0, 0, 0, 0)
    assert (window.newest, window.next_expiry()) == (20, None)


@pytest.mark.parametrize("bucket", [101, 69, 90])
def test_a_saved_bucket_that_the_window_cannot_hold_is_refused(bucket):
    window = Window(newest=100)
    window.restore(90, 1, 0, 0, 5)

    with pytest.raises(ValueError, match="does not belong"):
        window.restore(bucket, 1, 0, 0, 5)
