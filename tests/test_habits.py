"""Habits: what is forgotten comes back as what it is."""

from sentineld import baseline
from sentineld.baseline import Told
from sentineld.habits import MAX_FEATURES, Role
from sentineld.learned import Finished


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
