"""Teaching: roles learn between slices of time, whatever the batches are and whenever the line restarts."""

import random

import pytest
from activity import BY_ACTIVITY
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import MINUTE, START, Line, S, event, work

from sentineld.detection import MAX_ROLES
from sentineld.step import Pardon
from sentineld.store import Store
from sentineld.teaching import SLICE_US


@pytest.fixture
def store():
    with Store.open(":memory:", START, is_durable=False) as opened:
        yield opened


def test_a_session_is_learned_from_when_it_has_been_silent_for_the_gap_and_a_slice_has_ended(store):
    line = Line(store)
    line.read(work(5))
    last = START + 4 * MINUTE
    line.tick(last + 30 * MINUTE)
    assert line.role().sessions == 0

    line.tick((last + 30 * MINUTE) // SLICE_US * SLICE_US + SLICE_US)
    assert line.role().sessions == 1
    assert len(line.role().calibration) == 0, "the first sessions of a role are nothing to rank by"
    assert line.agent().is_settled
    assert line.agent().own.sessions == 1


def test_agents_that_all_begin_with_their_role_are_not_odd_beside_those_that_it_could_not_judge(store):
    line = Line(store)
    line.pipeline.roster.agents_per_owner = 10_000
    rng = random.Random(4)
    acts = ["read", "write", "ask", "send"]
    for hour in range(2):
        for n in range(450):
            at, agent = START + hour * 60 * MINUTE + n * 4 * S, f"a{hour}-{n}"
            line.read([event(at + k * S, agent, value=rng.choice(acts), name="act") for k in range(2)])
    line.tick(START + 180 * MINUTE)

    assert line.decisions == []
    assert line.role().sessions == 900
    # Those of the first hour all began before the role had learned from any.
    assert len(line.role().calibration) == 450


def test_events_without_a_gap_are_one_session_and_names_are_kept_apart(store):
    line = Line(store)
    line.read([*work(3, session="one"), *work(3, session="two")])
    assert [one.events for one in line.agent().sessions] == [3, 3]
    line.read([event(START + 40 * MINUTE, session="two"), event(START + 41 * MINUTE, session="three")])

    # The one named "one" has ended; "two" went on before it had been silent for the gap? It had: it is new.
    assert {(one.name, one.events) for one in line.agent().sessions} == {("two", 1), ("three", 1)}


def test_habits_inside_of_a_slice_do_not_change(store):
    line = Line(store)
    # An hour of sessions, a gap between each two; then two agents in one slice see the same thing new.
    for n in range(30):
        line.read(work(2, START + n * 60 * MINUTE, agent=f"a{n % 3}", session=f"s{n}"))
    start = (START + 40 * 60 * MINUTE) // SLICE_US * SLICE_US
    line.read([event(start, "a1", "n1", "new"), event(start + MINUTE, "a2", "n2", "new")])

    first, second = (line.agent(name).sessions[-1].score for name in ("a1", "a2"))
    assert first == second > 0


def test_a_suspicious_session_ranks_and_teaches_nothing_until_it_is_pardoned(store):
    line = Line(store)
    for n in range(120):
        line.read(work(3, START + n * 60 * MINUTE, session=f"s{n}"))
    start = START + 200 * 60 * MINUTE
    line.read([event(start, session="odd", value="never seen")])
    assert [(d.to_tier, d.cause) for d in line.decisions] == [(2, "detected")]
    assert line.decisions[0].p <= 0.01
    line.tick(start + 60 * MINUTE)
    before = line.role().sessions
    assert before == 120
    ranked = len(line.role().calibration)
    assert 100 < ranked <= 121
    assert len(line.agent().held) == 1

    outcome = line.pipeline.obey("r", "a", Pardon(start + 61 * MINUTE, "me", "why", 0), {})
    assert [d.to_tier for d in outcome.decisions] == [1]
    line.tick(start + 90 * MINUTE)
    assert line.role().sessions == 121
    assert len(line.role().calibration) == ranked
    line.read([event(start + 100 * MINUTE, session="again", value="never seen")])
    assert len(line.decisions) == 1


def test_a_confirmed_attack_is_struck_out_of_the_ranks_and_never_learned(store):
    line = Line(store)
    for n in range(120):
        line.read(work(3, START + n * 60 * MINUTE, session=f"s{n}"))
    start = START + 200 * 60 * MINUTE
    ranked = len(line.role().calibration)
    line.read([event(start, session="odd", value="never seen")])
    line.tick(start + 60 * MINUTE)
    assert len(line.role().calibration) == ranked + 2
    wish = Pardon(start + 61 * MINUTE, "me", "why", 0, attack=True)
    line.pipeline.obey("r", "a", wish, {})
    line.tick(start + 90 * MINUTE)

    # The last ordinary session and not the odd one.
    assert line.role().sessions == 120
    assert len(line.role().calibration) == ranked + 1
    line.read([event(start + 100 * MINUTE, session="again", value="never seen")])
    assert [d.to_tier for d in line.decisions] == [2, 2]


def test_tier_2_ends_after_quiet_time_in_which_events_were_seen_and_not_in_silence(store):
    line = Line(store)
    for n in range(120):
        line.read(work(3, START + n * 60 * MINUTE, session=f"s{n}"))
    start = START + 200 * 60 * MINUTE
    line.read([event(start, session="odd", value="never seen")])
    line.tick(start + 20 * 60 * MINUTE)
    assert [d.to_tier for d in line.decisions] == [2]
    again = start + 21 * 60 * MINUTE
    line.read(work(30, again, every=S, session="calm"))
    line.tick(again + 14 * MINUTE)
    assert [d.to_tier for d in line.decisions] == [2]
    line.tick(again + 16 * MINUTE)
    assert [(d.to_tier, d.cause) for d in line.decisions] == [(2, "detected"), (1, "recovered")]


def test_history_at_the_first_start_is_learned_and_demotes_nobody_unless_told_to(store):
    line = Line(store)
    line.pipeline._judges_history = None
    for n in range(120):
        line.read(work(3, START + n * 60 * MINUTE, session=f"s{n}"))
    odd = [event(START + 200 * 60 * MINUTE, session="odd", value="never seen")]
    ranked = len(line.role().calibration)
    line.read(odd)
    assert line.decisions == []
    line.tick(START + 202 * 60 * MINUTE)
    assert len(line.role().calibration) == ranked + 2


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40 * 60),
        st.sampled_from("abc"),
        st.sampled_from(["", "s1", "s2"]),
        st.sampled_from("uvwxyz"),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=40)
@given(EVENTS, st.integers(0, 1000), st.booleans())
def test_neither_the_pieces_that_are_read_nor_restarts_change_anything(items, seed, restarts):
    events = [
        event(START + minutes * MINUTE, agent, session, value) for minutes, agent, session, value in items
    ]
    events.sort(key=lambda item: item[0])
    rng = random.Random(seed)
    found = []
    for is_cut in (False, True):
        with Store.open(":memory:", START, is_durable=False) as opened:
            line = Line(opened)
            rest = list(events)
            while rest:
                # What happened at one instant stays together: between files its order is no promise.
                count = rng.randint(1, len(rest)) if is_cut else len(rest)
                while count < len(rest) and rest[count][0] == rest[count - 1][0]:
                    count += 1
                line.read(rest[:count])
                rest = rest[count:]
                if is_cut and restarts:
                    line.begin()
            line.tick(START + 60 * 60 * MINUTE)
            habits, agents, decisions = line.everything()
            found.append((habits, agents.keys(), decisions))
    assert found[0] == found[1]


def test_another_owner_teaches_nobody_else(store):
    line = Line(store)
    line.read(work(2))
    line.tick(START + 120 * MINUTE)

    assert list(line.pipeline.prior.detection.roles) == [(1000, "worker")]


def test_an_owner_has_so_many_roles_and_further_ones_share_the_nameless_habits(store):
    line = Line(store)
    for n in range(MAX_ROLES + 5):
        line.read([event(START + n * MINUTE, f"a{n}", role=f"r{n}")])
    line.read(
        [event(START + 99 * MINUTE, "last", role="more"), event(START + 100 * MINUTE, "last", role="more")]
    )

    roles = line.pipeline.prior.detection.roles
    assert len(roles) == MAX_ROLES + 1
    (session,) = line.agent("last").sessions
    assert (session.role, session.events) == ("", 2)


def test_history_that_is_only_learned_from_is_no_evidence_and_lapses_like_any_other(store):
    line = Line(store)
    line.pipeline._judges_history = None
    for n in range(120):
        line.read(work(3, START + n * 60 * MINUTE, session=f"s{n}"))
    before = line.agent().evidence
    for n in range(6):
        line.read([event(START + (200 + n) * 60 * MINUTE, session=f"odd{n}", value=f"never seen {n}")])
    line.tick(START + 300 * 60 * MINUTE)
    assert before == line.agent().evidence == line.agent().drift == 0.0

    line.read(work(3, START + 400 * 60 * MINUTE, session="live"), is_history=False)
    line.tick(START + 402 * 60 * MINUTE)
    assert line.agent().evidence > 0


def test_no_session_waits_for_its_end_where_habits_no_longer_decide(store):
    line = Line(store)
    line.read(work(3))
    assert line.agent().sessions
    line.pipeline.set_prior(BY_ACTIVITY.prior())
    line.tick(START + 10 * MINUTE)

    assert not line.pipeline.is_due(START + 10**15)
