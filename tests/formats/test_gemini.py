"""Gemini CLI: its chats (documents written anew, then JSON lines) and its telemetry file."""

from pathlib import Path
from typing import Any

import pytest
from format_reading import Reading, conflicts, form, label, plain, read, read_file, samples
from hypothesis import given
from mutations import mutated

CHATS, TELEMETRY = "gemini_chats", "gemini_telemetry"
FILE = "/home/u/.gemini/tmp/abc/chats/session-2026-01-15T20-51-f7633853.jsonl"
HEADER = {"sessionId": "s1", "projectHash": "p1", "startTime": "2026-01-15T20:51:48Z", "kind": "main"}


def call(call_id: str = "c1", **more: Any) -> dict[str, Any]:
    of = {"id": call_id, "name": "read_file", "args": {"file_path": "/a"}, "status": "success"}
    return {**of, "timestamp": "2026-01-15T20:51:57.058Z", **more}


def message(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    tokens = {"input": 10, "output": 5, "thoughts": 2, "total": 17}
    of = {"id": "m1", "type": "gemini", "timestamp": "2026-01-15T20:51:52Z", "content": "", "tokens": tokens}
    return {**of, "toolCalls": list(calls), **more}


def chat(*records: dict[str, Any], path: str = FILE) -> Reading:
    return read(CHATS, list(records), path)


def messages(path: Path) -> list[dict[str, Any]]:
    return [item for record in plain(path) for item in record.get("messages", [record])]


@pytest.mark.parametrize("path", samples(CHATS), ids=label)
def test_every_call_of_a_chat_counts_once(path: Path) -> None:
    expected = [of["id"] for item in messages(path) for of in item.get("toolCalls", [])]
    reading = read_file(CHATS, path)
    assert [event.call_id for event in reading.calls] == expected
    assert len(reading.of("model_call")) == sum("tokens" in item for item in messages(path))
    assert reading.unknown == []
    assert conflicts(reading) == 0
    assert all(event.at_us and event.session and event.role == "coding-agent" for event in reading.events)
    assert form(CHATS).parts(str(path)) is not None
    assert any(map(form(CHATS).matches, plain(path)))


def test_a_document_that_is_written_anew_counts_what_is_new() -> None:
    """All samples of one session, one after the other: each holds what the one before held, and more."""
    versions = [path for path in samples(CHATS) if "f7633853" in path.name]
    reading = read(CHATS, [record for path in versions for record in plain(path)])
    last = messages(versions[-1])
    assert [event.call_id for event in reading.calls] == [
        of["id"] for item in last for of in item.get("toolCalls", [])
    ]
    assert conflicts(reading) == 0


def test_a_message_that_is_written_again_counts_once() -> None:
    """It comes without its tokens first, then with its calls; later the header holds everything again."""
    whole = message(call("c1"), call("c2"))
    reading = chat(
        HEADER,
        message(tokens=None) | {"toolCalls": []},
        message(call("c1", status="executing", args={})),
        message(call("c1"), call("c2"), tokens=None),
        {"$set": {"lastUpdated": "2026-01-15T20:52:00Z"}},
        whole,
        {"$rewindTo": "m1"},
        {"$set": {"messages": [whole, message(id="m2")]}},
        {**HEADER, "messages": [whole]},
    )
    assert [event.call_id for event in reading.calls] == ["c1", "c2"]
    assert [event.tokens for event in reading.of("model_call")] == [(10, 7), (10, 7)]
    assert reading.unknown == []
    assert conflicts(reading) == 0
    assert {(event.agent, event.session) for event in reading.events} == {("p1", "s1")}


def test_outcomes_of_calls() -> None:
    statuses = ["success", "error", "cancelled", "dreaming"]
    reading = chat(HEADER, message(*(call(status, status=status) for status in statuses)))
    assert [event.outcome for event in reading.calls] == ["ok", "error", "refused", ""]
    waiting = [call(status, status=status) for status in ("validating", "scheduled", "executing")]
    for held in ([HEADER, message(*waiting)], [{**HEADER, "messages": [message(*waiting)]}]):
        reading = chat(*held)
        assert (reading.calls, reading.unknown) == ([], [])
    assert [event.type for event in chat(HEADER, {"id": "e", "type": "error", "content": "x"}).events] == [
        "error"
    ]


def test_subagents_have_names_of_their_own() -> None:
    header = {**HEADER, "kind": "subagent", "sessionId": "sub1"}
    (event,) = chat(header, message(call()), path="/home/u/.gemini/tmp/abc/chats/s1/sub1.jsonl").calls
    assert (event.agent, event.role, event.session) == ("p1/sub1", "subagent", "sub1")
    (event,) = chat({**header, "messages": [message(call())]}).calls
    assert (event.agent, event.role) == ("p1/sub1", "subagent")


def test_the_same_id_in_another_session_is_another_call() -> None:
    first = chat(HEADER, message(call(args={"file_path": "/a"})))
    second = chat({**HEADER, "sessionId": "s2"}, message(call(args={"file_path": "/b"})))
    assert first.calls[0].identity != second.calls[0].identity
    changed = chat(HEADER, message(call()), message(call(args={"file_path": "/b"})))
    assert (len(changed.calls), conflicts(changed)) == (2, 1)


def test_what_is_newer_or_odd_shows_or_counts() -> None:
    assert chat({"id": "x", "type": "dream"}).unknown == ["dream"]
    assert chat({**HEADER, "messages": [{"id": "x", "type": "dream"}]}).unknown == ["message:dream"]
    assert chat({"$dream": {}}).unknown == ["(unnamed)"]
    # Without its header and with nothing in it, a call still counts.
    (event,) = chat(message({"args": "?"}, timestamp=None)).calls
    assert (event.tool, event.agent, event.at_us, event.identity) == ("(unnamed)", "abc", None, None)


def test_messages_of_old_chats_have_another_type() -> None:
    old = {"id": "m4", "timestamp": "2025-12-16T23:47:05Z", "type": "model", "parts": [{"text": "Done."}]}
    document = {**HEADER, "messages": [message(call()), old, message(call("c2"), type="model", id="m5")]}
    for reading in (chat(document), chat(HEADER, *document["messages"])):
        assert [event.call_id for event in reading.calls] == ["c1", "c2"]
        assert len(reading.of("model_call")) == 2
        assert reading.unknown == []


def test_every_call_of_the_telemetry_file_counts_once() -> None:
    (path,) = samples(TELEMETRY)
    records = plain(path)
    names = [record["attributes"].get("event.name") for record in records]
    reading = read_file(TELEMETRY, path)
    assert len(reading.calls) == names.count("gemini_cli.tool_call") > 0
    assert len(reading.of("model_call")) == names.count("gemini_cli.api_response") > 0
    assert reading.unknown == []
    assert {event.session for event in reading.events} == {"f7633853-6663-4dbb-bbf4-6159afa29df8"}
    assert all(event.at_us for event in reading.events)
    assert form(TELEMETRY).framing == "stream"
    assert all(map(form(TELEMETRY).matches, records))


def emitted(name: str, *, is_raw: bool = True, **at: Any) -> dict[str, Any]:
    about = [["service.name", "gemini-cli"], ["session.id", "s1"]]
    resource = {"_rawAttributes": about} if is_raw else {"attributes": dict(about)}
    return {"resource": resource, "attributes": {"event.name": name, **at}, "_hrTime": [1768510317, 58000000]}


def test_events_of_the_telemetry_file() -> None:
    reading = read(
        TELEMETRY,
        [
            emitted(
                "gemini_cli.tool_call",
                function_name="read_file",
                function_args='{"file_path": "/a"}',
                success=True,
            ),
            emitted(
                "gemini_cli.tool_call",
                function_name="run_shell_command",
                success=False,
                decision="reject",
                is_raw=False,
            ),
            emitted("qwen-code.tool_call", success=False),
            emitted("gemini_cli.tool_call", function_name="list", mcp_server_name="gh", success=True),
            emitted("gemini_cli.tool_call", function_name="mcp_gh_get", mcp_server_name="gh", success=True),
            emitted("gemini_cli.api_error", is_raw=False),
            emitted("gemini_cli.file_operation"),
            {
                "name": "tool_call",
                "_spanContext": {},
                "attributes": {"gen_ai.operation.name": "tool_call"},
                "startTime": [1, 0],
            },
            {"resource": {}, "scopeMetrics": []},
            emitted("gemini_cli.dream"),
        ],
    )
    assert [(event.type, event.tool, event.outcome) for event in reading.events] == [
        ("file_read", "read_file", "ok"),
        ("shell_exec", "run_shell_command", "refused"),
        ("tool_call", "(unnamed)", "error"),
        ("api_call", "mcp__gh__list", "ok"),
        ("api_call", "mcp_gh_get", "ok"),
        ("error", "", "error"),
    ]
    assert {(event.agent, event.session, event.at_us) for event in reading.events} == {
        ("gemini-cli", "s1", 1_768_510_317_058_000)
    }
    assert reading.unknown == ["gemini_cli.dream"]


@given(
    mutated(
        [
            HEADER,
            message(call()),
            {**HEADER, "messages": [message(call())]},
            {"$set": {"messages": [message(call())]}},
        ]
    )
)
def test_no_mutation_of_a_chat_raises(record: dict[str, Any]) -> None:
    chat(record)


@given(
    mutated(
        [
            emitted("gemini_cli.tool_call", function_name="x", function_args="{}"),
            *plain(samples(TELEMETRY)[0])[-1:],
        ]
    )
)
def test_no_mutation_of_telemetry_raises(record: dict[str, Any]) -> None:
    read(TELEMETRY, [record])


def test_telemetry_files_have_several_names() -> None:
    for path in ("/h/.gemini/telemetry.log", "/d/gemini-cli/telemetry.log", "/d/my-gemini-telemetry.log"):
        assert form(TELEMETRY).parts(path) is not None
    assert form(TELEMETRY).parts("/var/log/app/telemetry.log") is None
