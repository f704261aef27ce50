"""Roster: who keeps a published id, what a quota does, and agents that leave memory and come back."""

import pytest
from activity import BY_ACTIVITY
from hypothesis import given
from hypothesis import strategies as st

from sentineld import roster as roster_module
from sentineld.config import Config
from sentineld.event import Tick
from sentineld.roster import OVERFLOW_ID, Roster
from sentineld.step import Pin, Unpin, dump_state, step
from sentineld.store import Store
from sentineld.tables import Commit, Renaming
from sentineld.trust import UNNAMED_ID

NOW = 1_763_858_410_000_000
PRIOR = BY_ACTIVITY.prior()


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "db"), NOW) as one:
        yield one


def roster(store: Store, quota: int = 100) -> Roster:
    return Roster(store, PRIOR, quota)


def meet(one: Roster, store: Store, owner: int, agent_id: str, *, at: int = NOW, kind: int = 1) -> str:
    """Let an agent act, commit it as the pipeline does, and return its published id."""
    key = one.key_of(owner, agent_id)
    state, _ = step(one.get(key, at), PRIOR, [(at, kind, 0, "file_write", 1, 0, None)])
    name = one.name(state)
    settle(one, store, state)
    return name


def settle(one: Roster, store: Store, *touched) -> None:
    """Commit agents as the pipeline does."""
    leaving = one.settle(touched)
    store.commit(Commit("read", NOW, agents=[one.row(state) for state in touched]))
    one.committed(leaving, is_durable=True)


def test_the_first_owner_keeps_the_id_and_others_are_published_with_their_uid(store):
    one = roster(store)
    assert meet(one, store, 1000, "a") == "a"
    before = store.agent((1000, "a"))
    assert meet(one, store, 2000, "a") == "a#2000"
    assert meet(one, store, 3000, "a") == "a#3000"

    assert store.agent((1000, "a")) == before
    assert store.agent_names() == ["a", "a#2000", "a#3000"]


def test_two_owners_that_claim_one_new_id_in_one_batch_are_two_agents(store):
    one = roster(store)
    first, second = (one.get(one.key_of(owner, "a"), NOW) for owner in (1000, 2000))

    assert first is not second
    assert [one.name(first), one.name(second)] == ["a", "a#2000"]


def test_names_stay_after_a_restart(store):
    one = roster(store)
    for owner in (1000, 2000):
        meet(one, store, owner, "a")
    again = roster(store)

    assert meet(again, store, 2000, "a") == "a#2000"
    assert meet(again, store, 1000, "a") == "a"


def test_ids_beyond_the_quota_count_under_other_for_each_owner(store):
    one = roster(store, quota=3)
    names = [meet(one, store, 1000, f"a{n}") for n in range(6)]
    assert names == ["a0", "a1", "a2", OVERFLOW_ID, OVERFLOW_ID, OVERFLOW_ID]
    assert one.overflowed == {1000}
    assert meet(one, store, 2000, "b") == "b"
    assert meet(one, store, 1000, "a1") == "a1"
    for n in range(4):
        meet(one, store, 2000, f"b{n}")

    assert OVERFLOW_ID + "#2000" in store.agent_names()


def test_the_quota_holds_after_a_restart(store):
    one = roster(store, quota=3)
    for n in range(3):
        meet(one, store, 1000, f"a{n}")
    again = roster(store, quota=3)

    assert meet(again, store, 1000, "new") == OVERFLOW_ID
    assert meet(again, store, 1000, "a2") == "a2"


def test_the_quota_holds_within_one_batch(store):
    one = roster(store, quota=3)

    assert [one.key_of(1000, f"a{n}")[1] for n in range(5)] == ["a0", "a1", "a2", OVERFLOW_ID, OVERFLOW_ID]


def test_an_id_that_acts_often_in_one_batch_takes_one_place(store):
    one = roster(store, quota=2)

    assert [one.key_of(1000, "a")[1] for _ in range(5)] == ["a"] * 5
    assert one.key_of(1000, "b")[1] == "b"


def test_a_cold_agent_leaves_memory_and_comes_back_equal(store):
    one = roster(store)
    meet(one, store, 1000, "a")
    state = one.get((1000, "a"), NOW)
    assert one.all() == [state]
    step(state, PRIOR, [])
    step(state, PRIOR, [Tick(NOW + 3600 * 1_000_000)])
    assert state.is_cold
    expected = dump_state(state)
    settle(one, store, state)
    assert one.all() == []
    again = one.get((1000, "a"), NOW)

    assert again is not state
    assert dump_state(again) == expected
    assert again.events == 1
    assert expected.startswith(b"2:")


def test_a_demoted_agent_never_leaves_memory_and_is_listed(store):
    one = roster(store)
    for name in ("b", "a"):
        meet(one, store, 1000, name)
        step(one.get((1000, name), NOW), PRIOR, [Pin(NOW, "me", "why", 3, None)])
    states = [one.get((1000, name), NOW) for name in "ab"]
    settle(one, store, *states)
    assert list(one.demoted()) == [("a", states[0]), ("b", states[1])]
    assert [name for name, _ in roster(store).demoted()] == ["a", "b"]

    step(states[0], PRIOR, [Unpin(NOW, "me", "why")])
    settle(one, store, states[0])
    assert [name for name, _ in one.demoted()] == ["b"]


def test_who_is_demoted_is_listed_by_the_id_that_it_has_now(store):
    one = roster(store)
    for owner in (1000, 2000):
        meet(one, store, owner, "a")
    states = [one.get((owner, "a"), NOW) for owner in (1000, 2000)]
    for state in states:
        step(state, PRIOR, [Pin(NOW, "me", "why", 3, None)])
    settle(one, store, *states)
    assert list(one.demoted()) == [("a", states[0]), ("a#2000", states[1])]

    store.commit(Commit("publish", 0, agents=one.bind({"a": 2000})))
    assert list(one.demoted()) == [("a", states[1]), ("a#1000", states[0])]

    one.forget(states[1])
    assert list(one.demoted()) == [("a#1000", states[0])]
    one.rename(states[0], "z")
    assert list(one.demoted()) == [("z", states[0])]


def test_ids_of_another_owner_are_taken_however_many_are_claimed_at_once(store):
    one = roster(store)
    names = [f"a{number}" for number in range(10)]
    for name in names:
        meet(one, store, 1000, name)
    one.expect((2000, name) for name in [*names, "own"])
    states = [one.get(one.key_of(2000, name), NOW) for name in [*names, "own"]]

    assert [one.name(state) for state in states] == [*(f"{name}#2000" for name in names), "own"]
    assert one.take_foreign() == [(2000, name) for name in names]


def test_an_agent_that_was_only_looked_at_leaves_memory_with_the_next_commit(store):
    one = roster(store)
    meet(one, store, 1000, "a")
    state = one.get((1000, "a"), NOW)
    step(state, PRIOR, [Tick(NOW + 3600 * 1_000_000)])
    settle(one, store, state)
    assert one.by_name("a") is not None
    assert one.holds((1000, "a"))
    assert one.next_due_us() is None

    settle(one, store)
    assert not one.holds((1000, "a"))


def test_other_rules_can_make_agents_leave_memory(store):
    learned = Config().prior()
    one = Roster(store, learned, 100)
    state, _ = step(one.get((1000, "a"), NOW), learned, [(NOW, 1, 0, "file_write", 1, 0, None)])
    state.profile.window.clear()
    settle(one, store, state)
    assert one.next_due_us() is not None

    one.set_prior(PRIOR)
    settle(one, store)
    assert not one.holds((1000, "a"))


def test_reloading_forgets_what_was_not_committed(store):
    one = roster(store)
    meet(one, store, 1000, "a")
    committed = dump_state(one.get((1000, "a"), NOW))
    step(one.get((1000, "a"), NOW), PRIOR, [(NOW + 1, 1, 0, "file_write", 1, 0, None)] * 50)
    one.get(one.key_of(1000, "never"), NOW)
    one.reload()

    assert dump_state(one.get((1000, "a"), NOW)) == committed
    assert [state.agent_id for state in one.all()] == ["a"]


def test_an_unknown_name_has_no_state(store):
    assert roster(store).by_name("nobody") is None


def test_a_bound_id_is_its_owners_even_when_another_one_wrote_first(store):
    one = roster(store)
    one.bind({"a": 2000})
    assert meet(one, store, 1000, "a") == "a#1000"
    assert meet(one, store, 2000, "a") == "a"


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("kind", [0, 1])
def test_an_id_that_is_bound_later_changes_hands_and_nothing_else_changes(store, again, kind):
    one = roster(store)
    for owner in (1000, 2000):
        meet(one, store, owner, "a", kind=kind)
    before = {owner: store.agent((owner, "a")).state for owner in (1000, 2000)}
    one = roster(store) if again else one
    known = set(one.known())
    store.commit(Commit("publish", 0, agents=one.bind({"a": 2000})))

    assert {owner: store.agent((owner, "a")).name for owner in (1000, 2000)} == {1000: "a#1000", 2000: "a"}
    assert {owner: store.agent((owner, "a")).state for owner in (1000, 2000)} == before
    assert known == {"a", "a#2000"}
    assert set(one.known()) == {"a", "a#1000"}
    assert one.bind({"a": 2000}) == []
    assert (meet(one, store, 1000, "a"), meet(one, store, 2000, "a")) == ("a#1000", "a")
    assert one.by_name("a").owner == 2000


def test_every_published_id_is_known_in_memory_or_not(store):
    one = roster(store)
    for agent_id in ("a", "b"):
        meet(one, store, 1000, agent_id)
    assert set(one.known()) == {"a", "b"}
    meet(one, store, 1000, "c")
    meet(one, store, 2000, "c")

    assert set(one.known()) == {"a", "b", "c", "c#2000"} == set(roster(store).known())


def test_the_nameless_agents_of_two_owners_accuse_nobody(store):
    one = roster(store)
    for pseudo in (OVERFLOW_ID, UNNAMED_ID):
        assert [meet(one, store, owner, pseudo) for owner in (1000, 2000)] == [pseudo, f"{pseudo}#2000"]

    assert one.take_foreign() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state[:2] + b"\x90" + state[3:],
        lambda state: b"7" + state[1:],
        lambda state: b"",
        # Sound as a text, and another agent's, or of another tier than the one that was published.
        lambda state: state.replace(b"\xa8agent_id\xa1a", b"\xa8agent_id\xa1b"),
        lambda state: state.replace(b"\xa8standing\x81", b"\xa8standing\x82\xa4tier\x02"),
    ],
)
def test_an_agent_whose_state_is_damaged_is_restricted_and_no_other(store, damage):
    one = roster(store)
    for name in ("a", "c"):
        meet(one, store, 1000, name)
    row = store.agent((1000, "a"))
    before = row.state
    row = row._replace(state=damage(before))
    assert row.state != before
    store.commit(Commit("publish", NOW, agents=[row]))

    again = roster(store)
    assert again.take_late(NOW) == []
    again.get(again.key_of(1000, "a"), NOW + 5)
    assert [name for name, _ in again.demoted()] == ["a"]
    drafts = again.take_late(NOW + 5)

    assert [(draft.change.from_tier, draft.change.to_tier, draft.change.cause) for _, draft in drafts] == [
        (1, 3, "damaged")
    ]
    assert drafts[0][0].standing.quiet_since_us == drafts[0][0].standing.since_us == NOW + 5
    assert again.take_late(NOW + 6) == []


def test_one_that_is_due_in_the_database_alone_is_the_next(store):
    learned = Config().prior()
    one = Roster(store, learned, 100)
    state, _ = step(one.get((1000, "a"), NOW), learned, [(NOW, 1, 0, "file_write", 1, 0, None)])
    settle(one, store, state)

    due_us = one.next_due_us()
    assert due_us is not None
    assert Roster(store, learned, 100).next_due_us() == due_us


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pin", "unpin", "rename", "bind", "forget", "look"]),
            st.sampled_from([1000, 2000]),
            st.sampled_from("abc"),
            st.sampled_from("abc"),
        ),
        max_size=12,
    )
)
def test_who_follows_the_changes_knows_who_is_listed(moves):
    with Store.open(":memory:", NOW, is_durable=False) as store:
        one = roster(store)
        seen, listed = one.edition, {}
        for number, (what, owner, agent_id, other) in enumerate(moves):
            state = one.find((owner, agent_id))
            if what in ("pin", "unpin"):
                state = state or one.get(one.key_of(owner, agent_id), NOW)
                wish = Pin(NOW, "me", "why", 3, None) if what == "pin" else Unpin(NOW, "me", "why")
                step(state, PRIOR, [wish])
                state.decision_no = number
                settle(one, store, state)
            elif what == "rename" and state is not None and agent_id != other:
                renamed, old, new = one.rename(state, other)
                rows = [one.row(renamed)]
                renaming = Renaming(owner, agent_id, other, old, new)
                store.commit(Commit("wish", NOW, agents=rows, renamed=renaming))
            elif what == "bind":
                store.commit(Commit("publish", NOW, agents=one.bind({agent_id: owner})))
            elif what == "forget" and state is not None:
                name = one.name(state)
                one.forget(state)
                store.commit(Commit("wish", NOW, erased=(owner, agent_id, name)))
            elif what == "look":
                follow(listed, one.changes(seen))
                seen = one.edition
                assert listed == {name: (state, state.decision_no) for name, state in one.demoted()}
        follow(listed, one.changes(seen))
        assert listed == {name: (state, state.decision_no) for name, state in one.demoted()}


def follow(listed: dict, changes) -> None:
    for name, state in changes:
        if state is None:
            listed.pop(name, None)
        else:
            listed[name] = (state, state.decision_no)


def test_changes_that_are_too_many_or_of_another_roster_are_not_known(store, monkeypatch):
    monkeypatch.setattr(roster_module, "_MAX_CHANGES", 2)
    one = roster(store)
    seen = one.edition
    for name in "abc":
        state, _ = step(one.get(one.key_of(1000, name), NOW), PRIOR, [Pin(NOW, "me", "why", 3, None)])
        settle(one, store, state)
    assert one.changes(seen) is None
    assert one.changes(one.edition) == []

    other = roster(store)
    other.succeed(one)
    assert other.edition > one.edition
    assert other.changes(one.edition) is None
