"""Schedule: who is due when; and nothing depends on who is in memory, or on how often somebody looks."""

import pytest
from activity import BY_ACTIVITY
from hypothesis import example, given, settings
from hypothesis import strategies as st
from learning import MINUTE, START, S, batch_of, event, prior

from sentineld import pipeline
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


@pytest.mark.parametrize("kept", [0, 1000])
def test_what_arrives_late_is_judged_at_the_instant_that_everybody_has_come_to(kept):
    """As it would be, had the tick looked at everybody: the burst has left the window before it is read."""
    with Store.open(":memory:", START, is_durable=False) as store:
        line = Pipeline(store, ACTIVITY, agents_per_owner=9, judges_history=True, agents_in_memory=kept)
        line.read(batch_of([event(START), event(START, "b")], 1), START)
        now = START + 10 * MINUTE
        line.tick(now)

        burst = batch_of([event(START + S, "a")] * 40, 2)
        burst.parts[0].rows.kinds[:] = [FILE, NETWORK] * 20
        burst.parts[0].rows.entropies[:] = [10**9] * 40
        assert line.read(burst, now).decisions == []
        state = line.roster.by_name("a")
        assert (state.events, state.clock_us) == (41, now)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcdefgh")), min_size=2, max_size=30))
def test_a_long_silence_is_the_same_as_many_short_ones(moments):
    """Sessions of one role end in different slices, whether nobody looks or somebody does all the time."""

    def found(every_us):
        with Store.open(":memory:", START, is_durable=False) as store:
            line, at, events = Pipeline(store, prior(), agents_per_owner=9), START, []
            for number, (gap, agent) in enumerate(moments):
                at += gap * 20 * S
                events.append(event(at, agent, value="x" if number % 3 else f"{number}"))
            line.read(batch_of(events, 1), at)
            end = at + 90 * MINUTE
            for until in range(at + every_us, end, every_us):
                line.tick(until)
            line.read(batch_of([event(end, "a")], 2), end)
            rows = {row.name: (row.state, row.due_us) for row in store.agents()}
            return rows, [role.habits for role in store.roles()]

    assert found(100 * MINUTE) == found(MINUTE // 2)


@pytest.mark.parametrize("by_tick", [True, False])
def test_after_a_long_silence_agents_are_told_in_bounded_pieces(monkeypatch, by_tick):
    monkeypatch.setattr(pipeline, "_TOLD_AT_ONCE", 2)
    with Store.open(":memory:", START, is_durable=False) as store:
        line, commits = Pipeline(store, prior(), agents_per_owner=99, agents_in_memory=0), []
        line.read(
            batch_of([event(START + n * 2 * MINUTE, f"a{n}") for n in range(7)], 1), START + 12 * MINUTE
        )
        store.on_commit = lambda commit, _: commits.append(commit)
        now = START + 9 * 60 * MINUTE
        outcome = line.tick(now) if by_tick else line.read(batch_of([event(now, "new")], 2), now)

    assert [len(commit.agents) for commit in commits] == ([2, 2, 2, 1] if by_tick else [2, 2, 2, 2])
    assert [commit.kind for commit in commits] == ["tick"] * 3 + ["tick" if by_tick else "read"]
    assert outcome.agents == (7 if by_tick else 8)
    assert line.prior.detection.roles[1000, "worker"].sessions == 7
