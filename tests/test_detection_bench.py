"""The figures that the detection bench reports, and that it teaches nothing before its time."""

import importlib
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parent.parent / "bench" / "detection"


@pytest.fixture(scope="module")
def bench():
    """Import the bench's package under a name of its own; it is no part of the product."""
    spec = importlib.util.spec_from_file_location(
        "detection_bench", BENCH / "__init__.py", submodule_search_locations=[str(BENCH)]
    )
    sys.modules["detection_bench"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["detection_bench"])
    return lambda name: importlib.import_module(f"detection_bench.{name}")


def test_auc_counts_ties_half(bench):
    auc = bench("metrics").auc
    assert auc([0, 1], [2, 3]) == 1.0
    assert auc([2, 3], [0, 1]) == 0.0
    assert auc([1, 1], [1]) == 0.5
    assert auc([0, 1, 2], [1]) == 0.5
    assert math.isnan(auc([], [1]))


def test_tpr_keeps_the_false_positive_rate(bench):
    metrics = bench("metrics")
    benign = [float(n) for n in range(100)]
    limit = metrics.threshold(benign, 0.05)
    assert sum(score > limit for score in benign) == 5
    assert metrics.tpr(benign, [94.0, 94.5, 200.0], 0.05) == pytest.approx(2 / 3)
    # Too few sessions for 1 %: none may be above, and an attack that only ties is not found.
    assert metrics.tpr([1.0, 2.0], [2.0, 2.1], 0.01) == 0.5
    # Ties at the threshold never raise the false-positive rate.
    assert metrics.tpr([1.0] * 50 + [2.0] * 50, [2.0], 0.05) == 0.0


def test_intervals_are_exact(bench):
    metrics = bench("metrics")
    assert metrics.binomial_interval(16, 125) == pytest.approx((0.0750, 0.1996), abs=5e-4)
    assert metrics.binomial_interval(0, 125) == pytest.approx((0.0, 1 - 0.025 ** (1 / 125)), abs=1e-6)
    assert metrics.binomial_interval(5, 5)[1] == 1.0
    assert metrics.poisson_interval(0, 34) == pytest.approx((0.0, -math.log(0.025) / 34), abs=1e-6)
    assert metrics.poisson_interval(10, 1.0) == pytest.approx((4.795, 18.39), abs=1e-2)
    assert metrics.poisson_interval(250, 1.0) == pytest.approx((219.96, 282.97), abs=0.1)


def test_bootstrap_draws_whole_clusters(bench):
    # Two clusters that agree within and differ between: drawing single members would never give 0 or 1.
    values = np.array([0.0] * 50 + [1.0] * 50)
    clusters = ["a"] * 50 + ["b"] * 50
    low, high = bench("metrics").bootstrap(clusters, lambda chosen: float(values[chosen].mean()), 100)
    assert (low, high) == (0.0, 1.0)


def test_conformal_p_values(bench):
    ranks = bench("metrics").Conformal(size=4)
    assert ranks.p(0.0) == 1.0
    for score in (1.0, 2.0, 2.0, 3.0):
        ranks.add(score)
    assert ranks.p(4.0) == 1 / 5
    assert ranks.p(2.0) == 4 / 5
    ranks.add(0.0)  # the oldest goes
    assert len(ranks) == 4
    assert ranks.p(1.0) == 4 / 5


def test_e_values_have_mean_one(bench):
    mixture = bench("simulate").mixture
    points = (np.arange(200_000) + 0.5) / 200_000
    assert np.mean([mixture(float(p)) for p in points[::10]]) == pytest.approx(1.0, abs=0.1)
    assert mixture(0.001) > mixture(0.01) > mixture(0.5) >= 0.5


def test_delay_counts_from_the_first_malicious_event(bench):
    outcome = bench("protocol").Outcome("s", "t", "k", "", "a", 0.0, 2, [0, 5, 1, 7], [1, 1, 2, 3])
    assert outcome.delay_at(4) == -1  # before it: luck
    assert outcome.delay_at(6) == 1
    assert outcome.delay_at(7) is None
    assert (outcome.delay_to_tier(2), outcome.delay_to_tier(3)) == (0, 1)


def test_replay_scores_a_session_with_what_was_over_when_it_began(bench):
    protocol, experiments = bench("protocol"), bench("experiments")

    def session(name, start, end):
        events = [protocol.tool_call("a", name, at, "Read", {}, error=False) for at in sorted({start, end})]
        return protocol.Session(name, "a", "r", tuple(events))

    class Remembers:
        def __init__(self):
            self.learned, self.seen = [], {}

        def learn(self, session):
            self.learned.append(session.id)

        def score(self, session):
            self.seen[session.id] = list(self.learned)
            return [0.0] * len(session.events)

    sessions = [
        session("long", 0, 100),
        session("short", 10, 20),
        session("point", 30, 30),
        session("last", 101, 102),
    ]
    method = Remembers()
    judge = experiments.Judge(method, protocol.Cost())
    experiments.replay(judge, sessions, experiments.Results())
    assert method.seen == {
        "long": [],
        "short": [],
        "point": ["short"],
        "last": ["short", "point", "long"],
    }


def test_attacks_are_marked_and_leave_the_session_in_place(bench):
    protocol, attacks = bench("protocol"), bench("attacks")
    own = [
        protocol.tool_call("a", "s", at, "Read", {"file_path": f"/home/u/work/p/{at}.py"}, error=False)
        for at in range(8)
    ]
    base = protocol.Session("s", "a", "r", tuple(own))
    told = set()
    for kind in attacks.KINDS:
        for seed in "12":
            case = attacks.splice(base, kind, seed)
            assert case == attacks.splice(base, kind, seed)
            events = case.session.events
            kept = [event for at, event in enumerate(events) if at not in case.malicious]
            assert [event["data"] for event in kept] == [event["data"] for event in own]
            times = [protocol.unix(event["timestamp"]) for event in events]
            assert times == sorted(times)
            told.add(repr([events[at]["data"]["args"] for at in case.malicious]))
            parts = attacks.divided(case)
            names = [event["data"]["session"] for event in parts.session.events]
            assert len(set(names)) == len(case.malicious) + 1
            assert [at for at, name in enumerate(names) if name != "s"] == list(case.malicious)
            assert [{**event["data"], "session": "s"} for event in parts.session.events] == [
                event["data"] for event in events
            ]
    assert len(attacks.KINDS) >= 24
    assert len(told) > 1.9 * len(attacks.KINDS)


@pytest.mark.parametrize("start", ["cold", "warm", "later"])
def test_a_starter_knows_nothing_of_the_owners_that_it_is_scored_on(bench, start):
    experiments, protocol = bench("experiments"), bench("protocol")
    sessions = []
    for number in range(24):
        agent = f"x-{number % 3}-a"
        events = tuple(
            protocol.tool_call(agent, f"s{number}", 1.7e9 + 9000 * number + n, "Read", {}, error=False)
            for n in range(3)
        )
        sessions.append(protocol.Session(f"s{number}", agent, "r", events))
    half = experiments.half_time(sessions)
    log = []

    class Noting:
        def __init__(self):
            self.taught = None

        def starter(self, others):
            self.taught = list(others)

        def score(self, session):
            log.append((self.taught, session))
            return [0.0] * len(session.events)

        def learn(self, session):
            pass

    results = experiments.day_one(sessions, Noting, 1, start)

    assert len(log) == len(results.benign) + len(results.attacks)
    assert len(results.benign) == (11 if start == "later" else 24)
    for taught, session in log:
        if start == "cold":
            assert taught is None
            continue
        assert taught
        assert experiments.owner(session.agent) not in {experiments.owner(one.agent) for one in taught}
        if start == "later":
            assert max(one.end for one in taught) <= half < session.start
