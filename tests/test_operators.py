"""Operators' acts on habits and agents: what they change, what they leave, and that a replay repeats them."""

import sqlite3

import pytest
from learning import MINUTE, START, Line, event, work

from sentineld import baseline
from sentineld.baseline import Told
from sentineld.event import Incident
from sentineld.learned import Own
from sentineld.requests import Request
from sentineld.store import Store
from sentineld.tables import Commit, RoleRow

HOUR = 60 * MINUTE
SESSIONS = 40
END = START + SESSIONS * HOUR


@pytest.fixture
def store():
    with Store.open(":memory:", START, is_durable=False) as opened:
        yield opened


@pytest.fixture
def line(store):
    """Make a line whose role has learned from 40 sessions of two agents, one an hour."""
    line = Line(store)
    for n in range(SESSIONS):
        line.read(work(3, START + n * HOUR, agent="ab"[n % 2], session=f"s{n}", value=f"v{n}"))
    line.tick(END)
    return line


def ask(line, kind, at=END, request_id=None, **more):
    agent = "" if "role" in more else "a"
    request = Request(**{"kind": kind, "agent": agent, "reason": "why", **more})
    document = {"agent": request.agent, "actor": "me", "request": request.document()}
    return line.pipeline.carry_out(request_id or f"{kind}-{at}", request, at, "me", document)


def of_role(line, kind, at=END, **more):
    return ask(line, kind, at, role="worker", owner=1000, **more)


def session(line, number, at, agent="a", value="new"):
    line.read(work(3, at, agent=agent, session=f"n{number}", value=value))
    line.tick(at + HOUR)


def test_a_frozen_role_ranks_and_learns_nothing_until_it_is_unfrozen(line):
    outcome = of_role(line, "freeze")
    (told,) = outcome.decisions
    assert (told.cause, told.role, told.agent_id, told.actor, told.note) == (
        "frozen",
        "worker",
        "",
        "me",
        "why",
    )
    ranked, known = len(line.role().calibration), dict(line.role().known)
    line.begin()
    session(line, 1, END + HOUR)

    assert line.role().sessions == SESSIONS
    assert line.role().known == known
    assert len(line.role().calibration) == ranked + 1
    assert of_role(line, "freeze", END + 3 * HOUR).decisions == []
    of_role(line, "unfreeze", END + 3 * HOUR)
    session(line, 2, END + 4 * HOUR)
    assert line.role().sessions == SESSIONS + 1


def test_a_frozen_agent_teaches_neither_its_role_nor_itself_and_others_go_on(line):
    assert [d.cause for d in ask(line, "freeze").decisions] == ["frozen"]
    before = line.agent().own.sessions
    session(line, 1, END + HOUR, "a")
    assert (line.role().sessions, line.agent().own.sessions) == (SESSIONS, before)
    session(line, 2, END + 3 * HOUR, "b")
    assert line.role().sessions == SESSIONS + 1


def test_a_reset_role_knows_nothing_and_its_agents_neither(line):
    line.read([event(END + HOUR, session="open")])
    version = line.role().version
    (told,) = of_role(line, "reset", END + HOUR + 1).decisions

    assert (told.cause, told.role) == ("reset", "worker")
    role = line.role()
    assert (role.sessions, len(role.calibration), role.known) == (0, 0, {})
    assert role.version > version, "later habits are never taken for former ones"
    assert line.agent("a").sessions == []
    assert {line.agent(name).own.sessions for name in "ab"} == {0}
    assert line.store.lessons(1000, role="worker") == []
    line.begin()
    assert line.role().sessions == 0


def test_a_reset_since_an_instant_learns_anew_from_the_sessions_after_it(store, line):
    since = START + 30 * HOUR - MINUTE
    (told,) = of_role(line, "reset", since=iso_of(since)).decisions
    with Store.open(":memory:", START, is_durable=False) as other:
        fresh = Line(other)
        for n in range(30, SESSIONS):
            fresh.read(work(3, START + n * HOUR, agent="ab"[n % 2], session=f"s{n}", value=f"v{n}"))
        fresh.tick(END)

        assert line.role().known == fresh.role().known
        assert line.role().sessions == fresh.role().sessions == 10
        assert line.agent("a").own.sessions == fresh.agent("a").own.sessions == 5
    assert "10 kept sessions" in told.evidence[0].summary
    assert len(store.lessons(1000, role="worker")) == 10, "what was forgotten stays forgotten"


def iso_of(at):
    from sentineld.instant import iso

    return iso(at)


def test_a_reset_of_an_agent_leaves_its_role_alone(line):
    line.read([event(END + HOUR, session="open")])
    known = dict(line.role().known)
    ask(line, "reset", END + HOUR + 1)
    assert (line.agent("a").own, line.agent("a").sessions) == (Own(), [])
    assert line.agent("b").own.sessions == 20
    assert line.role().known == known

    ask(line, "reset", END + HOUR + 2, since=iso_of(START + 20 * HOUR - MINUTE))
    assert line.agent("a").own.sessions == 10


def test_habits_that_are_exported_and_imported_are_the_same(line):
    document = baseline.of_role(line.role(), Told("worker", END, "sentineld/x"))
    data = baseline.encode(document)
    with Store.open(":memory:", START, is_durable=False) as other:
        fresh = Line(other)
        fresh.read([event(START, role="helper")])
        fresh.tick(START + 2 * HOUR)
        request = {"role": "helper", "owner": 1000, "baseline": baseline.read(data)}
        assert ask(fresh, "import", START + 2 * HOUR, **request).decisions == [], "it has learned already"
        (told,) = ask(fresh, "import", START + 2 * HOUR, replaces=True, **request).decisions
        helper = fresh.role("helper")

        assert (told.cause, told.role) == ("imported", "helper")
        assert document.digest[:16] in told.evidence[0].summary
        assert helper.known == line.role().known
        assert baseline.of_role(helper, Told("worker", END, "sentineld/x")) == document


def test_a_retired_agent_ends_its_sessions_keeps_its_history_and_comes_back_when_it_acts(line):
    line.read([event(END + HOUR, session="open")])
    (told,) = ask(line, "retire", END + HOUR + 1).decisions
    state = line.pipeline.roster.by_name("a")

    assert (told.cause, told.from_tier, told.to_tier) == ("retired", 1, 1)
    assert state.retired_us == END + HOUR + 1
    assert state.learned.sessions == []
    line.tick(END + 3 * HOUR)
    assert line.role().sessions == SESSIONS + 1
    line.read([event(END + 4 * HOUR)])
    assert line.pipeline.roster.by_name("a").retired_us is None


def test_whoever_acts_as_an_agent_that_was_retired_for_good_is_at_tier_3(line):
    (told,) = ask(line, "retire", is_final=True).decisions
    line.read([event(END + 4 * HOUR)])

    assert (told.cause, told.to_tier) == ("retired", 3)
    assert line.pipeline.roster.by_name("a").standing.effective_tier == 3


def test_a_renamed_agent_goes_on_with_everything_under_the_new_id(line):
    ask(line, "pin", tier=2)
    own = line.pipeline.roster.by_name("a").learned.own
    (told,) = ask(line, "rename", END + 1, to="z").decisions
    line.tick(END + 2)
    line.read([event(END + HOUR, "z")])

    assert (told.cause, told.agent_id) == ("renamed", "z")
    assert line.pipeline.roster.by_name("a") is None
    state = line.pipeline.roster.by_name("z")
    assert (state.agent_id, state.standing.effective_tier, state.learned.own) == ("z", 2, own)
    assert [d.cause for d in line.store.decisions(name="z")] == ["pinned", "renamed"]
    assert line.store.agent((1000, "a")) is None
    assert {name for n in range(1, line.files) for name in line.store.writers(n)} == {"b", "z"}
    line.read([event(END + HOUR, "a")])
    assert line.pipeline.roster.by_name("a").events == 1, "the former id is a stranger's"


def test_an_agent_that_is_renamed_to_another_one_leaves_no_stricter_tier_behind(line):
    ask(line, "pin", tier=3)
    before = {name: line.pipeline.roster.by_name(name).events for name in "ab"}
    ask(line, "rename", END + 1, to="b")
    state = line.pipeline.roster.by_name("b")

    assert line.pipeline.roster.by_name("a") is None
    assert state.standing.effective_tier == 3
    assert state.events == sum(before.values())
    assert state.learned.own.sessions == SESSIONS
    line.begin()
    assert line.pipeline.roster.by_name("b") is not None


@pytest.mark.parametrize("to", ["a", "<other>", "with space", "x" * 129])
def test_ids_that_cannot_be_are_refused(line, to):
    request = Request("rename", "a", "why", to=to)
    assert line.pipeline.refusal(request, END)
    assert ask(line, "rename", to=to).decisions == []


def test_an_erased_agent_leaves_nothing_but_the_record(line):
    ask(line, "pin", tier=2)
    (told,) = ask(line, "erase", END + 1).decisions

    assert (told.cause, told.agent_id, told.from_tier, told.to_tier) == ("erased", "a", 2, 1)
    assert line.store.decisions(name="a") == [told]
    assert line.pipeline.roster.by_name("a") is None
    assert line.store.lessons(1000, agent_id="a") == []
    cut = Incident(END, "truncated", 1000, 1, "/1", 0, 0, "")
    assert line.pipeline._incidents.charged(cut) == [(1000, "<unnamed>")], "and nobody honest"
    assert {name for n in range(1, line.files) for name in line.store.writers(n)} == {"<unnamed>", "b"}
    line.begin()
    line.read([event(END + HOUR, "a")])
    assert line.pipeline.roster.by_name("a").events == 1


def test_a_wish_is_carried_out_once(line):
    of_role(line, "freeze", request_id="one")
    of_role(line, "unfreeze")
    assert of_role(line, "freeze", request_id="one").decisions == []
    assert not line.role().is_frozen


@pytest.mark.parametrize("damage", [b"", b"9:x", b"1:\xc1", b"1:\x80", None])
def test_damaged_habits_begin_anew_from_the_kept_sessions_and_it_is_told(line, damage):
    if damage is None:
        # A sound document with a count that is none.
        damage = line.store.roles()[0].habits.replace(b"\xa8sessions\x28", b"\xa8sessions\xc3")
    known, ranked = dict(line.role().known), len(line.role().calibration)
    line.store.commit(Commit("publish", END, roles=[RoleRow(1000, "worker", damage)]))
    line.begin()
    assert line.pipeline.damaged_roles == [(1000, "worker")]
    (told,) = line.pipeline.mend(line.pipeline.damaged_roles, END).decisions

    assert (told.cause, told.role, told.actor) == ("mended", "worker", "")
    assert line.role().known == known
    assert len(line.role().calibration) == ranked
    line.begin()
    assert line.pipeline.damaged_roles == []


def test_kept_sessions_are_bounded_by_role_and_by_owner(line, monkeypatch):
    monkeypatch.setattr("sentineld.store.MAX_LESSONS", 10)
    session(line, 1, END + HOUR)
    kept = line.store.lessons(1000, role="worker")
    assert len(kept) == 10
    assert kept[-1].ended_us > END
    size = sum(len(item.session) for item in kept)
    monkeypatch.setattr("sentineld.store.MAX_LESSONS_BYTES", size // 2)
    session(line, 2, END + 3 * HOUR)
    kept = line.store.lessons(1000, role="worker")
    assert 1 <= len(kept) < 10
    assert sum(len(item.session) for item in kept) <= size // 2


def test_nothing_of_an_erased_agent_is_left_in_the_file(tmp_path):
    path = tmp_path / "sentineld.db"
    with Store.open(str(path), START) as store:
        # As libraries are often built: what is deleted or replaced stays in the file.
        store._db.execute("PRAGMA secure_delete=OFF")
        for content in (b"Tr4ceTr4ce" * 5000, b""):
            store.commit(Commit("publish", START, roles=[RoleRow(1000, "x", content)]))
        line = Line(store)
        for n in range(5):
            line.read(work(3, START + n * HOUR, agent="Tr4ce" * 5, session=f"s{n}"))
        request = Request("erase", "Tr4ce" * 5, "why")
        ask(line, "pin", agent="Tr4ce" * 5, tier=2)
        line.pipeline.carry_out("e", request, END, "me", {})
        with sqlite3.connect(path) as db:
            # The record of the erasure and the wishes name it, nothing else does.
            db.execute("DELETE FROM decision")
            db.execute("DELETE FROM request")
            db.execute("DELETE FROM input")
        db.close()
        assert store.scrub()
        for file in tmp_path.iterdir():
            assert b"Tr4ceTr4ce" not in file.read_bytes(), file
