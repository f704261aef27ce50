"""TierRouter: the tier of a change, the tier of its author, and what a state that cannot be believed does."""

import json
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import sentineld
from sentineld import clock as system_clock
from sentineld.instant import iso_ms
from sentineld.keys import HMAC_SHA256, SigningKey
from sentineld.monitor import BehavioralMonitor
from sentineld.proposal import EvolutionProposal, GuardianVerdict
from sentineld.published_file import publish
from sentineld.router import BehaviorTier, TierRouter
from sentineld.state_file import encode_state
from sentineld.tier import Tier

ROOT = str(Path(sentineld.__file__).parent.parent)
KEY = SigningKey("2026-11a", HMAC_SHA256, b"k" * 32)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


class FakeClock:
    """Clocks that stand still an hour after now, so that files written now have long settled."""

    def __init__(self):
        self.wall_us = system_clock.now_us() + 3_600_000_000
        self.boot_ms = 5_000_000
        self.boot = "boot-a"

    def now_us(self):
        return self.wall_us

    def boottime_ms(self):
        return self.boot_ms

    def boot_id(self):
        return self.boot


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def document(clock, seq=1, **changes):
    """Build a document that is valid for 30 s by the given clocks."""
    now_us = clock.now_us()
    return {
        "schema": 1,
        "epoch": 7,
        "seq": seq,
        "mode": "enforce",
        "status": "ok",
        "isolation": "service",
        "generated_at": iso_ms(now_us),
        "valid_until": iso_ms(now_us + 30_000_000),
        "boot_id": clock.boot_id(),
        "boottime_ms": clock.boottime_ms(),
        "valid_for_ms": 30_000,
        "unlisted_tier": 1,
        "agents": {"mailer": {"tier": 3, "reason_code": "first_seen_sink"}, "scribe": {"tier": 2}},
        "would": {},
        **changes,
    }


def put(path, clock, seq=1, key=None, **changes):
    publish(path, encode_state(document(clock, seq, **changes), key))


def proposal(*files, lines=0, diff="", proposal_id="p1"):
    return EvolutionProposal(proposal_id, "goal", list(files), diff_content=diff, lines_changed=lines)


def verdict(risk="low", **changes):
    return GuardianVerdict(approved=True, proposal_id="p1", risk_level=risk, **changes)


def score(*args, risk="low", **kwargs):
    return TierRouter().calculate_score(proposal(*args, **kwargs), verdict(risk))


# The change


@pytest.mark.parametrize(("lines", "expected"), [(0, 5), (9, 5), (10, 6), (99, 14), (1000, 105)])
def test_ten_lines_are_a_point_and_a_file_is_five(lines, expected):
    assert score("src/parse.c", lines=lines) == expected


@pytest.mark.parametrize(
    ("risk", "expected"), [("low", 5), ("medium", 10), ("high", 15), ("apocalyptic", 15)]
)
def test_the_guardians_risk_adds_points_and_an_unknown_one_as_many_as_high(risk, expected):
    assert score("src/parse.c", risk=risk) == expected


@pytest.mark.parametrize(("issues", "expected"), [(0, 5), (1, 7), (5, 15), (6, 15), (1000, 15)])
def test_issues_are_two_points_each_and_ten_at_most(issues, expected):
    found = verdict(issues_found=["an issue"] * issues)

    assert TierRouter().calculate_score(proposal("src/parse.c"), found) == expected


@pytest.mark.parametrize(
    ("lines", "tier"),
    [(0, 1), (59, 1), (60, 2), (209, 2), (210, 3)],
    ids=["small", "last of 1", "first of 2", "last of 2", "first of 3"],
)
def test_tiers_end_at_ten_and_at_twenty_five_points(lines, tier):
    assert TierRouter().classify(proposal("src/parse.c", lines=lines), verdict()) == tier


def test_thresholds_can_be_given_or_inherited():
    class Strict(TierRouter):
        TIER_1_THRESHOLD = 4

    change = proposal("src/parse.c")

    assert TierRouter().classify(change, verdict()) == 1
    assert Strict().classify(change, verdict()) == 2
    assert TierRouter(tier_1_threshold=0, tier_2_threshold=4).classify(change, verdict()) == 3


@pytest.mark.parametrize(("first", "second"), [(-1, 25), (26, 25), (10, 9), (float("nan"), 25)])
def test_thresholds_out_of_order_are_refused(first, second):
    with pytest.raises(ValueError, match="thresholds"):
        TierRouter(tier_1_threshold=first, tier_2_threshold=second)


def test_negative_lines_do_not_lower_the_score():
    assert score("src/parse.c", lines=-10_000) == 5


def test_a_diff_counts_more_than_a_smaller_claim():
    diff = "--- a/src/parse.c\n+++ b/src/parse.c\n@@ -0,0 +1,500 @@\n" + "+x\n" * 500

    assert score("src/parse.c", lines=1, diff=diff) == 55
    assert score("src/parse.c", lines=900, diff=diff) == 95


def test_files_that_only_the_diff_names_count_too():
    diff = "--- a/src/parse.c\n+++ b/src/parse.c\n@@ -1 +1 @@\n-a\n+b\n"
    diff += (
        "diff --git a/.github/workflows/ci.yml b/.github/workflows/ci.yml\nold mode 100644\nnew mode 100755\n"
    )

    assert score("src/parse.c", diff=diff) == 5 + 5 + 30


def test_one_file_under_several_names_counts_once():
    assert score("src/a.c", "./src/a.c", "src//a.c", "src/x/../a.c", " src/a.c ", "src\\a.c") == 5


@pytest.mark.parametrize(
    "name",
    [
        ".github/workflows/ci.yml",
        "./.github/workflows/ci.yml",
        ".github//workflows/x/../ci.yml",
        ".github\\workflows\\ci.yml",
        ".GitHub/Workflows/CI.yml",
        "/srv/checkout/.github/workflows/ci.yml",
        "docs/../.github/workflows/ci.yml",
        "../../etc/passwd",
        "/etc/passwd",
        "//etc//passwd",
        "etc/sentineld.service",
        "systemd/sentineld.service",
        "src/auth.py",
        "src/auth_tokens.py",
        "src/oauth2.py",
        "src/new\nline/auth.py",
        "sentineld/policy.py",
        "sentineld/tail.py",
        "lib/guardian.rb",
        "core/tier_router.py",
        "app/router.ts",
        "CODEOWNERS",
        "deploy/Dockerfile",
        "Dockerfile.prod",
        "uv.lock",
        "web/package-lock.json",
        "pyproject.toml",
        "certs/site.key",
        ".env",
        "AGENTS.md",
    ],
)
def test_critical_files_cost_more_whatever_their_spelling(name):
    assert 5 + 10 <= score(name) <= 5 + 30


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "src/utils.py",
        "AUTHORS",
        "src/author.py",
        "src/authors/index.html",
        "docs/workflow.md",
        "tokenizer.py",
        "tests/test_parse.py",
    ],
)
def test_ordinary_files_cost_five(name):
    assert score(name) == 5


def test_the_highest_matching_pattern_counts_once_a_file():
    router = TierRouter(critical_files={"*.py": 10, "auth*": 20, "src/*": 15})

    assert router.calculate_score(proposal("src/auth.py"), verdict()) == 25
    assert router.calculate_score(proposal("src/x.py"), verdict()) == 20
    assert router.calculate_score(proposal("x.py"), verdict()) == 15
    assert router.calculate_score(proposal("x.c"), verdict()) == 5
    assert router.calculate_score(proposal("auth/x.c"), verdict()) == 5


def test_no_critical_files_at_all_are_possible_and_negative_points_are_not():
    assert TierRouter(critical_files={}).calculate_score(proposal(".env"), verdict()) == 5
    with pytest.raises(ValueError, match="negative"):
        TierRouter(critical_files={"*": -5})


def test_the_points_of_every_default_pattern_are_ten_to_thirty():
    assert {points for points in TierRouter.CRITICAL_FILES.values() if not 10 <= points <= 30} == set()


@pytest.mark.parametrize("risk", ["high", "critical", "?"])
def test_high_and_unknown_risk_are_tier_three(risk):
    assert TierRouter().classify(proposal("README.md"), verdict(risk)) == 3


def test_a_verdict_that_asks_for_a_human_is_tier_three():
    assert TierRouter().classify(proposal("README.md"), verdict(requires_human_review=True)) == 3


def test_a_risk_that_was_raised_after_the_verdict_was_built_is_tier_three():
    late = verdict()
    late.risk_level = "high"

    assert TierRouter().classify(proposal("README.md"), late) == 3


def test_approval_is_left_to_the_caller():
    rejected = GuardianVerdict(approved=False, proposal_id="p1")

    assert TierRouter().classify(proposal("README.md"), rejected) == 1


@pytest.mark.parametrize(
    ("field", "value", "tier"),
    [
        ("lines_changed", None, 1),
        ("lines_changed", "12", 3),
        ("lines_changed", float("nan"), 3),
        ("target_files", None, 1),
        ("target_files", "src/auth.py", 3),
        ("target_files", [Path("src/parse.c"), b"src/parse.c"], 1),
        ("target_files", [None, 3, object()], 2),
        ("target_files", 3, 1),
        ("diff_content", None, 1),
        ("diff_content", b"+x\n" * 5000, 3),
        ("proposal_id", None, 1),
    ],
)
def test_a_careless_proposal_is_classified_and_raises_nothing(field, value, tier):
    change = proposal()
    setattr(change, field, value)

    assert TierRouter().classify(change, verdict()) == tier


@pytest.mark.parametrize(("issues", "points"), [(None, 0), ("one", 2), (("a", "b"), 4), (7, 2)])
def test_careless_issues_are_counted_and_raise_nothing(issues, points):
    assert TierRouter().calculate_score(proposal(), verdict(issues_found=issues)) == points


# History


def test_the_history_holds_the_last_tier_of_every_proposal():
    router = TierRouter()
    router.classify(proposal("README.md", proposal_id="a"), verdict())
    router.classify(proposal("README.md", proposal_id="b"), verdict("high"))
    router.classify(proposal("README.md", lines=60, proposal_id="a"), verdict())

    assert list(router.get_classification_history().items()) == [("b", 3), ("a", 2)]
    assert router.get_tier_stats() == {1: 0, 2: 1, 3: 1}


def test_the_history_is_a_copy():
    router = TierRouter()
    router.get_classification_history()["a"] = 1

    assert router.get_classification_history() == {}
    assert router.get_tier_stats() == {1: 0, 2: 0, 3: 0}


def test_the_history_keeps_the_newest_ten_thousand():
    router = TierRouter(critical_files={})
    for number in range(10_005):
        router.classify(proposal(proposal_id=f"p{number}"), verdict())
    history = router.get_classification_history()

    assert len(history) == 10_000
    assert next(iter(history)) == "p5"
    assert sum(router.get_tier_stats().values()) == 10_000


def test_what_behaviour_made_of_a_change_is_what_the_history_holds():
    router = TierRouter(SimpleNamespace(is_anomalous=lambda agent_id: True))

    assert router.classify_with_behavior(proposal("README.md"), verdict(), "a") == 3
    assert router.get_classification_history() == {"p1": 3}


def test_every_tier_has_a_description_and_an_unknown_one_the_strictest():
    router = TierRouter()
    texts = [router.get_tier_description(tier) for tier in (1, 2, 3)]

    assert [text.split(":")[0] for text in texts] == ["normal", "suspicious", "anomalous"]
    assert router.get_tier_description(0) == router.get_tier_description(7) == texts[2]


# The agent, by a monitor


class Monitor:
    """A monitor with a fixed opinion, as an application may bring."""

    def __init__(self, score, anomalous=False):
        self.score, self.anomalous = score, anomalous

    def is_anomalous(self, agent_id):
        return self.anomalous

    def get_profile(self, agent_id):
        return SimpleNamespace(anomaly_score=self.score)


def test_without_a_source_every_agent_has_tier_one():
    assert TierRouter().behavior_tier("a") == 1
    assert TierRouter().behavior("a") == BehaviorTier(Tier.NORMAL, "no source of behaviour is configured")


@pytest.mark.parametrize(
    ("score", "anomalous", "tier"), [(0.0, False, 1), (0.5, False, 1), (0.51, False, 2), (0.1, True, 3)]
)
def test_a_monitor_says_suspicious_above_one_half_and_anomalous_itself(score, anomalous, tier):
    assert TierRouter(Monitor(score, anomalous)).behavior_tier("a") == tier


def test_the_monitors_own_threshold_counts_where_it_has_one():
    monitor = Monitor(0.4)
    monitor.suspicious_threshold = 0.3

    assert TierRouter(monitor).behavior_tier("a") == 2


def test_our_own_monitor_can_be_asked():
    monitor = BehavioralMonitor()
    router = TierRouter(monitor)

    assert router.behavior_tier("nobody") == 1
    monitor.record_events(
        sentineld.BehavioralEvent(f"{kind}{number}", "busy", kind, entropy=0.9)
        for number in range(99)
        for kind in ("file_write", "network_request")
    )
    assert router.behavior_tier("busy") == 3
    assert router.classify_with_behavior(proposal("README.md"), verdict(), "busy") == 3


class Broken(Monitor):
    def get_profile(self, agent_id):
        raise RuntimeError("\x1b[31mno")


@pytest.mark.parametrize(
    ("monitor", "reason"),
    [
        (Broken(0.1), "the monitor failed: RuntimeError"),
        (object(), "the monitor failed: AttributeError"),
        (Monitor(None), "the monitor failed: TypeError"),
        (Monitor("0.1"), "the monitor failed: TypeError"),
        (Monitor(float("nan")), "not a number"),
    ],
)
def test_a_monitor_that_fails_is_tier_three_with_the_reason(monitor, reason):
    found = TierRouter(monitor).behavior("a")

    assert (found.tier, found.is_usable) == (Tier.ANOMALOUS, False)
    assert reason in found.reason


# The agent, by the state file


def test_the_state_file_gives_listed_agents_their_tier_and_others_the_unlisted_one(path, clock):
    put(path, clock)
    router = TierRouter(state_file=path, clock=clock)

    assert [router.behavior_tier(agent) for agent in ("mailer", "scribe", "nobody")] == [3, 2, 1]
    assert router.behavior("mailer").reason == "the state file lists the agent with tier 3 (first_seen_sink)"
    assert router.behavior("nobody").reason == "the agent is not listed; unlisted agents have tier 1"
    assert router.state.version == (7, 1)


def test_the_stricter_of_change_and_author_wins(path, clock):
    put(path, clock)
    router = TierRouter(state_file=path, clock=clock)
    small, large = proposal("README.md"), proposal("README.md", lines=900)

    assert [router.classify_with_behavior(small, verdict(), a) for a in ("nobody", "scribe", "mailer")] == [
        1,
        2,
        3,
    ]
    assert router.classify_with_behavior(large, verdict(), "nobody") == 3


@pytest.mark.parametrize(
    ("agent", "monitor_says", "expected"), [("scribe", 0.0, 2), ("nobody", 0.6, 2), ("mailer", 0.6, 3)]
)
def test_the_stricter_of_monitor_and_state_file_wins(path, clock, agent, monitor_says, expected):
    put(path, clock)

    assert TierRouter(Monitor(monitor_says), path, clock=clock).behavior_tier(agent) == expected


def test_two_sources_that_agree_both_give_their_reason(path, clock):
    put(path, clock)
    found = TierRouter(Monitor(0.6), path, clock=clock).behavior("scribe")

    assert found == BehaviorTier(
        Tier.SUSPICIOUS,
        "the anomaly score 0.60 is above 0.50; the state file lists the agent with tier 2",
    )


def test_a_reason_code_that_is_no_word_is_not_repeated(path, clock):
    put(path, clock, agents={"a": {"tier": 3, "reason_code": "\x1b[2Jnothing to see"}})

    assert TierRouter(state_file=path, clock=clock).behavior("a").reason.isprintable()


@pytest.mark.parametrize("agent_id", ["", None, 3, ["a"], {}])
def test_nobody_is_not_an_unlisted_agent(path, clock, agent_id):
    put(path, clock)
    found = TierRouter(state_file=path, clock=clock).behavior(agent_id)

    assert found == BehaviorTier(Tier.ANOMALOUS, "no agent was named", is_usable=False)
    assert TierRouter(clock=clock).behavior_tier(agent_id) == 1


def refuse(path, clock, kind):
    """Make the state file unusable in one of many ways; return a word of the reason."""
    put(path, clock, key=KEY)
    match kind:
        case "missing":
            path.unlink()
            return "is missing"
        case "directory":
            path.unlink()
            path.mkdir()
            return "not a regular file"
        case "symbolic link":
            path.rename(path.with_name("real"))
            path.symlink_to("real")
            return "symbolic link"
        case "fifo":
            path.unlink()
            os.mkfifo(path)
            return "not a regular file"
        case "empty":
            os.truncate(path, 0)
            return "signature"
        case "torn":
            os.truncate(path, 100)
            return "signature"
        case "forged":
            data = path.read_bytes()
            path.write_bytes(data.replace(b'"tier":3', b'"tier":1'))
            return "signature"
        case "unsigned":
            put(path, clock)
            return "signature"
        case "stale":
            clock.boot_ms += 30_001
            return "stale"
        case "of another boot, expired":
            clock.boot = "boot-b"
            clock.wall_us += 30_000_001
            return "stale"
        case "of the future":
            clock.boot_ms -= 1_001
            return "future"
        case "of a later schema":
            put(path, clock, key=KEY, schema=2)
            return "schema"
        case "huge":
            os.truncate(path, 1 << 40)
            return "larger"
        case "in no directory":
            path.unlink()
            path.parent.rmdir()
            return "is missing"
        case "below a file":
            path.unlink()
            path.parent.rmdir()
            path.parent.write_bytes(b"")
            return "cannot be looked at"
    raise AssertionError(kind)


KINDS = [
    "missing",
    "directory",
    "symbolic link",
    "fifo",
    "empty",
    "torn",
    "forged",
    "unsigned",
    "stale",
    "of another boot, expired",
    "of the future",
    "of a later schema",
    "huge",
    "in no directory",
    "below a file",
]


@pytest.mark.parametrize("is_warm", [False, True], ids=["first look", "after a good one"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_failure_is_tier_three_for_everybody_with_the_reason(tmp_path, clock, kind, is_warm):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "state.json"
    router = TierRouter(state_file=path, keys=[KEY], clock=clock)
    if is_warm:
        put(path, clock, key=KEY)
        assert router.behavior_tier("nobody") == 1
    word = refuse(path, clock, kind)

    for agent in ("mailer", "nobody"):
        found = router.behavior(agent)
        assert (found.tier, found.is_usable) == (Tier.ANOMALOUS, False)
        assert str(path) in found.reason
        assert word in found.reason
    assert router.classify_with_behavior(proposal("README.md"), verdict(), "nobody") == 3


def test_after_a_failure_a_good_file_is_believed_again(path, clock):
    router = TierRouter(state_file=path, keys=[KEY], clock=clock)
    for seq in range(1, 4):
        put(path, clock, seq, key=KEY)
        assert router.behavior_tier("scribe") == 2
        path.write_bytes(b"garbage")
        assert router.behavior_tier("scribe") == 3


def test_a_state_file_that_was_configured_as_nothing_is_a_failure():
    assert TierRouter(state_file="").behavior_tier("a") == 3


def test_a_path_that_no_file_can_have_is_a_failure():
    assert TierRouter(state_file="a\0b").behavior_tier("a") == 3


def test_a_clock_that_fails_is_a_failure(path, clock):
    put(path, clock)
    clock.boottime_ms = lambda: 1 / 0

    assert TierRouter(state_file=path, clock=clock).behavior("nobody") == BehaviorTier(
        Tier.ANOMALOUS, f"state file {path} cannot be used: ZeroDivisionError", is_usable=False
    )


def test_a_relative_path_keeps_its_meaning_when_the_working_directory_changes(path, clock, monkeypatch):
    put(path, clock)
    monkeypatch.chdir(path.parent)
    router = TierRouter(state_file="state.json", clock=clock)
    monkeypatch.chdir("/")

    assert router.state_file == str(path)
    assert router.behavior_tier("scribe") == 2


@needs_root
def test_a_change_of_owner_is_noticed_without_a_change_of_content(path, clock):
    put(path, clock)
    router = TierRouter(state_file=path, clock=clock)
    assert router.behavior_tier("nobody") == 1
    os.chown(path, 4242, -1)

    assert "uid 4242" in router.behavior("nobody").reason
    assert TierRouter(state_file=path, expected_owner=4242, clock=clock).behavior_tier("nobody") == 1


def test_a_directory_that_is_opened_to_all_is_noticed_without_a_change_of_the_file(path, clock):
    put(path, clock)
    router = TierRouter(state_file=path, clock=clock)
    assert router.behavior_tier("nobody") == 1
    path.parent.chmod(0o777)

    assert "anyone can replace it" in router.behavior("nobody").reason


# Caching


def test_an_unchanged_file_is_not_parsed_again_but_its_freshness_is_checked(path, clock):
    put(path, clock)
    router = TierRouter(state_file=path, clock=clock)
    router.behavior("a")
    first = router.state
    clock.boot_ms += 30_000
    assert router.behavior_tier("nobody") == 1
    clock.boot_ms += 1

    assert router.behavior_tier("nobody") == 3
    assert router.state is first


def test_a_refused_file_is_not_parsed_again_either(path, clock):
    """16 MB of garbage must not cost every caller its parsing."""
    path.write_bytes(b"[" + b"0," * 4_000_000)
    path.chmod(0o640)
    router = TierRouter(state_file=path, clock=clock)
    assert "not JSON" in router.behavior("a").reason
    started = time.process_time()
    for _ in range(100):
        assert "not JSON" in router.behavior("a").reason

    assert time.process_time() - started < 1.0


def test_a_replaced_file_is_seen_at_once(path, clock):
    router = TierRouter(state_file=path, clock=clock)
    for seq in range(1, 50):
        put(path, clock, seq, agents={"a": {"tier": seq % 3 + 1}})

        assert router.behavior_tier("a") == seq % 3 + 1


def test_a_file_that_was_rewritten_in_place_under_its_old_time_is_seen(path, clock):
    put(path, clock)
    router = TierRouter(state_file=path, clock=clock)
    assert router.behavior_tier("mailer") == 3
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"tier":3', b'"tier":2'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()

    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )
    assert router.behavior_tier("mailer") == 2


def test_a_file_that_changed_a_moment_ago_is_read_again_for_it_may_change_under_the_same_time(path, clock):
    put(path, clock)
    router = TierRouter(state_file=path, clock=clock)
    clock.wall_us = path.stat().st_ctime_ns // 1000 + 1_000
    router.behavior("a")
    first = router.state
    router.behavior("a")
    assert router.state is not first
    clock.wall_us += 20_000
    router.behavior("a")
    settled = router.state
    router.behavior("a")

    assert router.state is settled


def test_asking_about_an_unchanged_file_takes_microseconds(path, clock):
    """About 10 us on the machine where this was written; the bound is for slow ones."""
    put(path, clock, key=KEY)
    router = TierRouter(state_file=path, keys=[KEY], clock=clock)
    router.behavior_tier("a")

    def microseconds():
        started = time.process_time()
        for _ in range(200):
            router.behavior_tier("a")
        return (time.process_time() - started) / 200 * 1e6

    assert min(microseconds() for _ in range(20)) < 100


# Rollback


def test_an_older_document_is_refused_by_the_process_that_saw_a_newer_one(path, clock):
    router = TierRouter(state_file=path, keys=[KEY], clock=clock)
    put(path, clock, 5, key=KEY)
    assert router.behavior_tier("nobody") == 1
    put(path, clock, 4, key=KEY)

    assert "rolled back" in router.behavior("nobody").reason
    put(path, clock, 5, key=KEY)
    assert router.behavior_tier("nobody") == 1
    put(path, clock, 1, key=KEY, epoch=8)
    assert router.behavior_tier("nobody") == 1
    put(path, clock, 999, key=KEY)
    assert router.behavior_tier("nobody") == 3


def test_a_stale_document_is_still_one_that_was_seen(path, clock):
    router = TierRouter(state_file=path, keys=[KEY], clock=clock)
    put(path, clock, 5, key=KEY, boottime_ms=0)
    assert "stale" in router.behavior("nobody").reason
    put(path, clock, 4, key=KEY)

    assert "rolled back" in router.behavior("nobody").reason


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "seen.json"


def restarted(path, clock, mark, keys=(KEY,)):
    return TierRouter(state_file=path, keys=keys, high_water=mark, clock=clock)


def test_a_mark_on_disk_refuses_an_older_document_after_a_restart(path, clock, mark):
    put(path, clock, 5, key=KEY)
    assert restarted(path, clock, mark).behavior_tier("nobody") == 1
    put(path, clock, 4, key=KEY)

    assert "rolled back" in restarted(path, clock, mark).behavior("nobody").reason
    put(path, clock, 6, key=KEY)
    assert restarted(path, clock, mark).behavior_tier("nobody") == 1
    assert json.loads(mark.read_bytes()) == {"epoch": 7, "seq": 6}
    assert stat.S_IMODE(mark.stat().st_mode) == 0o600


def test_without_a_mark_a_restart_is_a_first_start(path, clock, mark):
    put(path, clock, 5, key=KEY)
    restarted(path, clock, mark).behavior_tier("nobody")
    put(path, clock, 4, key=KEY)
    mark.unlink()
    router = restarted(path, clock, mark)

    assert router.behavior_tier("nobody") == 1
    assert "was not there" in router.warnings[0]
    assert restarted(path, clock, mark).warnings == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"epoch":7}',
        b'{"epoch":7,"seq":-1}\n',
        b'{"epoch":7,"seq":"9"}\n',
        b'{"epoch":7,"seq":1e9}\n',
        b'{"epoch":7,"seq":9}\n' * 2,
        b"\xff" * 100,
        b"9" * 10_000,
    ],
)
def test_a_corrupt_mark_is_a_first_start_with_a_warning_and_is_repaired(path, clock, mark, content):
    mark.write_bytes(content)
    put(path, clock, 5, key=KEY)
    router = restarted(path, clock, mark)

    assert router.behavior_tier("nobody") == 1
    assert f"high-water file {mark} could not be read" in router.warnings[0]
    assert json.loads(mark.read_bytes()) == {"epoch": 7, "seq": 5}


@pytest.mark.parametrize("kind", ["fifo", "symbolic link", "directory"])
def test_a_mark_that_is_no_regular_file_is_neither_waited_for_nor_followed(path, clock, mark, kind):
    victim = mark.with_name("victim")
    victim.write_bytes(b'{"epoch":99,"seq":99}\n')
    {"fifo": os.mkfifo, "symbolic link": lambda m: m.symlink_to(victim), "directory": os.mkdir}[kind](mark)
    put(path, clock, 5, key=KEY)
    router = restarted(path, clock, mark)

    assert router.behavior_tier("nobody") == 1
    assert router.warnings
    assert victim.read_bytes() == b'{"epoch":99,"seq":99}\n'


def test_a_mark_that_cannot_be_written_is_a_warning_and_nothing_more(path, clock, tmp_path):
    put(path, clock, 5, key=KEY)
    router = restarted(path, clock, tmp_path / "none" / "seen.json")

    assert router.behavior_tier("nobody") == 1
    assert "cannot be written" in router.warnings[-1]
    put(path, clock, 4, key=KEY)
    assert router.behavior_tier("nobody") == 3


def test_only_a_verified_document_raises_the_mark_of_a_router_with_a_key(path, clock, mark):
    """Else anyone who can place a file once could shut everybody out for ever."""
    router = restarted(path, clock, mark)
    put(path, clock, 10**9)
    assert router.behavior_tier("nobody") == 3
    put(path, clock, 10**9, key=SigningKey(KEY.key_id, HMAC_SHA256, b"w" * 32))
    assert router.behavior_tier("nobody") == 3
    assert not mark.exists()
    put(path, clock, 5, key=KEY)

    assert router.behavior_tier("nobody") == 1
    assert json.loads(mark.read_bytes()) == {"epoch": 7, "seq": 5}


def test_a_mark_that_another_process_raised_is_never_lowered_and_counts_here_too(path, clock, mark):
    put(path, clock, 5, key=KEY)
    router = restarted(path, clock, mark)
    assert router.behavior_tier("nobody") == 1
    mark.write_bytes(b'{"epoch":8,"seq":1}\n')
    put(path, clock, 6, key=KEY)

    assert "rolled back" in router.behavior("nobody").reason
    assert json.loads(mark.read_bytes()) == {"epoch": 8, "seq": 1}


def test_a_router_without_a_key_says_what_it_relies_on(path, clock):
    assert "no key" in TierRouter(state_file=path, clock=clock).warnings[0]
    assert TierRouter(state_file=path, keys=[KEY], clock=clock).warnings == ()
    assert TierRouter(clock=clock).warnings == ()


# Concurrency: real processes, real clocks

PUBLISHER = """
import sys
from sentineld import clock
from sentineld.instant import iso_ms
from sentineld.keys import HMAC_SHA256, SigningKey
from sentineld.published_file import publish
from sentineld.state_file import encode_state
path, count = sys.argv[1], int(sys.argv[2])
key = SigningKey("2026-11a", HMAC_SHA256, b"k" * 32)
for seq in range(1, count + 1):
    now = clock.now_us()
    agents = {f"agent-{n}": {"tier": seq % 3 + 1} for n in range(seq % 7 * 40 + 1)}
    publish(path, encode_state({
        "schema": 1, "epoch": 7, "seq": seq, "mode": "enforce", "status": "ok",
        "generated_at": iso_ms(now), "valid_until": iso_ms(now + 30_000_000), "boot_id": clock.boot_id(),
        "boottime_ms": clock.boottime_ms(), "valid_for_ms": 30_000, "unlisted_tier": 1, "agents": agents,
        "would": {}}, key))
"""

READER = """
import sys
from sentineld import clock
from sentineld.keys import HMAC_SHA256, SigningKey
from sentineld.state_file import read_state
path, count = sys.argv[1], int(sys.argv[2])
key = SigningKey("2026-11a", HMAC_SHA256, b"k" * 32)
seen, reads = (0, 0), 0
while seen[1] < count:
    view = read_state(path, keys=[key], now_us=clock.now_us(), boottime_ms=clock.boottime_ms(),
                      boot_id=clock.boot_id(), floor=seen)
    assert {agent["tier"] for agent in view.agents.values()} == {view.seq % 3 + 1}
    seen, reads = view.version, reads + 1
print(reads)
"""


def test_no_reader_ever_sees_a_torn_or_an_older_file_while_a_daemon_publishes(path, clock):
    """One process publishes; two processes and three threads of this one read until the last document."""
    count = 400
    put(path, system_clock, 0, key=KEY, agents={"agent-0": {"tier": 1}})
    router = TierRouter(state_file=path, keys=[KEY])
    failures, reads = [], []

    def read():
        seen, number = (0, 0), 0
        while seen[1] < count and not failures:
            found = router.behavior("agent-0")
            version = router.state.version
            if not found.is_usable or version < seen:
                failures.append((found.reason, seen, version))
            seen, number = version, number + 1
        reads.append(number)

    def start(code):
        return subprocess.Popen(
            [sys.executable, "-c", code, path, str(count)], cwd=ROOT, stdout=subprocess.PIPE
        )

    threads = [threading.Thread(target=read) for _ in range(3)]
    readers = [start(READER) for _ in range(2)]
    publisher = start(PUBLISHER)
    for thread in threads:
        thread.start()
    outputs = [process.communicate()[0] for process in (publisher, *readers)]
    for thread in threads:
        thread.join()

    assert [process.returncode for process in (publisher, *readers)] == [0, 0, 0]
    assert all(int(output) > 0 for output in outputs[1:])
    assert failures == []
    assert len(reads) == 3
    assert router.state.version == (7, count)


def test_many_threads_may_ask_and_classify_at_once(path, clock):
    put(path, clock)
    router = TierRouter(Monitor(0.6), path, clock=clock)

    def work(number):
        return router.classify_with_behavior(proposal("README.md", proposal_id=f"p{number}"), verdict(), "a")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(2000))) == {2}
    assert len(router.get_classification_history()) == 2000


# Import


def test_the_router_loads_without_the_daemons_libraries():
    code = """
import sys
import sentineld.router
heavy = {"click", "msgspec", "structlog", "numpy", "watchdog", "rich", "sqlite3", "logging", "tomllib"}
print(sorted(heavy & set(sys.modules)))
"""
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert output.stdout == "[]\n"


def test_the_router_loads_in_tens_of_milliseconds(tmp_path):
    """60 to 70 ms of processor time over the bare interpreter's 15, most of it the standard library's.

    The best of several runs counts, and the bound is generous and in units of this machine: it finds a
    library that crept in, not noise.
    """
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}

    def milliseconds(statement):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", statement], cwd=ROOT, env=env, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000

    milliseconds("import sentineld.router")
    bare = min(milliseconds("pass") for _ in range(7))
    loaded = min(milliseconds("import sentineld.router") for _ in range(7))

    assert loaded < 9 * bare
