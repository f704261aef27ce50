"""Identity under attack: real uids write real files; whoever speaks for another one answers for it alone."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentineld.roster import OVERFLOW_ID
from sentineld.step import load_state
from sentineld.trust import OWNER, PATH, UNNAMED_ID, Rule, Trust

A, B, GROUP = 1001, 1002, 2000
START = 1_763_858_400

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as two users")
pytestmark = needs_root


def write_as(uid: int, directory: Path, name: str, *records: Any) -> Path:
    """Append records to a file as that user; only the directory itself has to be open to it."""
    lines = b"".join(json.dumps(item).encode() + b"\n" for item in records)
    run_as(uid, directory, 'cat >> "$1"', name, given=lines)
    return directory / name


def run_as(uid: int, directory: Path, script: str, *arguments: str, given: bytes = b"") -> None:
    subprocess.run(
        ["/bin/sh", "-c", f"umask 022; {script}", "sh", *arguments],
        cwd=directory,
        input=given,
        user=uid,
        group=uid,
        extra_groups=[GROUP],
        check=True,
        timeout=120,
    )


def own(directory: Path, uid: int, mode: int = 0o755, gid: int = GROUP) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    os.chown(directory, uid, gid)
    directory.chmod(mode)
    return directory


def events(telemetry, claim: str, count: int, *, at: float = START, is_bad: bool = False) -> list[Any]:
    make = telemetry.flood if is_bad else telemetry.normal
    return make(claim, count, end=at, every=0.01)


TRUSTS = {
    "first owner": Trust(),
    "binding": Trust(bindings={"b": B}),
    "path": Trust([Rule("{agent}/**", PATH, owner=None)]),
    "path and owner": Trust([Rule("b/**", agents=("b",), owner=B), Rule("a/**", agents=("a",))]),
    "owner": Trust([Rule("**", OWNER)], users={A: "a", B: "b"}),
}


@pytest.fixture(params=TRUSTS)
def trust(request, telemetry) -> Trust:
    made = TRUSTS[request.param]
    return Trust(made.rules, [str(telemetry.directory)], made.bindings, made.users)


class Two:
    """The line over two users' directories; ``attack`` is what A does between B's two writings."""

    def __init__(self, line, telemetry, trust: Trust) -> None:
        self.telemetry = telemetry
        self.line = line()
        self.line.intake.trust = trust
        self.line.pipeline.bind(trust.bindings)
        self.a = own(telemetry.directory / "a", A)
        self.b = own(telemetry.directory / "b", B, 0o775)

    def run(self, attack=None) -> bytes:
        """Return what is known of B, to the bit."""
        write_as(B, self.b, "b.jsonl", *events(self.telemetry, "b", 20, at=START))
        self.line.poll()
        if attack is not None:
            attack()
        self.line.poll()
        write_as(B, self.b, "b.jsonl", *events(self.telemetry, "b", 20, at=START + 2))
        self.line.poll()
        return self.line.store.agent((B, "b")).state

    def kinds(self, owner: int) -> set[str]:
        return {item.kind for item in self.line.store.incidents(owner=owner)}

    def tiers(self, owner: int) -> dict[str, int]:
        return {row.name: row.tier for row in self.line.store.agents() if row.owner == owner}


@pytest.fixture
def two(line, telemetry, trust) -> Two:
    return Two(line, telemetry, trust)


@pytest.fixture
def calm(make_line, tmp_path, trust) -> bytes:
    """Return what is known of B where A does nothing."""
    from tests.conftest import Telemetry

    directory = tmp_path / "calm"
    directory.mkdir()
    made: list[Any] = []

    def make() -> Any:
        made.append(make_line(directory, tmp_path / "calm.db"))
        return made[-1]

    calm_trust = Trust(trust.rules, [str(directory)], trust.bindings, trust.users)
    state = Two(make, Telemetry(directory), calm_trust).run()
    made[0].close()
    return state


def write(two: Two, **options: Any) -> None:
    write_as(A, two.a, "a.jsonl", *events(two.telemetry, "b", 60, **options))


def frame(two: Two) -> None:
    write(two, is_bad=True)


def praise(two: Two) -> None:
    write(two)


def create_in_bs_directory(two: Two) -> None:
    write_as(A, two.b, "more.jsonl", *events(two.telemetry, "b", 60, is_bad=True))


def move_into_bs_directory(two: Two) -> None:
    write_as(A, two.a, "more.jsonl", *events(two.telemetry, "b", 60, is_bad=True))
    run_as(A, two.telemetry.directory, "mv a/more.jsonl b/more.jsonl")


def copy_bs_file(two: Two) -> None:
    run_as(A, two.telemetry.directory, "cp b/b.jsonl a/b.jsonl")


@pytest.mark.parametrize(
    "attack", [frame, praise, create_in_bs_directory, move_into_bs_directory, copy_bs_file]
)
def test_nothing_that_another_user_writes_changes_an_agent_by_one_bit(two, calm, attack):
    found = two.run(lambda: attack(two))

    assert found == calm
    assert two.kinds(B) == set()
    assert two.tiers(B) == {"b": load_state(calm).standing.tier}


@pytest.mark.parametrize("attack", [frame, praise, create_in_bs_directory, move_into_bs_directory])
def test_who_speaks_for_another_user_answers_for_it(two, trust, attack):
    two.run(lambda: attack(two))
    # Under a rule that believes nothing but the owner of the file, a false claim is all that is left.
    configured = bool(trust)
    expected = "forged_id" if configured else "foreign_id"
    is_path = trust and trust.rules and trust.rules[0].identity == PATH
    if is_path and attack in (create_in_bs_directory, move_into_bs_directory):
        # The path says b, and so does the record: only the owner of the file gives it away.
        expected = "foreign_id"

    assert two.kinds(A) == {expected}
    # The flood that A writes as B's is A's own behaviour besides.
    assert max(two.tiers(A).values()) == (3 if expected == "forged_id" or attack is not praise else 2)
    two.line.check_accounts()


def test_a_file_that_changes_hands_is_read_on_as_the_new_owners(line, telemetry):
    directory = own(telemetry.directory, A)
    path = write_as(A, directory, "x.jsonl", *events(telemetry, "a", 5))
    one = line()
    one.poll()
    os.chown(path, B, -1)
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(item).encode() + b"\n" for item in events(telemetry, "b", 7)))
    one.poll()

    counted = {(row.owner, row.agent_id): load_state(row.state).events for row in one.store.agents()}
    assert counted == {(A, "a"): 5, (B, "b"): 7}


@pytest.mark.parametrize(
    "claim", ["x#1001", "<other>", "<unnamed>", "b#1002", "b\x00", "\uff42", "b\u202e", ""]
)
def test_no_record_can_claim_what_only_the_daemon_gives(line, telemetry, claim):
    directory = own(telemetry.directory, A)
    write_as(A, directory, "x.jsonl", *events(telemetry, claim, 3))
    one = line()
    one.poll()

    assert list(one.store.agents()) == []
    assert one.source(directory / "x.jsonl").rejected == 3


def test_a_flood_of_ids_is_charged_to_its_owner_and_its_memory_is_bounded(line, telemetry):
    import resource

    directory = own(telemetry.directory, A)
    telemetry_b = own(telemetry.directory / "b", B)
    records = [telemetry.record(f"sybil-{n}", "file_write", START) for n in range(100_000)]
    write_as(A, directory, "x.jsonl", *records)
    write_as(B, telemetry_b, "b.jsonl", *events(telemetry, "b", 20))
    one = line()
    one.agents_per_owner = 64
    one.restart()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one.poll()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    rows = {row.name: row for row in one.store.agents()}
    assert one.store.owner_counts() == {A: 65, B: 1}
    assert rows[OVERFLOW_ID].tier == 3
    assert rows["b"].tier == 1
    assert {item.owner for item in one.store.incidents() if item.kind == "too_many_agents"} == {A}
    assert one.store.meta().events == 100_020
    assert grown < 64 << 10, f"{grown} KiB"


# The whole daemon.


RULES = """
[[telemetry.sources]]
path = "{{agent}}/**"
identity = "path"
[identity.bindings]
b = {b}
[state]
unlisted_tier = {unlisted}
"""


def test_a_daemon_with_rules_and_its_replay_find_the_same(place, wait_for):
    t = place.telemetry
    config = place.config(RULES.format(b=B, unlisted=1))
    a, b = own(t.directory / "a", A), own(t.directory / "b", B, 0o777)
    write_as(B, b, "x.jsonl", *t.normal("b", 20))
    daemon = place.start("--config", config)
    write_as(A, a, "x.jsonl", *t.normal("b", 20), {"type": "plan", "data": {}})
    write_as(A, b, "y.jsonl", *t.normal("b", 3))
    wait_for(lambda: place.tier("a") == 3, "demotion of the writer")
    wait_for(lambda: place.tier(f"{UNNAMED_ID}") == 3, "demotion of who has no name here")
    place.config(RULES.format(b=A, unlisted=2))
    daemon.signal(1)
    daemon.wait_log("config_reloaded")
    write_as(B, b, "x.jsonl", *t.normal("b", 4))
    wait_for(lambda: len(place.decisions()) >= 3, "the old owner forges now")
    assert daemon.stop() == 0
    status = place.json("status")
    replayed = place.json("replay", t.directory, "--as-observed", "--config", config)

    assert status["agents"]["a"]["events"] == 21
    assert status["agents"][f"b#{B}"]["events"] == 20
    assert "b" not in status["agents"]
    assert [item["agent_id"] for item in replayed["decisions"]] == [
        item["agent_id"] for item in place.decisions()
    ]
    assert replayed["decisions"] == place.decisions()
    assert {d["cause"] for d in replayed["decisions"]} == {"identity"}


def test_unlisted_agents_have_the_configured_tier_and_known_ones_are_listed(place, wait_for):
    place.telemetry.append("a.jsonl", *place.telemetry.normal("a", 5, end=time.time() - 4000))
    config = place.config("[state]\nunlisted_tier = 2\n")
    daemon = place.start("--config", config)
    wait_for(lambda: place.state()["agents"].get("a") == {"tier": 1}, "listing of a cold agent")
    assert place.command("tier", "nobody").stdout.strip() == "2"
    assert place.command("tier", "a").stdout.strip() == "1"

    place.config("[state]\nunlisted_tier = 3\n")
    daemon.signal(1)
    wait_for(lambda: place.state()["unlisted_tier"] == 3, "the new tier")
    place.config("")
    daemon.signal(1)
    wait_for(lambda: place.state()["unlisted_tier"] == 1, "the default tier")
    assert place.state()["agents"] == {}


def test_while_an_owner_floods_ids_nobody_unknown_is_normal(place):
    place.telemetry.append("known.jsonl", *place.telemetry.normal("known", 5))
    ids = [place.telemetry.record(f"sybil-{n}", "plan", time.time()) for n in range(30)]
    place.telemetry.append("sybils.jsonl", *ids)
    place.once("--config", place.config("[limits]\nagents_per_owner = 10\n"))
    state = place.state()

    assert state["agents"][OVERFLOW_ID]["tier"] == state["unlisted_tier"] == 3
    assert state["agents"]["known"] == {"tier": 1}
    assert place.command("tier", "sybil-29").stdout.strip() == "3"
    assert place.json("status")["state"]["unlisted_tier"] == 3


def test_isolation_is_service_only_while_the_agents_cannot_reach_the_state(place):
    write_as(A, own(place.telemetry.directory / "a", A), "x.jsonl", *place.telemetry.normal("a", 5))
    # What pytest makes is root's own; nobody else may write it.
    place.once()
    assert place.state()["isolation"] == "service"

    os.chown(place.state_dir.parent, A, -1)
    done = place.once()
    assert place.state()["isolation"] == "none"
    assert f"belongs to uid {A}" in done.stderr
    os.chown(place.state_dir.parent, 0, -1)

    (place.state_dir / "requests").chmod(0o770)
    os.chown(place.state_dir / "requests", -1, A)
    place.once()
    assert place.state()["isolation"] == "none"
    os.chown(place.state_dir / "requests", -1, 0)
    place.once()
    assert place.state()["isolation"] == "service"


def can_unshare() -> bool:
    return subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False).returncode == 0


def in_namespace(place, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-Ur", sys.executable, "-m", "sentineld", "run", "--once", "--telemetry",
         str(place.telemetry.directory), "--state-dir", str(place.state_dir), *map(str, arguments)],
        capture_output=True, text=True, env=place.environment(), cwd=place.base, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.skipif(not can_unshare(), reason="no user namespaces here")
def test_in_a_user_namespace_the_daemon_does_not_start_unless_told_to(place):
    place.telemetry.append("a.jsonl", *place.telemetry.normal("a", 5))
    done = in_namespace(place)
    assert done.returncode == 78
    assert "error: this is a user namespace" in done.stderr
    assert "allow_user_namespace = true" in done.stderr
    assert not place.state_dir.exists()

    config = place.config("[identity]\nallow_user_namespace = true\n")
    done = in_namespace(place, "--config", config)
    assert done.returncode == 0, done.stderr
    assert place.state()["isolation"] == "none"


def test_a_user_that_does_not_exist_is_told_and_changes_nothing_that_runs(place, wait_for):
    text = '[identity.bindings]\na = "{}"\n'
    place.telemetry.append("a.jsonl", *place.telemetry.normal("a", 5))
    config = place.config(text.format("roto"))
    done = place.command("run", "--once", "--telemetry", place.telemetry.directory, "--config", config)
    assert done.returncode == 78
    assert "identity.bindings.a: there is no user 'roto'" in done.stderr
    assert "did you mean root?" in done.stderr
    problems = place.json("check", "--config", config, code=78)["problems"]
    assert "identity.bindings.a: " in problems[-1]["message"]

    place.config(text.format("root"))
    daemon = place.start("--config", config)
    place.config(text.format("roto"))
    daemon.signal(1)
    daemon.wait_log("config_reload_failed")
    place.config(text.format("root") + "b = 1001\n")
    daemon.signal(1)
    assert daemon.wait_log("config_reloaded")["changed"] == ["identity.bindings"]
