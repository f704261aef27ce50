"""Policy: demotion at once, recovery step by step, pins, pardons."""

import pytest

from sentineld.policy import Change, Policy, Standing
from sentineld.tier import Tier

QUIET = Policy().quiet_us


def demoted(tier, at_us=0, policy=None):
    standing = Standing()
    (policy or Policy()).call(standing, at_us, tier)
    return standing


@pytest.mark.parametrize("level", [2, 3])
def test_demotion_is_at_once(level):
    standing = Standing()

    assert Policy().call(standing, 5, level) == [Change(5, 1, level, "detected")]
    assert (standing.tier, standing.since_us) == (level, 5)


def test_a_lower_call_does_not_promote():
    standing = demoted(3)

    assert Policy().call(standing, 10, 1) == []
    assert standing.tier == 3


def test_promotion_is_one_tier_at_a_time_each_after_the_quiet_time_at_its_exact_instant():
    policy, standing = Policy(), demoted(3)
    policy.call(standing, 100, 1)

    assert policy.next_deadline(standing) == 100 + QUIET
    assert policy.pass_deadline(standing, 100 + QUIET, 1) == [Change(100 + QUIET, 3, 2, "recovered")]
    assert policy.next_deadline(standing) == 100 + 2 * QUIET
    assert policy.pass_deadline(standing, 100 + 2 * QUIET, 1) == [Change(100 + 2 * QUIET, 2, 1, "recovered")]
    assert policy.next_deadline(standing) is None
    assert standing.is_plain


def test_a_call_for_the_same_tier_starts_the_quiet_time_anew():
    policy, standing = Policy(), demoted(2)
    policy.call(standing, 100, 1)
    policy.call(standing, 200, 2)
    assert policy.next_deadline(standing) is None

    policy.call(standing, 300, 1)
    assert policy.next_deadline(standing) == 300 + QUIET


def test_a_milder_call_that_still_calls_for_tier_2_recovers_to_2_and_stays_there():
    policy, standing = Policy(), demoted(3)
    policy.call(standing, 100, 2)

    assert policy.pass_deadline(standing, 100 + QUIET, 2)[0].to_tier == 2
    assert policy.next_deadline(standing) is None


def test_tier_3_may_be_left_to_a_pardon():
    policy = Policy(tier3_needs_pardon=True)
    standing = demoted(3)
    policy.call(standing, 100, 1)
    assert policy.next_deadline(standing) is None

    suspicious = demoted(2)
    policy.call(suspicious, 100, 1)
    assert policy.next_deadline(suspicious) == 100 + QUIET


def test_a_pin_hides_the_behaviour_and_its_end_reveals_it():
    policy, standing = Policy(), Standing()

    assert policy.pin(standing, 10, Tier.NORMAL, 500) == Change(10, 1, 1, "pinned")
    assert policy.call(standing, 20, 3) == []
    assert (standing.effective_tier, standing.tier) == (1, 3)
    assert policy.next_deadline(standing) == 500
    assert policy.pass_deadline(standing, 500, 3) == [Change(500, 1, 3, "expired")]
    assert standing.effective_tier == 3


def test_an_agent_recovers_under_a_pin_without_a_word():
    policy, standing = Policy(), demoted(2)
    policy.pin(standing, 10, Tier.ANOMALOUS, None)
    policy.call(standing, 100, 1)

    assert policy.pass_deadline(standing, 100 + QUIET, 1) == []
    assert (standing.effective_tier, standing.tier) == (3, 1)
    assert policy.unpin(standing, 200 + QUIET) == Change(200 + QUIET, 3, 1, "unpinned")


def test_a_pin_without_expiry_never_ends_by_itself():
    policy, standing = Policy(), Standing()
    policy.pin(standing, 10, Tier.SUSPICIOUS, None)

    assert policy.next_deadline(standing) is None
    assert not standing.is_plain


def test_a_pardon_leads_to_tier_1_and_lifts_the_pin():
    policy, standing = Policy(), demoted(3)
    policy.pin(standing, 10, Tier.ANOMALOUS, None)

    assert policy.pardon(standing, 20, 0) == Change(20, 3, 1, "pardoned")
    assert standing.is_plain
    assert standing.since_us == 20


def test_grace_holds_detection_off_until_its_last_instant():
    policy, standing = Policy(), demoted(3)
    policy.pardon(standing, 20, 100)

    assert policy.call(standing, 119, 3) == []
    assert policy.next_deadline(standing) == 120
    assert policy.pass_deadline(standing, 120, 3) == [Change(120, 1, 3, "detected")]


def test_grace_that_ends_in_peace_changes_nothing():
    policy, standing = Policy(), demoted(3)
    policy.pardon(standing, 20, 100)

    assert policy.pass_deadline(standing, 120, 1) == []
    assert standing.is_plain
