"""Habits: what is forgotten comes back as what it is."""

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
