"""The keyed step: inputs in, decisions out, at exact instants."""

import json
from functools import lru_cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentineld.config import Config
from sentineld.detection import Detection, DetectionSettings
from sentineld.event import FILE, NETWORK, OTHER, Facts, Tick
from sentineld.habits import Role, key_of
from sentineld.learned import Finished, Learned, Own
from sentineld.monitor import BehavioralMonitor
from sentineld.policy import Policy
from sentineld.replay import Sessions
from sentineld.step import RECENT, Pardon, Pin, Prior, Unpin, dump_state, load_state, new_state, observe, step
from sentineld.trail import Trail

S = 1_000_000
T0 = 1_763_858_400 * S
QUIET = 900 * S
PRIOR = Prior(BehavioralMonitor(), Policy())


def fresh(prior=PRIOR):
    return new_state(1000, "a", prior, T0)


def burst(at_us, count=60, kinds=(FILE, NETWORK), entropy=950_000_000):
    return [(at_us, kinds[n % len(kinds)], entropy, "x", 1, n, None) for n in range(count)]


def changes(drafts):
    return [
        (draft.change.cause, draft.change.from_tier, draft.change.to_tier, draft.change.at_us - T0)
        for draft in drafts
    ]


def test_a_flood_demotes_at_the_event_that_passes_the_threshold():
    state, drafts = step(fresh(), PRIOR, burst(T0))

    assert changes(drafts) == [("detected", 1, 2, 0), ("detected", 2, 3, 0)]
    assert [
        draft.crossing.score > threshold for draft, threshold in zip(drafts, (0.5, 0.7), strict=True)
    ] == [True, True]
    assert drafts[0].crossing.events < drafts[1].crossing.events < 60
    assert (state.standing.tier, state.level, state.events) == (3, 3, 60)


def test_silence_brings_the_agent_back_at_exact_instants_in_one_tick_or_in_many():
    demoted = burst(T0)
    # The bucket of T0 leaves the window 310 s later; from then on the agent is quiet.
    expected = [("recovered", 3, 2, 310 * S + QUIET), ("recovered", 2, 1, 310 * S + 2 * QUIET)]

    _, once = step(fresh(), PRIOR, [*demoted, Tick(T0 + 100_000 * S)])
    _, often = step(fresh(), PRIOR, [*demoted, *(Tick(T0 + n * 7 * S) for n in range(1, 1000))])

    assert changes(once)[2:] == changes(often)[2:] == expected
    assert once == often


def test_a_single_late_tick_does_not_lose_a_recovery_that_lies_between_two_changes_of_the_score():
    # Noise beside a file flood: when the flood leaves the window the score falls, when the calm events leave
    # after it the mean entropy rises and the score with it.
    prior = Prior(
        BehavioralMonitor(file_weight=0.3, network_weight=0.0, entropy_weight=0.7, anomalous_threshold=0.9),
        Policy(quiet_us=60 * S),
    )
    items = [
        *burst(T0, 100, (FILE,), 600_000_000),
        *burst(T0 + 100 * S, 10, (OTHER,), 0),
        *burst(T0 + 250 * S, 10, (OTHER,), 10**9),
    ]

    _, once = step(fresh(prior), prior, [*items, Tick(T0 + 10_000 * S)])
    _, often = step(fresh(prior), prior, [*items, *(Tick(T0 + n * S) for n in range(250, 2000))])

    assert once == often
    assert [cause for cause, *_ in changes(once)] == ["detected", "recovered", "detected", "recovered"]


def test_a_deadline_acts_after_input_of_the_same_instant():
    expiry = T0 + 50 * S

    _, [_, unpinned] = step(
        fresh(), PRIOR, [Pin(T0, "op", "why", 3, expiry), Tick(expiry), Unpin(expiry, "op", "why")]
    )
    _, [_, expired] = step(
        fresh(), PRIOR, [Pin(T0, "op", "why", 3, expiry), Tick(expiry + 1), Unpin(expiry + 1, "op", "why")]
    )

    assert (unpinned.change.cause, unpinned.change.at_us) == ("unpinned", expiry)
    assert (expired.change.cause, expired.change.at_us) == ("expired", expiry)


def test_a_late_event_counts_in_its_own_bucket_and_is_judged_now():
    state, _ = step(fresh(), PRIOR, [(T0, OTHER, 0, "x", 1, 0, None)])
    state, drafts = step(state, PRIOR, burst(T0 - 100 * S))

    assert changes(drafts) == [("detected", 1, 2, 0), ("detected", 2, 3, 0)]
    assert state.clock_us == T0
    assert set(state.profile.window.buckets) == {T0 // (10 * S), (T0 - 100 * S) // (10 * S)}


def test_an_event_from_before_the_window_is_counted_but_does_not_score():
    state, drafts = step(fresh(), PRIOR, burst(T0 - 1000 * S))

    assert drafts == []
    assert (state.events, state.profile.window.events) == (60, 0)


def test_time_does_not_go_back():
    state, _ = step(fresh(), PRIOR, [Tick(T0 + 100 * S), Tick(T0 + 50 * S)])

    assert state.clock_us == T0 + 100 * S


def test_a_pardon_empties_window_and_evidence():
    state, drafts = step(fresh(), PRIOR, [*burst(T0), Pardon(T0 + S, "ann", "checked", 0)])

    assert changes(drafts)[-1] == ("pardoned", 3, 1, S)
    assert (state.profile.window.events, state.recent, state.level, state.standing.tier) == (0, [], 1, 1)
    assert len(drafts[-1].recent) == RECENT
    _, later = step(state, PRIOR, [Tick(T0 + 100_000 * S)])
    assert later == []


def test_grace_holds_back_what_comes_after_the_pardon_until_it_ends():
    _, drafts = step(
        fresh(),
        PRIOR,
        [*burst(T0), Pardon(T0 + S, "ann", "x", 100 * S), *burst(T0 + 2 * S), Tick(T0 + 200 * S)],
    )

    assert changes(drafts)[2:] == [("pardoned", 3, 1, S), ("detected", 1, 3, 101 * S)]


def test_without_grace_new_events_demote_again():
    _, drafts = step(fresh(), PRIOR, [*burst(T0), Pardon(T0 + S, "ann", "x", 0), *burst(T0 + 2 * S)])

    assert changes(drafts)[3:] == [("detected", 1, 2, 2 * S), ("detected", 2, 3, 2 * S)]


def test_a_pin_hides_a_demotion_and_its_expiry_reveals_it():
    _, drafts = step(
        fresh(), PRIOR, [Pin(T0, "op", "why", 1, T0 + 60 * S), *burst(T0 + S), Tick(T0 + 61 * S)]
    )

    assert changes(drafts) == [("pinned", 1, 1, 0), ("expired", 1, 3, 60 * S)]


def test_a_pin_that_has_already_expired_ends_no_earlier_than_it_began():
    _, drafts = step(fresh(), PRIOR, [Pin(T0 + 10 * S, "op", "why", 3, T0), Tick(T0 + 20 * S)])

    assert changes(drafts) == [("pinned", 1, 3, 10 * S), ("expired", 3, 1, 10 * S)]


def test_unpinning_what_is_not_pinned_says_nothing():
    assert step(fresh(), PRIOR, [Unpin(T0, "op", "why")])[1] == []


def test_tier_3_waits_for_a_pardon_where_the_policy_says_so():
    prior = Prior(BehavioralMonitor(), Policy(tier3_needs_pardon=True))

    _, drafts = step(
        fresh(prior), prior, [*burst(T0), Tick(T0 + 10**6 * S), Pardon(T0 + 10**6 * S, "ann", "x", 0)]
    )

    assert changes(drafts)[2:] == [("pardoned", 3, 1, 10**6 * S)]


def test_milder_settings_take_effect_at_the_next_tick_though_no_event_comes():
    state, _ = step(fresh(), PRIOR, burst(T0))
    milder = Prior(
        BehavioralMonitor(suspicious_threshold=0.99, anomalous_threshold=1.0), Policy(quiet_us=60 * S)
    )

    state, drafts = step(state, milder, [Tick(T0 + 200 * S)])

    assert changes(drafts) == [("recovered", 3, 2, 60 * S), ("recovered", 2, 1, 120 * S)]


def test_stricter_settings_take_effect_at_the_next_tick():
    state, _ = step(fresh(), PRIOR, burst(T0, 4))
    stricter = Prior(BehavioralMonitor(suspicious_threshold=0.1, anomalous_threshold=0.2), Policy())

    _, drafts = step(state, stricter, [Tick(T0 + S)])

    assert changes(drafts) == [("detected", 1, 3, 0)]


def test_a_window_of_another_width_starts_empty_and_the_agent_becomes_quiet():
    state, _ = step(fresh(), PRIOR, burst(T0))
    other = Prior(BehavioralMonitor(window_seconds=30), Policy(quiet_us=60 * S))
    state.profile.window = other.monitor.new_window()

    state, drafts = step(state, other, [Tick(T0 + 61 * S), *burst(T0 + 70 * S), Tick(T0 + 1000 * S)])

    assert changes(drafts)[0] == ("recovered", 3, 2, 60 * S)
    assert changes(drafts)[1] == ("detected", 2, 3, 70 * S)
    assert state.standing.tier == 1


def test_a_quiet_time_that_was_shortened_acts_now_and_not_in_the_past():
    state, _ = step(fresh(), PRIOR, [*burst(T0), Tick(T0 + 1000 * S)])
    shorter = Prior(BehavioralMonitor(), Policy(quiet_us=60 * S))

    _, drafts = step(state, shorter, [Tick(T0 + 2000 * S)])

    assert changes(drafts) == [("recovered", 3, 2, 1000 * S), ("recovered", 2, 1, 1060 * S)]


def test_the_last_eight_observations_are_kept_across_calls():
    items = burst(T0, 20, (OTHER,), 0)
    state, _ = step(fresh(), PRIOR, items[:5])
    state, _ = step(state, PRIOR, items[5:])

    assert state.recent == items[-8:]


def test_the_state_survives_as_bytes():
    state, _ = step(fresh(), PRIOR, [*burst(T0), Pin(T0 + S, "op", "why", 2, T0 + 60 * S)])

    again = load_state(dump_state(state))

    assert again == state
    assert (again.agent_id, again.owner) == ("a", 1000)
    assert all(isinstance(item, tuple) for item in again.recent)


def whole(value):
    """Return plain data with every member, also those that are as they always begin."""
    if isinstance(value, msgspec.Struct):
        return {name: whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list | tuple) else value


def test_a_state_of_the_version_before_is_read():
    state, _ = step(fresh(), PRIOR, [*burst(T0), Pin(T0 + S, "op", "why", 2, T0 + 60 * S)])
    plain = whole(state)
    del plain["learned"], plain["trail"]
    plain["recent"] = [item[:6] for item in plain["recent"]]
    buckets = plain["profile"]["window"]["buckets"]
    plain["profile"]["window"]["buckets"] = {str(number): cell for number, cell in buckets.items()}

    found = load_state(b"1:" + json.dumps(plain).encode())
    assert found.trail == Trail()
    assert msgspec.structs.replace(found, trail=state.trail) == state


@pytest.mark.parametrize("prior", [PRIOR, Config().prior()], ids=["activity", "learned"])
def test_a_state_that_has_every_member_is_read(prior):
    state, _ = step(fresh(), prior, [*burst(T0), Pin(T0 + S, "op", "why", 2, T0 + 60 * S)])
    plain = whole(state)
    plain["profile"] |= {"file_ops_count": 0, "last_activity": "2025-11-23T00:00:00Z", "anomaly_score": 0.5}
    written = b"2:" + msgspec.msgpack.encode(plain)

    assert load_state(written) == load_state(dump_state(state)) == state
    assert len(dump_state(state)) < len(written)


def test_an_agent_that_acted_once_is_small():
    learned = Config().prior()
    sizes = [len(dump_state(step(fresh(), prior, burst(T0, 1))[0])) for prior in (PRIOR, learned)]

    assert sizes[0] < 350
    assert sizes[1] < 600


@pytest.mark.parametrize("data", [b"", b"3:{}", b"2:", b"2:{}", b"1:", b"1:{}", b"1:[]", b"{}"])
def test_other_bytes_are_a_value_error(data):
    with pytest.raises(ValueError):
        load_state(data)


def test_an_agent_is_cold_when_time_can_change_nothing():
    state, _ = step(fresh(), PRIOR, burst(T0, 1))
    assert not state.is_cold

    state, _ = step(state, PRIOR, [Tick(T0 + 320 * S)])
    assert state.is_cold

    state, _ = step(state, PRIOR, [Pin(T0 + 330 * S, "op", "why", 2, None)])
    assert not state.is_cold


def test_the_name_of_a_prior_tells_settings_apart():
    priors = [
        PRIOR,
        Prior(BehavioralMonitor(saturation=50), Policy()),
        Prior(BehavioralMonitor(), Policy(quiet_us=S)),
        Prior(BehavioralMonitor(), Policy(tier3_needs_pardon=True)),
    ]

    assert len({prior.version for prior in priors}) == 4
    assert Prior(BehavioralMonitor(), Policy()).version == PRIOR.version


@lru_cache(1)
def calm_role():
    """Return the habits of a role in whose 450 sessions nothing odd ever happened."""
    role = Role()
    for number in range(450):
        seen = {"first.tool": {key_of("first.tool", "Read"): 1}}
        done = Finished(0, "r", "", 0.1 + number / 1e4, 1, {"consequence": 0.1}, seen, ["Read"], {}, {})
        role.merge([done], [Own()])
    return role.dump()


def learned_prior():
    detection = Detection(DetectionSettings(gap_us=GAP), {(1000, "r"): Role.load(calm_role())})
    return Prior(BehavioralMonitor(), Policy(quiet_us=GAP // 2), detection=detection)


CALLS = [
    (("act", "Read"), ("first.tool", "Read")),
    (("act", "Bash"), ("out.host", "evil.example.net"), ("power.verb", "sudo")),
    (("act", "Bash"), ("out.host", "other.example.net"), ("out.publish", "gh release create")),
]
GAP = 1800 * S


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([-30 * S, 0, S, 60 * S, GAP // 2, GAP // 2 + 1, GAP, GAP + 1, 3 * GAP]),
            st.sampled_from([0, 0, 1, 2]),
            st.sampled_from(["", "s", "t"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_run_of_learned_events_is_judged_as_one_by_one_where_each_asks_what_is_due(events):
    run, at_us = [], T0
    for number, (pause_us, call, session) in enumerate(events):
        at_us += pause_us
        facts = Facts("x", "r", session=session, features=CALLS[call])
        run.append((at_us, (FILE, NETWORK, OTHER)[call], 10**8, "x", 1, number, facts))

    def judged(pieces):
        prior = learned_prior()
        state, drafts, verdicts = fresh(prior), [], []
        for piece in pieces:
            observe(state, prior, piece, drafts, verdicts=verdicts)
        sessions = Sessions(prior.monitor)
        sessions.learned((1000, "a"), run, verdicts)
        return dump_state(state), drafts, sessions.stretches

    assert judged([run]) == judged([[item] for item in run])


def test_a_replay_takes_from_what_is_told_what_all_verdicts_say():
    prior, run = learned_prior(), []
    for number in range(40):
        facts = Facts("x", "r", session=f"s{number // 8}", features=CALLS[number % 9 == 4])
        run.append((T0 + number * 60 * S, OTHER, 0, "x", 1, number, facts))
    told, every = [], []
    observe(fresh(prior), prior, run, [], verdicts=told)
    detection, agent = learned_prior().detection, Learned()
    every = [detection.observe(agent, 1000, item, item[0], is_frozen=True) for item in run]

    some, whole = Sessions(prior.monitor), Sessions(prior.monitor)
    some.learned((1000, "a"), run, told)
    whole.learned((1000, "a"), run, every)

    assert len(told) < len(every)
    assert (some.stretches, some.peaks) == (whole.stretches, whole.peaks)
