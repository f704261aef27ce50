"""Logs of Claude Code's hooks: a call stands before it and behind it, and counts once."""

import json
from collections import Counter
from typing import Any

import pytest
from format_reading import conflicts, form, mutated, plain, read, read_file, samples
from hypothesis import given
from hypothesis import strategies as st

FORMAT = "claude_hooks"
(SAMPLE,) = samples(FORMAT)
ID = "toolu_01RTg3PUkRjXDFhYPkCcJkSb"


def hook(event: str, **more: Any) -> dict[str, Any]:
    common = {"session_id": "s1", "transcript_path": "/x.jsonl", "cwd": "/p", "hook_event_name": event}
    return {**common, **more}


def call(event: str, call_id: str = ID, **more: Any) -> dict[str, Any]:
    return hook(event, tool_name="Bash", tool_input={"command": "ls"}, tool_use_id=call_id, **more)


@pytest.mark.parametrize("part", ["all", "before", "behind"])
@pytest.mark.parametrize("has_ids", [True, False])
def test_every_call_counts_once(part: str, has_ids: bool) -> None:
    records = [
        record
        for record in plain(SAMPLE)
        if part == "all" or (record["hook_event_name"] == "PreToolUse") == (part == "before")
    ]
    if not has_ids:
        records = [{k: v for k, v in record.items() if k != "tool_use_id"} for record in records]
    expected = Counter(r["tool_name"] for r in plain(SAMPLE) if r["hook_event_name"] == "PreToolUse")
    reading = read(FORMAT, records)
    assert Counter(event.tool for event in reading.calls) == expected
    assert reading.unknown == []
    assert conflicts(reading) == 0


def test_the_sample_says_who_and_what() -> None:
    reading = read_file(FORMAT, SAMPLE)
    assert {(event.agent, event.session, event.role, event.at_us) for event in reading.events} == {
        (
            "/Users/user/workspace/cli/.worktrees/2",
            "d19ec7f9-dfaf-4c65-a9ad-ab56240f23d8",
            "coding-agent",
            None,
        )
    }
    (refused,) = [event for event in reading.events if event.outcome]
    assert (refused.type, refused.tool, refused.outcome) == ("approval", "Edit", "refused")
    assert form(FORMAT).matches(plain(SAMPLE)[0])


@pytest.mark.parametrize(
    ("behind", "outcome"),
    [
        (call("PostToolUse", tool_response="rejected"), ""),
        (call("PostToolUseFailure", error="Exit code 1"), "error"),
        (call("PostToolUseFailure", error="x", is_interrupt=True), "refused"),
        (call("PostToolUseFailure", error="Permission to use Bash has been denied."), "refused"),
        (call("PermissionDenied", reason="auto"), "refused"),
    ],
)
def test_what_became_of_a_call(behind: dict[str, Any], outcome: str) -> None:
    kind = "approval" if outcome == "refused" else "error"
    for records in ([call("PreToolUse"), behind, behind], [behind]):
        reading = read(FORMAT, records)
        assert len(reading.calls) == 1
        rest = [(event.type, event.tool, event.outcome) for event in reading.events[1:]]
        assert rest == ([(kind, "Bash", outcome)] if outcome else [])


def test_an_input_that_a_hook_changed_is_the_same_call() -> None:
    changed = call("PostToolUse") | {"tool_input": {"command": "ls -a"}}
    reading = read(FORMAT, [call("PreToolUse"), changed])
    assert len(reading.all) == 1


def test_a_subagent_has_its_own_id_and_role_wherever_it_works() -> None:
    moved = call("PreToolUse", ID + "2", agent_id="a1", agent_type="Explore") | {"cwd": "/p/sub"}
    first, second = read(FORMAT, [call("PreToolUse"), moved]).calls
    assert (first.agent, first.role) == ("/p", "coding-agent")
    assert (second.agent, second.role) == ("/p/a1", "subagent")


def test_the_time_that_a_logger_adds_is_used() -> None:
    (found,) = read(FORMAT, [call("PreToolUse", timestamp="2026-01-02T03:04:05Z")]).calls
    assert found.at_us == 1_767_323_045_000_000


def test_other_hooks() -> None:
    reading = read(
        FORMAT, [hook("Stop"), hook("SessionStart", source="startup"), hook("StopFailure"), hook("Dream")]
    )
    assert [(event.type, event.tool) for event in reading.events] == [("error", "")]
    assert reading.unknown == ["Dream"]


@pytest.mark.parametrize(
    "odd", [hook("PreToolUse"), hook("PreToolUse", tool_name=7, tool_input=[1], tool_use_id={})]
)
def test_an_odd_call_is_still_a_call(odd: dict[str, Any]) -> None:
    assert len(read(FORMAT, [odd]).calls) == 1


@given(st.sampled_from(plain(SAMPLE)), st.data())
def test_no_mutation_raises(record: dict[str, Any], data: st.DataObject) -> None:
    reading = read(FORMAT, [json.loads(json.dumps(mutated(record, data)))])
    assert len(reading.all) or reading.rows.ignored == [0]
