"""Habits: what is forgotten comes back as what it is."""

import msgspec

from sentineld import baseline
from sentineld.baseline import Told
from sentineld.habits import MAX_FEATURES, Role
from sentineld.learned import Finished, Own


def finished(seen):
    return Finished(1, "r", "s", 0.0, 1, {}, seen, [], {}, {})


def test_a_feature_that_is_forgotten_before_its_values_can_come_back():
    role = Role()
    role.learn_habits(finished({"arg:first": {1: 1, 2: 1}}))
    role.learn_habits(finished({f"arg:{n}": {n + 10: 1} for n in range(MAX_FEATURES)}))
    assert "arg:first" not in role.uses

    # Its values are known, so that none of these is new: agents choose the names of arguments.
    role.learn_habits(finished({"arg:first": {1: 1, 2: 1}}))
    assert role.bits_of_value("arg:first") > 0
    assert baseline.read(baseline.encode(baseline.of_role(role, Told("r", 1, "x"))))


def test_each_step_beyond_an_agents_own_highest_is_half_as_likely_as_the_one_before():
    role, own = Role(), Own(grades={"tempo": {0: 8, 3: 1}})

    bits = [role.bits_of_grade("tempo", grade, own, 5) for grade in range(1, 8)]

    assert bits[0] == bits[2] > 0, "one session was as fast"
    assert bits[3] > bits[2]
    assert [bits[n + 1] - bits[n] for n in range(3, 6)] == [1, 1, 1]
    assert role.bits_of_grade("tempo", 9, Own(), 1) == 0


def test_sessions_that_are_learned_together_are_those_that_are_learned_one_by_one():
    sessions = [
        Finished(
            n, "r", f"s{n}", n % 7 / 3, 1, {"order": n % 5 / 2}, {"arg:a": {n % 9: 1}}, ["x"], {}, {},
            is_suspicious=n % 11 == 0, is_rank=n % 13 > 0, is_attack=n in (40, 400), bests={0: n % 7 / 3},
            is_new_agent=n % 3 == 0,
        )
        for n in range(450)
    ]  # fmt: skip
    one_by_one, together = Role(), Role()
    owns = [[Own(is_frozen=n % 4 == 0) for n in range(len(sessions))] for _ in range(2)]
    ranks = []
    for session, own in zip(sessions, owns[0], strict=True):
        ranks.append(len(one_by_one.calibration))
        one_by_one.merge([session], [own])

    assert together.merge(sessions, owns[1]) == ranks
    assert msgspec.msgpack.decode(together.dump()[2:], strict=False) == msgspec.msgpack.decode(
        one_by_one.dump()[2:], strict=False
    )
    assert owns[1] == owns[0]
    assert together.version == one_by_one.version > 300
    assert together.calibration.judge(2.0) == one_by_one.calibration.judge(2.0)
