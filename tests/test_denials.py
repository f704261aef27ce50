"""Denials: which results of which calls are a bypass of the gate, whom it is charged to, and what is kept."""

import json
import os
import time
import uuid

import pytest
from format_reading import form, read, read_file, samples
from hypothesis import given
from hypothesis import strategies as st

from sentineld import denials, store
from sentineld.event import REFUSED
from sentineld.integrity import KINDS
from sentineld.recognition import Formats
from sentineld.requests import Request
from sentineld.step import Pardon
from sentineld.tables import DenialRow

START = 1_763_858_000
LONG = "toolu_01A09q90qw90lq917835lq9"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as two owners")


def denial(call_id=LONG, agent="shop", decision="deny", session="s1"):
    return {
        "sentineld_gate": 1,
        "time": "2025-11-23T00:40:00.000Z",
        "decision": decision,
        "agent": agent,
        "session": session,
        "call_id": call_id,
        "tool": "Bash",
        "tier": 3,
    }


def result(call_id=LONG, session="s1", content="a.txt", **block):
    item = {"type": "tool_result", "tool_use_id": call_id, "content": content, **block}
    message = {"role": "user", "content": [item]}
    return {"type": "user", "uuid": f"r{call_id}", "sessionId": session, "message": message}


def use(session="s1"):
    message = {"role": "assistant", "id": f"msg_{uuid.uuid4().hex}", "content": []}
    return {"type": "assistant", "uuid": uuid.uuid4().hex, "sessionId": session, "message": message}


@pytest.fixture
def one(line, telemetry):
    """Make a line on which the agents ``shop`` and ``bank`` of this user are known."""
    made = line()
    made.formats = made.intake.formats = Formats([form("claude_code"), form("sentineld_gate")])
    for agent in ("shop", "bank"):
        telemetry.append(f"projects/{agent}/s1.jsonl", use())
    made.poll()
    return made


def restart(one):
    one.restart()
    one.intake.formats = one.formats


def found(one):
    return [(item.kind, item.owner, item.detail.partition(":")[0]) for item in one.store.incidents()]


def tiers(one):
    return {row.name: row.tier for row in one.store.agents() if row.tier > 1}


BYPASSED = ("gate_bypassed", os.getuid(), "shop")


@pytest.mark.parametrize("order", ["denial first", "result first", "together"])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_denied_call_that_worked_is_charged_to_who_did_it(one, telemetry, order, is_restarted):
    steps = [("gate/a.jsonl", denial()), ("projects/shop/s1.jsonl", result())]
    for name, record in steps if order != "result first" else reversed(steps):
        telemetry.append(name, record)
        if order != "together":
            one.poll()
            if is_restarted:
                restart(one)
    one.poll()
    assert found(one) == [BYPASSED]
    assert tiers(one) == {"shop": 3}
    (decision,) = one.store.decisions()
    assert decision.cause == "gate_bypassed"
    assert decision.evidence[-1].path.endswith("projects/shop/s1.jsonl")
    assert LONG in decision.evidence[-1].summary
    assert KINDS["gate_bypassed"].sentence in decision.evidence[-1].summary
    # It is told once, however often a transcript is copied.
    telemetry.append("projects/shop/s2.jsonl", use(), result())
    one.poll()
    assert found(one) == [BYPASSED]


@pytest.mark.parametrize(
    "block",
    [
        {"is_error": True, "content": "Hook PreToolUse:Bash denied this tool"},
        {"is_error": True, "content": "exit code 1"},
        {"toolDenialKind": "hook"},
    ],
)
def test_what_failed_or_was_refused_is_no_bypass(one, telemetry, block):
    telemetry.append("gate/a.jsonl", denial())
    telemetry.append("projects/shop/s1.jsonl", result(**block))
    one.poll()
    assert found(one) == []


def test_an_ask_or_another_call_is_no_bypass(one, telemetry):
    telemetry.append(
        "gate/a.jsonl", denial(decision="ask"), denial("toolu_another_call_with_a_long_id"), denial("")
    )
    telemetry.append("projects/shop/s1.jsonl", result(), result(""))
    one.poll()
    assert found(one) == []
    assert one.store.denials()[0].call_id == "toolu_another_call_with_a_long_id"


def test_ids_that_other_calls_may_have_too_accuse_nobody(one, telemetry):
    telemetry.append("gate/a.jsonl", denial("functions.Bash:0"), denial("call_0"))
    telemetry.append("projects/shop/s1.jsonl", result("functions.Bash:0"), result("call_0"))
    one.poll()
    assert found(one) == one.store.denials() == []
    telemetry.append("gate/a.jsonl", denial("toolu_another_call_with_a_long_id"))
    telemetry.append("projects/shop/s1.jsonl", result("toolu_another_call_with_a_long_id"))
    one.poll()
    assert found(one) == [BYPASSED]


def test_who_was_denied_answers_too(one, telemetry):
    telemetry.append("gate/a.jsonl", denial(agent="shop"))
    telemetry.append("projects/bank/s1.jsonl", result())
    one.poll()
    assert tiers(one) == {"shop": 3, "bank": 3}
    telemetry.append("gate/a.jsonl", denial(agent="nobody", call_id=LONG + "2"))
    telemetry.append("projects/bank/s1.jsonl", result(LONG + "2"))
    one.poll()
    assert tiers(one) == {"shop": 3, "bank": 3}, "who is not known is not made known"
    # But who did it is, and nobody is in its place.
    telemetry.append("gate/a.jsonl", denial(agent="nobody", call_id=LONG + "3"))
    telemetry.append("projects/new/s1.jsonl", result(LONG + "3"))
    one.poll()
    assert tiers(one) == {"shop": 3, "bank": 3, "new": 3}
    details = [item.detail for item in one.store.incidents()]
    assert any("denied to 'nobody' (no agent of that id is known)" in detail for detail in details)
    telemetry.append("gate/a.jsonl", denial(agent="shop", call_id=LONG + "4"))
    telemetry.append("projects/newer/s1.jsonl", result(LONG + "4"))
    one.poll()
    assert tiers(one) == {"shop": 3, "bank": 3, "new": 3, "newer": 3}, "whoever was denied is known"


@needs_root
def test_nobody_is_accused_by_another_user(one, telemetry):
    path = telemetry.append("gate/a.jsonl", denial())
    os.chown(path, 12345, 12345)
    one.poll()
    telemetry.append("projects/shop/s1.jsonl", result())
    one.poll()
    assert found(one) == []


def test_a_pardon_forgives_what_was_denied_before_it(one, telemetry):
    telemetry.append("gate/a.jsonl", denial(), denial(LONG + "2", agent="bank"))
    one.poll()
    one.pipeline.obey("p1", "shop", Pardon(one.now_us, "me", "a test", 0, False), {})
    assert [row.agent_id for row in one.store.denials()] == ["bank"]
    telemetry.append("projects/shop/s1.jsonl", result())
    one.poll()
    assert found(one) == []


@pytest.mark.parametrize("kind", ["rename", "erase"])
def test_denials_follow_a_new_name_and_go_with_an_agent(one, telemetry, kind):
    telemetry.append("gate/a.jsonl", denial())
    one.poll()
    request = Request(kind, "shop", "a test", to="store" if kind == "rename" else "")
    one.pipeline.carry_out("p1", request, one.now_us, "me", {})
    assert [row.agent_id for row in one.store.denials()] == (["store"] if kind == "rename" else [])
    telemetry.append("projects/bank/s1.jsonl", result())
    one.poll()
    assert tiers(one) == ({"store": 3, "bank": 3} if kind == "rename" else {})


def test_what_is_remembered_is_bounded(one, telemetry, monkeypatch):
    monkeypatch.setattr(denials, "MAX_DENIALS", 3)
    telemetry.append("gate/a.jsonl", *(denial(f"{LONG}{n}") for n in range(5)), denial(f"{LONG}4"))
    one.poll()
    assert [row.call_id[-1] for row in one.store.denials()] == ["2", "3", "4"]
    restart(one)
    telemetry.append("projects/shop/s1.jsonl", *(result(f"{LONG}{n}") for n in range(200)))
    one.poll()
    assert sorted((item.kind, item.count) for item in one.store.incidents()) == [
        ("gate_bypassed", 3),
        ("too_many_denials", 2),
    ]
    assert len(one.store.done_calls()) == 64
    assert one.store.denials() == []


def test_no_agent_s_denials_push_out_another_s(one, telemetry, monkeypatch):
    monkeypatch.setattr(denials, "MAX_DENIALS", 6)
    real = denial(f"{LONG}-real", agent="shop")
    flood = [denial(f"{LONG}-{n}", agent="bank") for n in range(10)]
    made_up = [denial(f"{LONG}-made-up-{n}", agent=f"nobody-{n}") for n in range(10)]
    telemetry.append("gate/a.jsonl", real, *flood, *made_up)
    one.poll()
    kept = [row.agent_id for row in one.store.denials()]
    assert sorted(kept) == ["bank", "bank", "nobody-7", "nobody-8", "nobody-9", "shop"]
    assert {item.kind for item in one.store.incidents()} == {"too_many_denials"}
    assert sum(item.count for item in one.store.incidents()) == 15, "what is forgotten is counted"
    assert tiers(one) == {}, "and accuses nobody"
    restart(one)
    telemetry.append("projects/shop/s1.jsonl", result(f"{LONG}-real"))
    one.poll()
    assert tiers(one) == {"shop": 3}


def row(number, agent):
    return DenialRow(1000, f"call-{number}", agent, number, f"call-{number}")


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(("", "shop", "bank", "mill")))))
def test_the_oldest_of_whoever_has_most_goes_first(changes):
    denied = denials._Denied(lambda agent: agent != "mill")
    shares = {}
    for number, agent in changes:
        share = "" if agent == "mill" else agent
        if agent and f"call-{number}" not in denied:
            denied.add(row(number, agent))
            shares.setdefault(share, []).append(number)
        elif agent:
            denied.pop(f"call-{number}")
            for numbers in shares.values():
                numbers[:] = [one for one in numbers if one != number]
        elif len(denied):
            gone = denied.pop_oldest_of_most()
            (found,) = [numbers for numbers in shares.values() if gone.at_us in numbers]
            assert len(found) == max(map(len, shares.values()))
            assert found.pop(0) == gone.at_us
        assert len(denied) == sum(map(len, shares.values()))


def test_many_agents_make_no_denial_costly():
    denied = denials._Denied(lambda _: True)
    for number in range(10_000):
        denied.add(row(number, f"agent-{number}"))
    began = time.process_time()
    for number in range(10_000, 12_000):
        denied.add(row(number, f"agent-{number}"))
        denied.pop_oldest_of_most()

    # Measured: 12 ms; 800 ms where all agents are looked at each time.
    assert time.process_time() - began < 0.2


def test_a_log_that_the_gate_removed_for_its_age_is_no_evidence(one, telemetry):
    path = telemetry.append("gate/a.jsonl", denial())
    one.poll()
    path.unlink()
    one.poll()
    telemetry.append("projects/shop/s1.jsonl", result())
    one.poll()
    assert found(one) == [BYPASSED], "what was read of it counts, and nothing else was found"


@needs_root
def test_no_owner_s_calls_push_out_another_s(one, telemetry, monkeypatch):
    monkeypatch.setattr(denials, "MAX_DONE", 3)
    monkeypatch.setattr(store, "MAX_DONE_CALLS", 3)
    monkeypatch.setattr(store, "_DONE_STEP", 1)
    telemetry.append("projects/shop/s1.jsonl", result())
    one.poll()
    path = telemetry.append("projects/other/s1.jsonl", use())
    os.chown(path, 12345, 12345)
    telemetry.append("projects/other/s1.jsonl", *(result(f"{LONG}{n}") for n in range(9)))
    one.poll()
    assert [row.key for row in one.store.done_calls()] == [LONG, *(f"{LONG}{n}" for n in (6, 7, 8))]
    restart(one)
    telemetry.append("gate/a.jsonl", denial())
    one.poll()
    assert found(one) == [BYPASSED]


def test_history_tells_a_bypass_whichever_file_comes_first(line, telemetry):
    one = line()
    one.formats = one.intake.formats = Formats([form("claude_code"), form("sentineld_gate")])
    telemetry.append("projects/shop/s1.jsonl", use(), result())
    telemetry.append("zz/a.jsonl", denial())
    one.tail.scan()
    for batch in filter(None, one.intake.history()):
        one.commit(batch)
    assert found(one) == [BYPASSED]


def settled(reading):
    return [(item.call_id, item.is_denied) for item in reading.rows.settled]


def test_hook_logs_tell_what_worked():
    common = {"session_id": "s", "cwd": "/w", "tool_name": "Bash", "tool_input": {}, "tool_use_id": "t1"}
    told = read("claude_hooks", [{**common, "hook_event_name": "PreToolUse"}])
    assert settled(told) == []
    assert settled(read("claude_hooks", [{**common, "hook_event_name": "PostToolUse"}])) == [("t1", False)]
    assert settled(read("claude_hooks", [{**common, "hook_event_name": "PostToolUseFailure"}])) == []


BLOCKED = "blocked by PreToolUse hook: no"
CODEX = [
    ({"type": "function_call_output", "call_id": "c1", "output": "ok"}, True),
    ({"type": "function_call_output", "call_id": "c1", "output": '{"metadata":{"exit_code":1}}'}, False),
    ({"type": "function_call_output", "call_id": "c1", "output": f"Command {BLOCKED}. Command: ls"}, False),
    ({"type": "custom_tool_call_output", "call_id": "c1", "output": f"Tool call {BLOCKED}"}, False),
    ({"type": "function_call_output", "call_id": "c1", "output": "exec command rejected by user"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "is_done"), CODEX)
def test_rollouts_tell_what_worked(payload, is_done):
    record = {"timestamp": "2026-01-01T00:00:00Z", "type": "response_item", "payload": payload}
    assert settled(read("codex", [record])) == ([("c1", False)] if is_done else [])
    bare = read("codex", [payload])
    assert settled(bare) == ([("c1", False)] if is_done and not bare.unknown else [])


def item(status):
    return {"type": "item_completed", "item": {"type": "CommandExecution", "id": "c1", "status": status}}


@pytest.mark.parametrize(
    ("payload", "is_done"),
    [
        ({"type": "exec_command_end", "call_id": "c1", "exit_code": 0}, True),
        ({"type": "exec_command_end", "call_id": "c1", "exit_code": 2}, False),
        ({"type": "exec_command_end", "call_id": "c1", "status": "declined"}, False),
        ({"type": "exec_command_begin", "call_id": "c1"}, False),
        ({"type": "dynamic_tool_call_request", "call_id": "c1"}, False),
        (item("completed"), True),
        (item("declined"), False),
        (item("failed"), False),
    ],
)  # fmt: skip
def test_events_of_rollouts_tell_what_worked(payload, is_done):
    record = {"timestamp": "2026-01-01T00:00:00Z", "type": "event_msg", "payload": payload}
    assert settled(read("codex", [record])) == ([("c1", False)] if is_done else [])


@pytest.mark.parametrize("name", ["claude_code", "claude_hooks", "codex"])
def test_no_call_of_a_real_session_both_worked_and_was_refused(name):
    done = 0
    for path in samples(name):
        reading = read_file(name, path)
        worked = {item.call_id for item in reading.rows.settled}
        refused = {event.call_id for event in reading.events if event.outcome == REFUSED}
        assert worked & refused == set(), path
        done += len(worked)
    assert done > 5


@pytest.mark.parametrize(
    ("told", "is_done"),
    [
        ({"success": "true"}, True),
        ({"success": "false"}, False),
        ({"success": "true", "decision": "reject"}, False),
    ],
)
def test_opentelemetry_tells_what_worked(told, is_done):
    attributes = {
        "event.name": "tool_result",
        "tool_name": "Bash",
        "tool_use_id": LONG,
        "session.id": "s",
        **told,
    }
    log = {
        "body": {"stringValue": "claude_code.tool_result"},
        "timeUnixNano": "1",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    record = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": [log]}]}]}
    assert settled(read("otlp", [record])) == ([(LONG, False)] if is_done else [])


def test_the_gate_s_log_makes_no_events():
    reading = read("sentineld_gate", [denial(), denial(decision="ask")])
    assert (reading.events, reading.unknown) == ([], [])
    assert settled(reading) == [(LONG, True)]
    assert json.loads(json.dumps(denial()))["sentineld_gate"] == 1
