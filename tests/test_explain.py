"""Explanations: reasons, evidence and one word for a decision."""

import pytest

from sentineld.event import FILE, NETWORK, Tick
from sentineld.explain import decide, printable_path, reason_code
from sentineld.monitor import BehavioralMonitor
from sentineld.policy import Policy
from sentineld.step import Pardon, Pin, Prior, new_state, step

S = 1_000_000
T0 = 1_763_858_400 * S
PRIOR = Prior(BehavioralMonitor(), Policy())


def decisions(*inputs, prior=PRIOR):
    state = new_state(1000, "a", prior, T0)
    state, drafts = step(state, prior, inputs)
    return state, [
        decide(number, "a", state, draft, prior, lambda source_id: f"/old/{source_id}", {7: "/new/7"})
        for number, draft in enumerate(drafts, 1)
    ]


def flood(count, kinds=(FILE, NETWORK), source=7, entropy=900_000_000):
    return [
        (T0 + n * S // 10, kinds[n % len(kinds)], entropy, "x", source, n * 100, None) for n in range(count)
    ]


def test_a_demotion_names_what_was_seen_and_what_would_have_been_right():
    state, [first, second] = decisions(*flood(100))

    assert (first.from_tier, first.to_tier, second.from_tier, second.to_tier) == (1, 2, 2, 3)
    assert (first.cause, first.decision_id, first.prior_version) == ("detected", "d-000001", PRIOR.version)
    assert first.score > 0.5
    files = first.reasons[0]
    assert (files.detector, files.feature) == ("activity", "file_operations")
    assert files.expected == files.observed - 1
    assert (state.decision_no, state.decision_score) == (2, second.score)


def test_the_evidence_are_the_last_records_with_their_places():
    _, [first, _] = decisions(*flood(100))

    assert len(first.evidence) == 8
    last = first.evidence[-1]
    assert (last.path, last.event_id) == ("/new/7", f"7-{last.offset}")
    assert last.summary.startswith("x at 2025-11-23T00:40:0")
    assert last.summary.endswith("entropy 0.90")
    assert [item.offset for item in first.evidence] == list(range(last.offset - 700, last.offset + 1, 100))


def test_evidence_of_an_earlier_batch_is_named_by_the_database():
    _, found = decisions(*flood(100, source=3))

    assert {item.path for item in found[0].evidence} == {"/old/3"}


def test_a_wish_has_no_reasons_but_an_author():
    _, found = decisions(
        Pin(T0 + S, "root", "drill", 3, None), Pardon(T0 + 2 * S, "ann", "checked", 0, attack=True)
    )

    assert [(item.cause, item.actor, item.note, item.attack, item.reasons) for item in found] == [
        ("pinned", "root", "drill", False, []),
        ("pardoned", "ann", "checked", True, []),
    ]


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        ((FILE, FILE, FILE, FILE, FILE, FILE, NETWORK), "file_operations"),
        ((NETWORK, NETWORK, NETWORK, NETWORK, NETWORK, NETWORK, FILE), "network_operations"),
    ],
)
def test_the_word_for_a_demotion_is_the_feature_that_is_furthest_off(kinds, word):
    _, found = decisions(*flood(200, kinds))
    reasons = {reason.feature: reason for reason in found[0].reasons}

    assert reason_code(found[0]) in reasons
    assert reasons[word].observed == max(reason.observed for reason in found[0].reasons)


def test_the_word_for_everything_else_is_its_cause():
    state, found = decisions(*flood(100), Tick(T0 + 5000 * S))

    assert [reason_code(item) for item in found[2:]] == ["recovered", "recovered"]
    assert state.reason_code == "recovered"


def test_when_no_single_feature_would_have_saved_the_tier_none_is_said_to():
    prior = Prior(BehavioralMonitor(suspicious_threshold=0.01, anomalous_threshold=0.02), Policy())

    _, [first] = decisions((T0, FILE, 900_000_000, "x", 7, 0, None), prior=prior)

    assert (first.from_tier, first.to_tier) == (1, 3)
    assert [reason.expected for reason in first.reasons] == [None, None, None]
    assert reason_code(first) == "mean_entropy"


def test_the_end_of_a_pin_shows_what_is_seen_but_claims_nothing():
    calm = flood(30, entropy=550_000_000)
    _, found = decisions(Pin(T0, "root", "drill", 1, T0 + 60 * S), *calm, Tick(T0 + 100 * S))

    revealed = found[-1]
    assert (revealed.cause, revealed.from_tier, revealed.to_tier, revealed.actor) == ("expired", 1, 2, "")
    assert [reason.observed for reason in revealed.reasons][:2] == [15, 15]
    assert {reason.expected for reason in revealed.reasons} == {None}


def test_paths_that_are_not_utf8_are_shown_with_escapes():
    assert printable_path(b"/var/\xff/\xc3\xa9".decode("utf-8", "surrogateescape")) == "/var/\\xff/é"
