"""The pure core against independent models: window, score, entropy, step, policy, explanations, batches."""

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.batch import Part, combine, effective_times, merge_keys, split_rows
from sentineld.entropy import (
    batch_entropy_units,
    byte_entropy,
    canonical_json,
    entropy_units,
    metadata_entropy,
)
from sentineld.event import FILE, NETWORK, OTHER, Incident, Tick
from sentineld.explain import decide
from sentineld.monitor import BehavioralMonitor
from sentineld.policy import Policy
from sentineld.rows import Rows
from sentineld.step import Pardon, Pin, Prior, Unpin, dump_state, load_state, new_state, shift, step
from sentineld.window import BUCKETS, Window

S = 1_000_000
T0 = 1_700_000_000 * S

# Entropy.

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
METADATA = st.dictionaries(st.text(max_size=8), JSON, min_size=1, max_size=6)


def shannon(data):
    counts = Counter(data)
    return -sum(c / len(data) * math.log2(c / len(data)) for c in counts.values()) / 8


@given(METADATA)
def test_entropy_is_that_of_the_compact_sorted_utf8_json(metadata):
    payload = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    assert canonical_json(metadata) == payload
    assert metadata_entropy(metadata) == pytest.approx(shannon(payload), abs=1e-7)


@given(
    st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode)), max_size=40),
    st.data(),
)
def test_a_batch_of_payloads_has_the_entropies_of_its_members_to_the_last_bit(payloads, data):
    if data.draw(st.booleans()):
        payloads.insert(
            data.draw(st.integers(0, len(payloads))), bytes(range(256)) * data.draw(st.integers(15, 40))
        )

    assert batch_entropy_units(payloads) == [entropy_units(byte_entropy(item)) for item in payloads]


# Window.

EVENTS = st.lists(
    st.tuples(st.integers(0, 900), st.sampled_from([OTHER, FILE, NETWORK]), st.integers(0, 10**9)),
    max_size=60,
)


def content(window):
    return (
        {number: tuple(cell) for number, cell in window.buckets.items()},
        (window.events, window.file_ops, window.network_ops, window.entropy_units),
        window.oldest,
    )


def filled(events, until_s):
    window = Window()
    for at_s, kind, entropy in events:
        window.advance(at_s // 10)
        window.add(at_s // 10, 1, kind == FILE, kind == NETWORK, entropy)
    window.advance(until_s // 10)
    return window


@given(EVENTS, st.integers(0, 400))
def test_a_window_holds_exactly_the_events_of_its_buckets(events, later_s):
    until_s = max([at for at, _, _ in events], default=0) + later_s

    window = filled(events, until_s)

    held = [event for event in events if event[0] // 10 > until_s // 10 - BUCKETS]
    assert window.events == len(held)
    assert window.file_ops == sum(kind == FILE for _, kind, _ in held)
    assert window.network_ops == sum(kind == NETWORK for _, kind, _ in held)
    assert window.entropy_units == sum(entropy for _, _, entropy in held)
    assert window.oldest == min((at // 10 for at, _, _ in held), default=1 << 62)
    assert len(window.buckets) <= BUCKETS
    # The span: nothing younger than 300 s is missing, nothing older than 310 s is there.
    assert all(event in held for event in events if until_s - event[0] <= 300)
    assert all(until_s - event[0] < 310 for event in held)


@given(
    st.lists(
        st.tuples(st.integers(0, 299), st.sampled_from([OTHER, FILE, NETWORK]), st.integers(0, 9)), max_size=5
    )
)
def test_the_order_of_events_makes_no_difference_while_all_are_inside(events):
    assert len({repr(sorted(content(filled(order, 300))[0].items())) for order in permutations(events)}) == 1


# Monitor: the written-out loop against the plain one.

SMALL = BehavioralMonitor(
    saturation=6, suspicious_threshold=0.35, anomalous_threshold=0.6, window_seconds=300.0
)


def observation(at_us, kind=OTHER, entropy=500_000_000, offset=0):
    return (at_us, kind, entropy, "x", 1, offset, None)


GAPS = st.one_of(st.integers(-400, 400), st.sampled_from([0, 10, 300, 310, 900, 5000])).map(lambda s: s * S)
MOMENTS = st.tuples(GAPS, st.sampled_from([OTHER, FILE, NETWORK]), st.sampled_from([0, 400_000_000, 10**9]))


def stream_of(moments, start=T0):
    at, items = start, []
    for number, (gap, kind, entropy) in enumerate(moments):
        at += gap
        items.append(observation(at, kind, entropy, number))
    return items


def plain_levels(monitor, items):
    """Judge after every event and every bucket that leaves, from scratch each time."""
    seen, clock, level, crossings = [], None, 1, []

    def judge(at_us, position):
        nonlocal level
        bucket = at_us // monitor.bucket_us
        held = [item for item in seen if item[0] // monitor.bucket_us >= bucket - 30]
        mean = sum(item[2] for item in held) / (len(held) * 10**9) if held else 0.0
        score = monitor.score(
            sum(item[1] == FILE for item in held), sum(item[1] == NETWORK for item in held), mean
        ).value
        if monitor.level(score) != level:
            level = monitor.level(score)
            crossings.append((position, at_us, level, score))

    for position, item in enumerate(items):
        if clock is not None and item[0] > clock:
            for bucket in range(
                clock // monitor.bucket_us + 1, min(item[0], clock + 400 * S) // monitor.bucket_us + 1
            ):
                judge(bucket * monitor.bucket_us, position)
        clock = item[0] if clock is None else max(clock, item[0])
        if item[0] // monitor.bucket_us >= clock // monitor.bucket_us - 30:
            seen.append(item)
            judge(clock, position + 1)
    return crossings


def observed_levels(monitor, items, start=T0):
    window, clock, level, position, crossings = monitor.new_window(), items[0][0], 1, 0, []
    while position < len(items):
        stop = monitor.observe(window, clock, level, items, position)
        position, clock = stop.position, stop.clock_us
        if stop.crossing is not None:
            level = stop.crossing.level
            crossings.append((position, stop.crossing.at_us, level, stop.crossing.score))
    return crossings


@given(st.lists(MOMENTS, min_size=1, max_size=30))
def test_the_called_tier_changes_where_a_judge_who_looks_at_everything_changes_it(moments):
    items = stream_of(moments)

    assert observed_levels(SMALL, items) == plain_levels(SMALL, items)


# Step.

WISHES = st.one_of(
    st.tuples(st.just("pardon"), st.sampled_from([0, 60, 1000])),
    st.tuples(st.just("pin"), st.sampled_from([1, 2, 3]), st.sampled_from([None, -50, 0, 200, 3000])),
    st.tuples(st.just("unpin")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("incident"), st.sampled_from(["gap", "rewritten", "line_too_long"])),
)
#: Streams: three of four inputs are events; bursts, so that scores rise.
BURST = st.tuples(st.integers(1, 8), st.sampled_from([FILE, NETWORK]))
STEPS = st.lists(st.tuples(GAPS, st.one_of(MOMENTS, BURST, BURST, WISHES)), min_size=1, max_size=14)
POLICIES = st.sampled_from(
    [
        Policy(),
        Policy(quiet_us=30 * S),
        Policy(quiet_us=120 * S),
        Policy(quiet_us=200 * S, tier3_needs_pardon=True),
    ]
)


def inputs_of(steps):
    at, items = T0, []
    for gap, what in steps:
        at += gap
        if what[0] == "pardon":
            items.append(Pardon(at, "op", "why", what[1] * S))
        elif what[0] == "pin":
            items.append(Pin(at, "op", "why", what[1], None if what[2] is None else at + what[2] * S))
        elif what[0] == "unpin":
            items.append(Unpin(at, "op", "why"))
        elif what[0] == "incident":
            items.append(Incident(at, what[1], 1000, 3, "/t/a", 0, 9, "told by a test"))
        elif what[0] == "tick":
            items.append(Tick(at))
        elif len(what) == 2:
            items += [observation(at, what[1], 900_000_000, len(items) + n) for n in range(what[0])]
        else:
            items.append(observation(at, what[1], what[2], len(items)))
    return items


def run(prior, *pieces, between=lambda state: state):
    state, drafts = new_state(1000, "a", prior, T0), []
    for piece in pieces:
        state, found = step(state, prior, piece)
        drafts += found
        state = between(state)
    return state, drafts


def through_bytes(state):
    return load_state(dump_state(state))


def time_of(item):
    return item[0] if isinstance(item, tuple) else item.at_us


@given(STEPS, POLICIES, st.data())
def test_a_stream_may_be_cut_anywhere_and_the_state_may_travel_as_bytes(steps, policy, data):
    prior = Prior(SMALL, policy)
    items = inputs_of(steps)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(items)), max_size=5)))
    pieces = [items[a:b] for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)]

    whole_state, whole = run(prior, items)
    state, drafts = run(prior, *pieces, between=through_bytes)

    assert drafts == whole
    assert state == whole_state
    assert dump_state(state) == dump_state(whole_state)


@given(STEPS, POLICIES, st.data())
def test_it_makes_no_difference_how_often_time_is_told(steps, policy, data):
    prior = Prior(SMALL, policy)
    items = inputs_of(steps)
    dense, clock = [], T0
    for item in items:
        for _ in range(data.draw(st.integers(0, 3))):
            dense.append(Tick(data.draw(st.integers(clock, max(clock, time_of(item))))))
            clock = dense[-1].at_us
        dense.append(item)
        clock = max(clock, time_of(item))
    end = Tick(clock + 10_000 * S)
    every_20_s = [Tick(at) for at in range(clock, end.at_us, 20 * S)]

    _, rare = run(prior, [*items, end])
    _, frequent = run(prior, [*dense, *every_20_s, end])

    assert frequent == rare


@given(STEPS, POLICIES)
def test_decisions_follow_each_other_in_time_and_in_tier(steps, policy):
    prior = Prior(SMALL, policy)

    state, drafts = run(prior, [*inputs_of(steps), Tick(T0 + 100_000 * S)])

    changes = [draft.change for draft in drafts]
    assert [change.at_us for change in changes] == sorted(change.at_us for change in changes)
    tiers = [1, *(change.to_tier for change in changes)]
    assert [change.from_tier for change in changes] == tiers[:-1]
    assert state.standing.effective_tier == tiers[-1]
    assert all(change.from_tier - change.to_tier == 1 for change in changes if change.cause == "recovered")
    assert all(change.to_tier > change.from_tier for change in changes if change.cause == "detected")
    assert len(state.recent) <= 8


@given(STEPS, st.sampled_from([0, 60, 4000]))
def test_forgiven_events_never_demote_again(steps, grace_s):
    prior = Prior(SMALL, Policy(quiet_us=60 * S))
    items = inputs_of(steps)
    end = max(time_of(item) for item in [*items, Tick(T0)]) + S

    _, before = run(prior, items)
    _, after = run(
        prior, [*items, Pardon(end, "op", "why", grace_s * S), *(Tick(end + n * 50 * S) for n in range(200))]
    )

    assert [draft.change.cause for draft in after if draft.change.at_us >= end][:1] == ["pardoned"]
    assert all(draft.change.cause != "detected" for draft in after if draft.change.at_us > end)
    assert before == after[: len(before)]


@given(STEPS, STEPS, POLICIES, st.sampled_from([-30, -1, 1, 5000]), st.integers(0, 9_000_000))
def test_a_clock_that_is_set_changes_no_decision(before, after, policy, buckets, fraction):
    # What comes after the step comes as if the clock had always stood there: pins end by the clock itself.
    prior = Prior(SMALL, policy)
    items = [item for item in inputs_of([*before, *after]) if not isinstance(item, Pin)]
    first, second = items[: len(before)], items[len(before) :]
    now = max([time_of(item) for item in [*first, Tick(T0)]])
    delta = buckets * SMALL.bucket_us

    _, expected = run(prior, [*first, Tick(now)], second)
    moved, drafts = run(prior, [*first, Tick(now)])
    count = len(drafts)
    shift(moved, delta + fraction if delta > 0 else delta, now + delta + (fraction if delta > 0 else 0))
    for item in second:
        if isinstance(item, tuple):
            at = (item[0] + delta, *item[1:])
        else:
            at = replace(item, at_us=item.at_us + delta)
        moved, found = step(moved, prior, [at])
        drafts += found

    seen = [(d.change.cause, d.change.to_tier, d.change.at_us) for d in drafts]
    wanted = [
        (d.change.cause, d.change.to_tier, d.change.at_us + (delta if n >= count else 0))
        for n, d in enumerate(expected)
    ]
    assert seen == wanted


def test_an_agent_that_has_met_the_new_time_does_not_move_beyond_it():
    prior = Prior(SMALL, Policy())
    state, _ = run(prior, [observation(T0 + 3600 * S, FILE, 0, 1)])
    before = dump_state(state)
    shift(state, 3600 * S, T0 + 3600 * S)
    assert dump_state(state) == before


# Explanations.


@given(
    STEPS,
    POLICIES,
    st.sampled_from([SMALL, BehavioralMonitor(), BehavioralMonitor(entropy_weight=0.0, file_weight=0.7)]),
)
def test_what_was_expected_would_have_kept_the_tier_and_a_little_more_would_not(steps, policy, monitor):
    prior = Prior(monitor, policy)
    state, drafts = run(prior, [*inputs_of(steps), Tick(T0 + 100_000 * S)])

    for number, draft in enumerate(drafts, 1):
        decision = decide(number, "a", state, draft, prior, str, {})
        crossing, change = draft.crossing, draft.change
        mean = crossing.entropy_units / (crossing.events * 10**9) if crossing.events else 0.0
        observed = {
            "file_operations": crossing.file_ops,
            "network_operations": crossing.network_ops,
            "mean_entropy": mean,
        }
        if draft.incident is not None:
            assert [reason.feature for reason in decision.reasons] == [draft.incident.kind]
            assert decision.evidence[-1].path == "/t/a"
            continue
        if change.cause not in ("detected", "recovered"):
            assert all(reason.expected is None for reason in decision.reasons)
            continue
        lower = min(change.from_tier, change.to_tier)
        assert [reason.feature for reason in decision.reasons] == list(observed)
        for reason in decision.reasons:
            assert reason.observed == pytest.approx(observed[reason.feature], abs=1e-6)
            is_share = reason.feature == "mean_entropy"

            def calls_for(value, feature=reason.feature, others=observed):
                return monitor.level(monitor.score(*{**others, feature: value}.values()).value)

            if reason.expected is None:
                # No amount of this feature alone would have led anywhere else.
                assert (calls_for(0) <= lower) == (
                    calls_for(1.0 if is_share else monitor.saturation) <= lower
                )
            else:
                assert calls_for(reason.expected if is_share else int(reason.expected)) <= lower
                assert calls_for(reason.expected + 1e-6 if is_share else int(reason.expected) + 1) > lower


# Batches.

ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 50)),
        st.sampled_from("abc"),
        st.sampled_from(["", "", "s1", "s2"]),
    ),
    max_size=8,
)
PARTS = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3]),
        ROWS,
        st.integers(0, 30),
        st.integers(30, 50),
        st.booleans(),
        st.sets(st.integers(0, 7)),
    ),
    max_size=5,
)


def part_of(source_id, rows, lo, hi, is_history, duplicates):
    columns = Rows(
        at_us=[at for at, _, _ in rows],
        agent_ids=[agent for _, agent, _ in rows],
        kinds=[FILE] * len(rows),
        entropies=[5] * len(rows),
        event_types=["tool_call" if agent == "a" else "file_read" for _, agent, _ in rows],
        offsets=[number * 10 for number in range(len(rows))],
        sessions={number: name for number, (_, _, name) in enumerate(rows) if name},
        tool_calls=[number for number, (_, agent, _) in enumerate(rows) if agent == "a"],
    )
    return Part(
        source_id,
        source_id % 2,
        0,
        0,
        lo,
        hi,
        40,
        is_history,
        columns,
        duplicates={number for number in duplicates if number < len(rows)},
    )


def key_of(owner, agent_id):
    return (owner, "overflow") if agent_id == "c" else (owner, agent_id)


@given(PARTS)
def test_a_batch_is_the_stable_merge_of_its_files_by_their_running_maximum(specifications):
    parts = [part_of(*specification) for specification in specifications]
    expected, latest = [], {}
    for order, part in enumerate(parts):
        for number, at in enumerate(part.rows.at_us):
            own = part.file_time if at is None else at
            counts_at = min(own, part.hi) if part.is_history else max(part.lo, min(own, part.hi))
            latest[part.source_id] = max(counts_at, latest.get(part.source_id, counts_at))
            if number not in part.duplicates:
                expected.append((latest[part.source_id], order, number, counts_at))
    expected.sort(key=lambda item: item[0])
    by_key, names = {}, {}
    for _, order, number, counts_at in expected:
        rows = parts[order].rows
        key = key_of(parts[order].owner, rows.agent_ids[number])
        by_key.setdefault(key, []).append(
            (counts_at, FILE, 5, rows.event_types[number], parts[order].source_id, number * 10, None)
        )
        names.setdefault(key, []).append(rows.sessions.get(number, ""))

    inputs = combine(parts, key_of)

    assert inputs.observations == by_key
    assert list(inputs.observations) == list(by_key)
    assert inputs.sessions == {key: given for key, given in names.items() if any(given)}
    assert inputs.events == len(expected)
    assert +inputs.event_types == Counter(item[3] for run in by_key.values() for item in run)
    assert inputs.tool_calls == inputs.event_types["tool_call"]


@given(ROWS.filter(bool), st.booleans(), st.data())
def test_rows_may_be_split_anywhere_without_changing_what_they_mean(rows, is_history, data):
    whole = part_of(1, rows, 10, 45, is_history, set())
    first, second = split_rows(whole.rows, data.draw(st.integers(0, len(rows) - 1)))

    halves = [replace(whole, rows=first), replace(whole, rows=second)]
    together = combine([whole], key_of)
    apart = combine(halves, key_of)

    assert apart == together
    assert sum(half.clamped for half in halves) == whole.clamped
    assert sum(half.timeless for half in halves) == whole.timeless
    assert merge_keys(effective_times(whole)) == merge_keys(effective_times(halves[0])) + merge_keys(
        effective_times(halves[1]), max(effective_times(halves[0]), default=None)
    )
