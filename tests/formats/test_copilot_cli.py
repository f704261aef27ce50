"""Copilot CLI's sessions: a call is its start, the end tells what became of it."""

from pathlib import Path
from typing import Any

import pytest
from format_reading import form, label, mutated, plain, read, read_file, samples
from hypothesis import given
from hypothesis import strategies as st

FORMAT = "copilot_cli"
FILE = "/home/u/.copilot/session-state/0199aaaa-1111/events.jsonl"
ID = "call_1mb2zpo3ma4hy4OjTDz9oNpC"


@pytest.mark.parametrize("path", samples(FORMAT), ids=label)
def test_every_call_counts_once(path: Path) -> None:
    records = plain(path)
    expected = {
        r["data"]["toolCallId"]: r["data"]["toolName"] for r in records if r["type"] == "tool.execution_start"
    }
    reading = read_file(FORMAT, path)
    assert {call.call_id: call.tool for call in reading.calls} == expected
    assert len(reading.calls) == len(expected)
    messages = {record["data"]["messageId"] for record in records if record["type"] == "assistant.message"}
    assert len(reading.of("model_call")) == len(messages)
    assert reading.unknown == []
    assert form(FORMAT).matches(records[0])


def test_the_sample_says_who_and_when() -> None:
    path = next(path for path in samples(FORMAT) if "aaaabbbb" in str(path))
    (call,) = read_file(FORMAT, path).calls
    assert (call.agent, call.session, call.role) == (
        "/tmp/project",
        "aaaabbbb-1111-2222-3333-ccccddddeeee",
        "coding-agent",
    )
    assert call.at_us == 1_774_547_436_100_000


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": data, "id": "e1", "timestamp": "2026-01-02T03:04:05Z", "parentId": None}


START = event("tool.execution_start", toolCallId=ID, toolName="bash", arguments={"command": "ls"})


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (event("tool.execution_complete", toolCallId=ID, success=True), ""),
        (event("tool.execution_complete", toolCallId=ID, success=False), "error"),
        (event("tool.execution_complete", toolCallId=ID, success=False, error={"code": "failure"}), "error"),
        (event("tool.execution_complete", toolCallId=ID, success=False, error={"code": "denied"}), "refused"),
        (
            event("tool.execution_complete", toolCallId=ID, success=False, error={"code": "rejected"}),
            "refused",
        ),
        (
            event(
                "tool.execution_complete",
                toolCallId=ID,
                success=False,
                error={"message": "The user rejected this tool call."},
            ),
            "refused",
        ),
        (
            event("tool.execution_complete", toolCallId=ID, success=False, error={"message": "no such file"}),
            "error",
        ),
        (event("permission.completed", toolCallId=ID, result={"kind": "approved"}), ""),
        (
            event("permission.completed", toolCallId=ID, result={"kind": "denied-interactively-by-user"}),
            "refused",
        ),
    ],
)
def test_what_became_of_a_call(end: dict[str, Any], outcome: str) -> None:
    events = read(FORMAT, [START, end, end], FILE).events
    kind = "approval" if outcome == "refused" else "error"
    assert [(found.type, found.tool, found.outcome) for found in events[1:]] == (
        [(kind, "bash", outcome)] if outcome else []
    )


def test_agents_of_agents() -> None:
    header = event("session.start", sessionId="s1", context={"cwd": "/p"})
    new = {**START, "agentId": "research"}
    old = event("tool.execution_start", toolCallId=ID + "2", parentToolCallId=ID, toolName="bash")
    found = [
        (call.agent, call.role, call.session)
        for call in read(FORMAT, [header, START, new | {"id": "e2"}, old], FILE).calls
    ]
    assert found == [("/p", "coding-agent", "s1"), ("/p", "subagent", "s1")]
    (call,) = read(FORMAT, [header, new], FILE).calls
    assert (call.agent, call.role) == ("/p/research", "subagent")
    (call,) = read(FORMAT, [START], FILE).calls
    assert (call.agent, call.session) == ("copilot_cli", "0199aaaa-1111")


def test_tools_of_servers_and_arguments_as_text() -> None:
    mcp = event(
        "tool.execution_start", toolCallId=ID, toolName="jira-get", mcpServerName="jira", mcpToolName="get"
    )
    text = event(
        "tool.execution_start", toolCallId=ID + "2", toolName="bash", arguments='{"command": "rm -r a"}'
    )
    first, second = read(FORMAT, [mcp, text], FILE).calls
    assert (first.tool, first.type) == ("mcp__jira__get", "api_call")
    assert second.type == "file_delete"


def test_errors_and_what_is_new() -> None:
    records = [event("session.error", errorType="query"), event("model.call_failure"), event("dream.started")]
    reading = read(FORMAT, records, FILE)
    assert [found.type for found in reading.all] == ["error", "error"]
    assert reading.unknown == ["dream.started"]


@pytest.mark.parametrize(
    "odd",
    [
        event("tool.execution_start"),
        event("tool.execution_start", toolCallId=[1], toolName={}, arguments=7),
        {"type": "tool.execution_start"},
        {"type": "tool.execution_start", "data": "x", "timestamp": []},
    ],
)
def test_an_odd_call_is_still_a_call(odd: dict[str, Any]) -> None:
    assert len(read(FORMAT, [odd], FILE).calls) == 1


@given(st.sampled_from([record for path in samples(FORMAT) for record in plain(path)]), st.data())
def test_no_mutation_raises(record: dict[str, Any], data: st.DataObject) -> None:
    reading = read(FORMAT, [mutated(record, data)], FILE)
    assert len(reading.all) or reading.rows.ignored == [0]


def test_a_call_without_a_start_counts_where_it_was_announced() -> None:
    asked = {"toolCallId": ID, "name": "bash", "arguments": {"command": "make"}}
    announced = event("assistant.message", content="", toolRequests=[asked])
    end = event("tool.execution_complete", toolCallId=ID, success=True)
    for records in ([announced, end], [announced, START, end], [START, announced, end]):
        assert [(call.tool, call.call_id) for call in read(FORMAT, records, FILE).calls] == [("bash", ID)]
    assert read(FORMAT, [announced], FILE).calls == read(FORMAT, [end], FILE).calls == []
    failed = event("tool.execution_complete", toolCallId=ID, success=False)
    reading = read(FORMAT, [announced, failed], FILE)
    assert [(of.type, of.tool) for of in reading.events[1:]] == [("shell_exec", "bash"), ("error", "bash")]


def test_what_was_announced_is_looked_at_where_it_stands_as_text() -> None:
    asked = {"toolCallId": ID, "name": "view", "arguments": '{"path": "/a/.env"}'}
    announced = event("assistant.message", content="", toolRequests=[asked])
    end = event("tool.execution_complete", toolCallId=ID, success=True)
    assert [call.type for call in read(FORMAT, [announced, end], FILE).calls] == ["credential_access"]


def test_calls_without_ids_count_by_their_ends_or_by_their_starts() -> None:
    start = event("tool.execution_start", toolName="bash", arguments={"command": "make"})
    end = event("tool.execution_complete", toolName="bash", success=True)
    assert [call.tool for call in read(FORMAT, [end, end], FILE).calls] == ["bash", "bash"]
    assert [call.tool for call in read(FORMAT, [start, end, start, end], FILE).calls] == ["bash", "bash"]
    named = event("tool.execution_complete", toolCallId=ID, toolName="bash", success=True)
    assert [call.tool for call in read(FORMAT, [START, named], FILE).calls] == ["bash"]
