"""An agent's latest scores: small, bounded, and the same in whatever pieces events arrive."""

from activity import BY_ACTIVITY
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sentineld.event import Tick
from sentineld.step import Pardon, dump_state, load_state, new_state, shift, step
from sentineld.trail import ACTIVITY, LEARNED, MAX_POINTS, Trail

SECOND = 1_000_000
START = 1_767_600_000 * SECOND
PRIOR = BY_ACTIVITY.prior()


def events(times):
    return [(START + at, 1 + n % 2, 500_000_000, "file_write", 1, n, None) for n, at in enumerate(times)]


def trail_of(state):
    return list(state.trail.points())


@given(
    st.lists(st.integers(0, 3 * 3600 * SECOND), min_size=1, max_size=80).map(sorted),
    st.lists(st.integers(0, 80), max_size=6).map(sorted),
)
def test_batches_and_ticks_leave_the_same_trail(times, cuts):
    whole, _ = step(new_state(1, "a", PRIOR, START), PRIOR, events(times))
    pieces = new_state(1, "a", PRIOR, START)
    run, before = events(times), 0
    for cut in [*cuts, len(run)]:
        if before < cut:
            pieces, _ = step(pieces, PRIOR, run[before:cut])
            pieces, _ = step(pieces, PRIOR, [Tick(pieces.clock_us)])
        before = max(before, min(cut, len(run)))

    assert trail_of(pieces) == trail_of(whole)
    assert trail_of(whole)[-1][0] * SECOND >= START + times[-1]
    at = [at for at, _ in trail_of(whole)]
    assert at == sorted(set(at))
    assert len(at) <= MAX_POINTS
    assert at[-1] - at[0] < ACTIVITY[0] * ACTIVITY[1]
    assert max(score for _, score in trail_of(whole)) <= whole.peak


def test_every_minute_has_its_highest_score():
    state, _ = step(new_state(1, "a", PRIOR, START), PRIOR, events([n * SECOND for n in range(0, 120, 2)]))

    scores = [score for _, score in trail_of(state)]
    assert scores == sorted(scores)
    assert scores[-1] == int(1000 * state.peak) / 1000


def test_it_is_small_and_survives_being_stored():
    trail = Trail()
    for hour in range(100):
        trail.add(START + hour * 3600 * SECOND, hour / 100, LEARNED)
    state = structs.replace(new_state(1, "a", PRIOR, START), trail=trail)

    assert len(trail.data) <= 200
    assert len(dump_state(state)) - len(dump_state(new_state(1, "a", PRIOR, START))) < 250
    assert trail_of(load_state(dump_state(state))) == trail_of(state)
    assert len(trail_of(state)) == MAX_POINTS
    assert trail_of(state)[-1][1] == 0.99


def test_what_is_too_old_goes_and_another_scale_begins_anew():
    trail = Trail()
    trail.add(START, 0.5, ACTIVITY)
    trail.add(START + 3600 * SECOND, 0.25, ACTIVITY)
    assert [score for _, score in trail.points()] == [0.25]
    trail.add(START + 3601 * SECOND, 0.75, LEARNED)
    assert [score for _, score in trail.points()] == [0.75]


def test_a_pardon_forgets_it_and_a_clock_that_is_set_moves_it():
    state, _ = step(new_state(1, "a", PRIOR, START), PRIOR, events([0, SECOND]))
    ((at, _),) = trail_of(state)
    shift(state, -3600 * SECOND, state.clock_us - 3600 * SECOND)
    assert trail_of(state)[0][0] == at - 3600
    state, _ = step(state, PRIOR, [Pardon(START + 2 * SECOND, "ann", "fine", 0)])
    assert trail_of(state) == []
