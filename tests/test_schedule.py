"""Schedule: who is due when; and nothing depends on who is in memory, or on how often somebody looks."""

import pytest
from activity import BY_ACTIVITY
from hypothesis import example, given, settings
from hypothesis import strategies as st
from learning import MINUTE, START, S, batch_of, event, prior

from sentineld.event import FILE, NETWORK, OTHER, Tick
from sentineld.pipeline import Pipeline
from sentineld.schedule import Schedule, due_us
from sentineld.step import Pardon, Pin, dump_state, load_state, new_state, step
from sentineld.store import Store

ACTIVITY = BY_ACTIVITY.prior()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 9))), max_size=40))
def test_whoever_may_be_due_is_given_once_and_nobody_is_missed(puts):
    schedule, dues = Schedule(), {}
    for name, due in puts:
        schedule.put((0, name), due)
        dues[0, name] = due
    first = min((due for due in dues.values() if due is not None), default=None)
    placed = schedule.first()
    assert placed is None if first is None else placed[1] <= first

    for until in (5, 20):
        taken = schedule.take(until)
        assert len(taken) == len(set(taken))
        missed = {key for key, due in dues.items() if due is not None and due < until} - set(taken)
        assert not missed
        for key in taken:
            schedule.put(key, dues[key] if dues[key] >= until else None)
            dues[key] = dues[key] if dues[key] >= until else None
    schedule.remove((0, "a"))
    assert schedule.first() is None


#: Much that is plain, and after it operations whose payloads are not: calm until the plain ones have left.
RISING = [*[(0, OTHER, 0)] * 12, (200, FILE, 10**9), (0, FILE, 10**9), (0, NETWORK, 10**9)]


@settings(max_examples=60)
@example(RISING, 3600)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 2), st.integers(0, 10**9)), min_size=1, max_size=40
    ),
    st.integers(0, 3600),
)
def test_until_an_agent_is_due_time_alone_decides_nothing(moments, later_s):
    """Activity: levels may rise and fall while events leave the window."""
    at, items = START, []
    for gap, kind, entropy in moments:
        at += gap * S // 10
        items += [(at, kind, entropy, "x", 1, 0, None)] * 9
    state, _ = step(new_state(1, "a", ACTIVITY, START), ACTIVITY, items)
    due = due_us(state, ACTIVITY)
    until = at + later_s * S if due is None else min(due, at + later_s * S)

    before = (state.level, state.standing)
    state, drafts = step(load_state(dump_state(state)), ACTIVITY, [Tick(until)])
    assert drafts == []
    assert (state.level, state.standing) == before


KINDS = st.tuples(
    st.integers(0, 90),
    st.sampled_from("abcdefgh"),
    st.sampled_from(["", "s1", "s2"]),
    st.sampled_from(["x", "x", "x", "y", "new", "odd"]),
)


def run(moments, inputs_prior, kept, *, is_durable, with_ticks=True):
    """Read events in pieces of three, ticks and wishes in between; return all that is known at the end."""
    with Store.open(":memory:", START, is_durable=False) as store:
        line = Pipeline(
            store,
            inputs_prior,
            agents_per_owner=100,
            agents_in_memory=kept,
            is_durable=is_durable,
            judges_history=True,
        )
        at, decisions, most = START, [], 0
        for number in range(0, len(moments), 3):
            events = []
            for gap, agent, session, value in moments[number : number + 3]:
                at += gap * 20 * S
                events.append(event(at, agent, session, value))
                events += [event(at, agent, session, value)] * (30 if value == "odd" else 0)
            batch = batch_of(events, number + 1)
            for part in batch.parts:
                part.rows.kinds[:] = [1 + place % 2 for place in range(len(part.rows))]
                part.rows.entropies[:] = [900_000_000] * len(part.rows)
            decisions += line.read(batch, at).decisions
            if with_ticks and number % 2:
                decisions += line.tick(at + 7 * MINUTE).decisions
            if number % 5 == 4:
                decisions += line.obey(f"r{number}", "a", Pin(at, "me", "why", 2, at + MINUTE), {}).decisions
                decisions += line.obey(f"p{number}", "b", Pardon(at, "me", "why", 5 * MINUTE), {}).decisions
            if number % 7 == 6:
                line.set_clock(-3 * MINUTE if number % 2 else 5 * MINUTE, at)
            most = max(most, len([state for state in line.roster.all() if state.standing.is_plain]))
        decisions += line.tick(at + 30 * 60 * MINUTE).decisions
        line.flush()
        rows = {row.name: (row.state, row.tier, row.due_us) for row in store.agents()}
        return decisions, rows, [role.habits for role in store.roles()], most


@pytest.mark.parametrize("is_durable", [True, False])
@pytest.mark.parametrize("mode", ["learned", "activity"])
@settings(max_examples=25)
@given(moments=st.lists(KINDS, min_size=1, max_size=40))
def test_decisions_and_agents_are_the_same_whoever_is_in_memory(mode, is_durable, moments):
    def found(kept):
        # Habits are part of a prior: each line has its own.
        inputs = prior() if mode == "learned" else ACTIVITY
        return run(moments, inputs, kept, is_durable=is_durable)

    everybody = found(1000)
    for kept in (1, 3, 7):
        some = found(kept)
        assert some[:3] == everybody[:3]
        # Who was pinned or pardoned leaves one commit later.
        assert some[3] <= kept + 2
