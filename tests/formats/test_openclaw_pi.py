"""Sessions of Pi and OpenClaw: calls are parts of messages, results are messages of their own."""

from pathlib import Path
from typing import Any

import pytest
from format_reading import form, label, mutated, plain, read, read_file, samples
from hypothesis import given
from hypothesis import strategies as st

FORMAT = "openclaw_pi"
PI = "/home/u/.pi/agent/sessions/--home-u-p--/2026-01-02T03-04-05-000Z_0199.jsonl"
CLAW = "/home/u/.openclaw/agents/main/sessions/0199.jsonl"
ID = "toolu_01RTg3PUkRjXDFhYPkCcJkSb"
HEAD = {"type": "session", "version": 3, "id": "s1", "timestamp": "2026-01-02T03:04:05Z", "cwd": "/home/u/p"}


def message(role: str, content: object = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "m1",
        "timestamp": "2026-01-02T03:04:05Z",
        "message": {"role": role, "content": content, **more},
    }


def call(call_id: object = ID, kind: str = "toolCall") -> dict[str, Any]:
    return {"type": kind, "id": call_id, "name": "bash", "arguments": {"command": "ls"}}


@pytest.mark.parametrize("path", samples(FORMAT), ids=label)
def test_every_call_counts_once(path: Path) -> None:
    records = plain(path)
    expected = [
        (item["id"], item["name"])
        for record in records
        if record["type"] == "message" and record["message"]["role"] == "assistant"
        for item in record["message"]["content"]
        if item["type"] == "toolCall"
    ]
    reading = read_file(FORMAT, path)
    assert [(found.call_id, found.tool) for found in reading.calls] == expected
    answers = [record for record in records if record.get("message", {}).get("role") == "assistant"]
    assert len(reading.of("model_call")) == len(answers)
    assert reading.unknown == []
    assert {(event.agent, event.session) for event in reading.events} == {
        (records[0]["cwd"], records[0]["id"])
    }
    assert form(FORMAT).matches(records[0])


def test_tokens_and_time() -> None:
    path = next(path for path in samples(FORMAT) if path.name.startswith("pi"))
    events = [event for event in read_file(FORMAT, path).events if event.type != "prompt"]
    assert [event.tokens for event in events] == [(12, 7)] * 2
    bare = {
        "type": "message",
        "message": {"role": "assistant", "content": [], "timestamp": 1_767_323_045_000},
    }
    assert read(FORMAT, [HEAD, bare], PI).events[0].at_us == 1_767_323_045_000_000


def test_agents_of_both() -> None:
    records = [HEAD, message("assistant", [call()])]
    assert {event.agent for event in read(FORMAT, records, PI).events} == {"/home/u/p"}
    assert {event.agent for event in read(FORMAT, records, CLAW).events} == {"openclaw/main"}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Command exited with code 1", "error"),
        ("Error: no such file", "error"),
        ("Command aborted", "refused"),
        ("Operation aborted", "refused"),
        ("Tool execution was blocked by an extension", "refused"),
        ("exec denied: approval-timeout", "refused"),
        ("User rejected the command", "refused"),
        ("Skipped due to queued user message.", "refused"),
    ],
)
@pytest.mark.parametrize("is_list", [False, True])
def test_what_a_failed_result_means(text: str, outcome: str, is_list: bool) -> None:
    content = [{"type": "text", "text": text}] if is_list else text
    result = message("toolResult", content, toolCallId=ID, toolName="bash", isError=True)
    events = read(FORMAT, [HEAD, message("assistant", [call()]), result, result], PI).events
    kind = "approval" if outcome == "refused" else "error"
    assert [(event.type, event.tool, event.outcome) for event in events[2:]] == [(kind, "bash", outcome)]


def test_what_is_no_act_of_the_agent() -> None:
    records = [
        message("toolResult", "rejected", toolCallId=ID, isError=False),
        message("bashExecution", command="ls", exitCode=1),
        message("assistant", [{"type": "text", "text": "x"}], provider="openclaw", model="delivery-mirror"),
        {"type": "custom", "customType": "model-snapshot"},
    ]
    reading = read(FORMAT, [HEAD, *records], PI)
    assert (reading.events, reading.unknown) == ([], [])


def test_api_errors_and_what_is_new() -> None:
    failed = message("assistant", [], stopReason="error", errorMessage="529")
    strange = [message("assistant", [{"type": "dream"}]), message("dreamer"), {"type": "dream"}]
    reading = read(FORMAT, [HEAD, failed, *strange], PI)
    assert [event.type for event in reading.events] == ["error", "model_call"]
    assert reading.unknown == ["part:dream", "message/dreamer", "dream"]


def test_a_fork_repeats_entries() -> None:
    records = [message("assistant", [call()])]
    first = read(FORMAT, [HEAD, *records], PI).calls[0].identity
    assert read(FORMAT, [HEAD | {"id": "s2"}, *records], PI).calls[0].identity == first


@pytest.mark.parametrize("kind", ["toolCall", "tool_use", "toolUse", "functionCall"])
@pytest.mark.parametrize(
    "odd", [{}, {"id": [1], "name": 7, "arguments": 7}, {"arguments": "{", "input": None}]
)
def test_an_odd_call_is_still_a_call(kind: str, odd: dict[str, Any]) -> None:
    record = message("assistant", [call(kind=kind) | odd | {"type": kind}, {"type": kind}]) | {
        "timestamp": []
    }
    assert len(read(FORMAT, [record], PI).calls) == 2


@given(st.sampled_from([record for path in samples(FORMAT) for record in plain(path)]), st.data())
def test_no_mutation_raises(record: dict[str, Any], data: st.DataObject) -> None:
    reading = read(FORMAT, [HEAD, mutated(record, data)], PI)
    assert len(reading.all) or reading.rows.ignored == [0, 1]
