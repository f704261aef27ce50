"""A kill, or a refusal, at any call by which state reaches the disk; and mutants that must be caught by it.

``run --once`` is disturbed, because it does the same calls each time: a run without a fault counts them, and
the faults are spread over all of them. See ``harness`` for what is checked.
"""

import re
import shutil

import pytest
from harness import PACKAGE, Place, Violation, assert_invariants, reference_run, series
from mutants import GUARDED, MUTANTS, UNSYNCED_DIRECTORY, build

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture(scope="session")
def mutant(tmp_path_factory):
    """Build mutants, each once."""
    directory = tmp_path_factory.mktemp("mutants")
    return lambda made: build(made, directory)


def test_six_faults_change_nothing(tmp_path):
    tally = series(tmp_path, seed=3, faults=6)

    assert tally.violations == []
    assert tally.struck >= 5


@pytest.mark.parametrize("name", ["double_read_without_guard", "number_reused_after_start"])
def test_a_mutant_that_every_run_shows_is_caught_at_once(name, mutant, tmp_path):
    (made,) = [one for one in MUTANTS if one.name == name]
    tally = series(tmp_path, seed=3, faults=made.within, package=mutant(made), enough=1)

    assert [text.partition(":")[0] in made.shows_in for text in tally.violations] == [True]


@pytest.mark.parametrize("made", [*MUTANTS, GUARDED, UNSYNCED_DIRECTORY], ids=lambda made: made.name)
def test_each_mutant_can_still_be_built(made, mutant):
    assert (mutant(made) / "sentineld").is_dir()


def test_a_double_read_is_refused_while_the_position_is_guarded(mutant, tmp_path):
    place = Place(tmp_path / "place", mutant(GUARDED))
    place.write_round(1)
    code, told = place.run()

    assert code != 0
    assert "no longer holds position" in told
    place.package = PACKAGE
    place.calm()
    assert_invariants(place)


def order_of_calls(place):
    """Return what is done to the state file's bytes and names, in order, once per file."""
    place.write_round(1)
    code, _ = place.run("-e", "trace=openat,write,fsync,renameat")
    assert code == 0
    steps = []
    for _, line in place.calls():
        if re.match(r"write\(\d+<[^>]*/\.state\.json\.", line):
            steps.append("write")
        elif re.match(r"fsync\(\d+<[^>]*/\.state\.json\.", line):
            steps.append("fsync")
        elif line.startswith("renameat(") and '"state.json"' in line:
            steps.append("rename")
        elif re.match(rf"fsync\(\d+<{re.escape(str(place.state_dir))}>", line):
            steps.append("fsync of the directory")
    return steps


def test_what_is_published_survives_a_power_cut(mutant, tmp_path):
    """No kill and no refused call shows a missing fsync of the directory: the order of the calls does."""
    whole = ["write", "fsync", "rename", "fsync of the directory"]
    steps = order_of_calls(Place(tmp_path / "place"))
    starts = [number for number, step in enumerate(steps) if step == "write"]

    assert len(starts) >= 3
    assert all(steps[start : start + 4] == whole for start in starts), steps
    lax = order_of_calls(Place(tmp_path / "lax", mutant(UNSYNCED_DIRECTORY)))
    starts = [number for number, step in enumerate(lax) if step == "write"]
    assert not all(lax[start : start + 4] == whole for start in starts)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10))
def test_fifty_faults_change_nothing(tmp_path, seed, record_property):
    tally = series(tmp_path, seed, 50)

    record_property("figure", f"strace faults: {tally}")
    assert tally.violations == []
    assert tally.struck >= 0.9 * tally.runs


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("made", MUTANTS, ids=lambda made: made.name)
def test_each_mutant_is_caught(made, mutant, tmp_path, record_property):
    tally = series(tmp_path, 7, made.within, mutant(made), enough=5)

    record_property("figure", f"mutant {made.name}: {tally}")
    assert tally.violations
    kinds = {text.partition(":")[0] for text in tally.violations}
    assert kinds & set(made.shows_in), tally.violations


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_no_fault_shows_an_unsynced_directory(mutant, tmp_path):
    """Said, so that nobody takes the kills above for a proof against power cuts."""
    assert series(tmp_path, 7, 30, mutant(UNSYNCED_DIRECTORY)).violations == []


def test_a_violation_is_one(tmp_path):
    """The checks see what they say: each is broken by hand once."""
    place = Place(tmp_path / "place")
    place.write_round(1)
    place.calm()
    assert_invariants(place)
    place.by_agent["biller"] += 1
    with pytest.raises(Violation, match=r"^INV1: "):
        assert_invariants(place)
    place.by_agent["biller"] -= 1
    place.watcher.demotions.add("d-999999")
    with pytest.raises(Violation, match=r"^INV8: "):
        assert_invariants(place)
    place.watcher.demotions.discard("d-999999")
    place.state_file.write_bytes(place.state_file.read_bytes()[:-9])
    with pytest.raises(Violation, match=r"^INV5: "):
        assert_invariants(place)


def test_the_workload_has_many_calls_to_fail(tmp_path):
    reference = reference_run(tmp_path / "calm")

    for calls in reference.calls.values():
        assert {"pwrite64", "write", "fdatasync", "fsync", "renameat", "unlink", "openat"} <= set(calls)
        assert sum(map(len, calls.values())) > 150
