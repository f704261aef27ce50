"""Claude Code's transcripts: every call of every sample once, and what became of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_reading import conflicts, form, label, mutated, plain, read, read_file, samples
from hypothesis import given
from hypothesis import strategies as st

FORMAT = "claude_code"
CWD = "/home/u/p"
FILE = "/home/u/.claude/projects/-home-u-p/s1.jsonl"
ID = "toolu_01RTg3PUkRjXDFhYPkCcJkSb"


def items(record: dict[str, Any]) -> list[dict[str, Any]]:
    message = record.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else []


def expected_calls(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return id and name of each call, once."""
    found: dict[object, tuple[str, str]] = {}
    for record in records:
        for item in items(record) if record["type"] == "assistant" else []:
            if item["type"] == "tool_use":
                found.setdefault(item.get("id", len(found)), (item.get("id", ""), item["name"]))
    return list(found.values())


@pytest.mark.parametrize("path", samples(FORMAT), ids=label)
def test_every_call_counts_once(path: Path) -> None:
    records = plain(path)
    reading = read_file(FORMAT, path)
    assert [(call.call_id, call.tool) for call in reading.calls] == expected_calls(records)
    assert reading.unknown == []
    assert conflicts(reading) == 0
    assert any(map(form(FORMAT).matches, records[:16]))


@pytest.mark.parametrize("path", samples(FORMAT), ids=label)
def test_every_model_call_counts_once(path: Path) -> None:
    messages = [
        record.get("message", {}).get("id") or record["uuid"]
        for record in plain(path)
        if record["type"] == "assistant" and record["message"].get("model") != "<synthetic>"
    ]
    assert len(read_file(FORMAT, path).of("model_call")) == len(set(messages))


@pytest.mark.parametrize("path", samples(FORMAT), ids=label)
def test_refusals_are_no_errors(path: Path) -> None:
    refused, failed = [], []
    for record in plain(path):
        for item in items(record) if record["type"] == "user" else []:
            if item["type"] == "tool_result" and item.get("is_error"):
                is_refused = str(item["content"]).startswith("The user doesn't want")
                (refused if is_refused else failed).append(item.get("tool_use_id", ""))
    reading = read_file(FORMAT, path)
    results = [
        event for event in reading.events if event.outcome and (event.call_id or event.type == "approval")
    ]
    assert [event.call_id for event in results if event.outcome == "refused"] == refused
    assert [event.call_id for event in results if event.outcome == "error"] == failed
    tools = dict(expected_calls(plain(path)))
    assert all(event.tool == tools[event.call_id] for event in results if event.call_id)
    assert {event.type for event in results} <= {"approval", "error"}


def test_agents_sessions_and_times() -> None:
    main, sub = (path for path in samples(FORMAT) if "0a1b2c3d" in str(path))
    if "subagents" in str(main):
        main, sub = sub, main
    (call,) = read_file(FORMAT, main).calls
    assert (call.agent, call.role) == ("-tmp-proj", "coding-agent")
    assert call.session == "0a1b2c3d-4e5f-4061-8071-2a3b4c5d6e7f"
    assert call.at_us == 1_765_843_202_000_000
    (call,) = read_file(FORMAT, sub).calls
    assert (call.agent, call.role) == ("-tmp-proj/a0ad4f44468bdf20d", "subagent")


def assistant(*content: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": "assistant",
        "uuid": "u1",
        "sessionId": "s1",
        "cwd": CWD,
        "timestamp": "2026-02-09T07:36:27.496Z",
        "message": {"id": "msg_01BTdZgmyVSyRzBGszzRLs2L", "role": "assistant", "content": list(content)},
        **more,
    }


def use(name: str = "Bash", call_id: str = ID, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {"command": "ls"}, **more}


def result(content: object, call_id: str = ID, is_error: object = True, **more: Any) -> dict[str, Any]:
    item = {"type": "tool_result", "tool_use_id": call_id, "content": content, "is_error": is_error}
    return {
        "type": "user",
        "uuid": "u2",
        "sessionId": "s1",
        "timestamp": "2026-02-09T07:36:28Z",
        "message": {"role": "user", "content": [item]},
        **more,
    }


def outcomes(*records: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(event.type, event.tool, event.outcome) for event in read(FORMAT, list(records), FILE).events[2:]]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("The user doesn't want to proceed with this tool use. The tool use was rejected", "refused"),
        ("The user doesn't want to take this action right now. STOP", "refused"),
        ("[Request interrupted by user for tool use]", "refused"),
        ("User rejected tool use", "refused"),
        ("The agent proposed a plan that was rejected by the user", "refused"),
        ("Claude requested permissions to write to /x, but you haven't granted it yet.", "refused"),
        ("Claude requested permissions to use Bash, but you haven't granted it yet.", "refused"),
        ("Permission to use Bash with command rm -rf / has been denied.", "refused"),
        ("<tool_use_error>Error: PreToolUse:Bash hook error: [guard.sh]: no</tool_use_error>", "refused"),
        (
            "This Bash command contains multiple operations. The following part requires approval: x",
            "refused",
        ),
        ("cd in '/' was blocked. For security, Claude Code may only change directories", "refused"),
        ("Exit code 1\nThe user doesn't want to proceed", "error"),
        ("<tool_use_error>File does not exist.</tool_use_error>", "error"),
        ("User not found", "error"),
        ("", "error"),
        (None, "error"),
        ([], "error"),
        ({"a": 1}, "error"),
    ],
)
@pytest.mark.parametrize("is_list", [False, True])
def test_what_a_failed_result_means(text: object, outcome: str, is_list: bool) -> None:
    content = [{"type": "text", "text": text}] if is_list else text
    kind = "approval" if outcome == "refused" else "error"
    assert outcomes(assistant(use()), result(content)) == [(kind, "Bash", outcome)]


def test_a_result_says_itself_that_it_was_denied() -> None:
    denied = result("No.", toolDenialKind="user-rejected")
    assert outcomes(assistant(use()), denied) == [("approval", "Bash", "refused")]


@pytest.mark.parametrize("is_error", [False, None, "true", 1])
def test_a_good_result_is_no_event(is_error: object) -> None:
    text = "The user doesn't want to proceed with this tool use."
    assert outcomes(assistant(use()), result(text, is_error=is_error)) == []


def test_a_call_that_was_not_made_is_no_error() -> None:
    text = "<tool_use_error>Cancelled: parallel tool call Bash(ls) errored</tool_use_error>"
    assert outcomes(assistant(use()), result(text)) == []


def test_history_that_is_copied_counts_once() -> None:
    """A resumed or forked session, a subagent and a rewritten file repeat records under other sessions."""
    first = [assistant(use()), result("Exit code 1")]
    again = json.loads(
        json.dumps(first).replace('"s1"', '"s2"').replace('"u1"', '"u9"').replace("07:36", "08:36")
    )
    reading = read(FORMAT, first + again, FILE)
    assert [event.type for event in reading.events] == ["model_call", "file_read", "error"]
    assert conflicts(reading) == 0


def test_the_same_id_with_other_content_counts_and_shows() -> None:
    reading = read(FORMAT, [assistant(use()), assistant(use() | {"input": {"command": "rm -rf /"}})], FILE)
    assert len(reading.calls) == 2
    assert conflicts(reading) == 1


def test_short_ids_of_other_models_count_in_their_session() -> None:
    other = assistant(use(call_id="Bash:0") | {"input": {"command": "pwd"}}, sessionId="s2")
    reading = read(FORMAT, [assistant(use(call_id="Bash:0")), other, other], FILE)
    assert len(reading.calls) == 2
    assert conflicts(reading) == 0


def test_progress_repeats_what_a_subagent_writes_itself() -> None:
    progress = {
        "type": "progress",
        "sessionId": "s1",
        "uuid": "u3",
        "data": {
            "type": "agent_progress",
            "agentId": "a1",
            "message": assistant(use(call_id="toolu_" + "x" * 24)),
        },
    }
    reading = read(FORMAT, [assistant(use()), progress], FILE)
    assert len(reading.calls) == 1
    assert reading.unknown == []


def test_calls_that_the_provider_makes_are_calls() -> None:
    server = {
        "type": "server_tool_use",
        "id": "srvtoolu_" + "x" * 20,
        "name": "web_search",
        "input": {"query": "q"},
    }
    mcp = {
        "type": "mcp_tool_use",
        "id": "mcptoolu_" + "x" * 20,
        "name": "get",
        "server_name": "jira",
        "input": {},
    }
    calls = read(FORMAT, [assistant(server, mcp)], FILE).calls
    assert [(call.type, call.tool) for call in calls] == [
        ("network_request", "web_search"),
        ("api_call", "mcp__jira__get"),
    ]


def test_tokens_of_a_model_call() -> None:
    record = assistant()
    record["message"]["usage"] = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
    }
    assert read(FORMAT, [record], FILE).events[0].tokens == (113, 7)


@pytest.mark.parametrize(
    "record",
    [
        assistant(isApiErrorMessage=True, uuid="u7"),
        {"type": "system", "subtype": "api_error", "sessionId": "s1", "uuid": "u7", "error": {"status": 529}},
    ],
)
def test_an_api_error_is_an_error(record: dict[str, Any]) -> None:
    (event,) = read(FORMAT, [record], FILE).events
    assert (event.type, event.outcome, event.tool) == ("error", "error", "")


def test_what_the_program_says_itself_is_no_model_call() -> None:
    record = assistant({"type": "text", "text": "No response requested."})
    record["message"]["model"] = "<synthetic>"
    assert read(FORMAT, [record], FILE).events == []


def test_what_is_new_is_unknown_by_its_name() -> None:
    records = [
        {"type": "dream", "sessionId": "s1"},
        {"type": "system", "subtype": "dreaming", "sessionId": "s1"},
        assistant({"type": "dream_block"}),
        result("fine", is_error=False) | {"message": {"content": [{"type": "dream_part"}]}},
        {"sessionId": "s1"},
    ]
    assert read(FORMAT, records, FILE).unknown == [
        "dream",
        "system/dreaming",
        "block:dream_block",
        "part:dream_part",
        "(unnamed)",
    ]


@pytest.mark.parametrize(
    "odd",
    [
        assistant(use(), timestamp=None),
        assistant(use(), timestamp="yesterday"),
        assistant({"type": "tool_use"}),
        assistant({"type": "tool_use", "id": 7, "name": 8, "input": 9}),
        assistant({"type": "tool_use", "id": {"a": 1}, "name": ["b"], "input": "ls"}),
        assistant(use(), sessionId=None, cwd=7, agentId=[1]),
    ],
)
def test_an_odd_call_is_still_a_call(odd: dict[str, Any]) -> None:
    for path in (FILE, "/elsewhere/x.jsonl"):
        (call,) = read(FORMAT, [odd], path).calls
        assert call.agent


@given(
    st.sampled_from([record for path in samples(FORMAT) for record in plain(path)[:40]]),
    st.data(),
)
def test_no_mutation_raises(record: dict[str, Any], data: st.DataObject) -> None:
    reading = read(FORMAT, [mutated(record, data)], FILE)
    assert len(reading.all) or reading.rows.ignored == [0]


def test_a_denial_is_told_by_its_kind_whatever_its_text() -> None:
    of_record = result("no", toolDenialKind="automode-blocked")
    of_part = result("no", is_error=None)
    of_part["message"]["content"][0]["toolDenialKind"] = "user_rejected"
    for record in (of_record, of_part):
        assert outcomes(assistant(use()), record) == [("approval", "Bash", "refused")]


def test_calls_that_are_records_of_their_own_count() -> None:
    about = {"sessionId": "s1", "timestamp": "2025-12-16T01:00:01.000Z"}
    reading = read(
        FORMAT,
        [
            {"type": "tool_use", "name": "bash", "input": {"command": "cat a"}, "uuid": "t1", **about},
            {"type": "tool_result", "name": "bash", "output": "x", "uuid": "r1", **about},
            {"type": "tool_use", "name": "bash", "input": {"command": "cat a"}, "uuid": "t2", **about},
            {"type": "tool_use", "id": ID, "name": "read", "input": {"file_path": "/b"}, **about},
            {"type": "tool_result", "tool_use_id": ID, "is_error": True, "content": "no such file", **about},
            {
                "type": "tool_result",
                "name": "bash",
                "is_error": True,
                "content": "The user doesn't want to proceed with this tool use.",
                "uuid": "r2",
                **about,
            },
            # The same call again, in a file of another session.
            {"type": "tool_use", "id": ID, "name": "read", "input": {"file_path": "/b"}, "sessionId": "s2"},
        ],
        FILE,
    )
    assert [(event.type, event.tool, event.outcome) for event in reading.events] == [
        ("file_read", "bash", ""),
        ("file_read", "bash", ""),
        ("file_read", "read", ""),
        ("error", "read", "error"),
        ("approval", "bash", "refused"),
    ]
    assert reading.unknown == []
    assert form(FORMAT).matches({"type": "tool_use", "name": "bash", "sessionId": "s1", "uuid": "t1"})


def test_a_stream_without_a_path_has_the_directory_that_it_begins_with() -> None:
    stream = {"session_id": "s1", "parent_tool_use_id": None}
    message = {"id": "msg_01BTdZgmyVSyRzBGszzRLs2L", "role": "assistant", "content": [use()]}
    reading = read(
        FORMAT,
        [
            {"type": "system", "subtype": "init", "cwd": CWD, **stream},
            {"type": "assistant", "message": message, **stream},
        ],
        "/var/log/out.jsonl",
    )
    assert {(event.agent, event.session) for event in reading.events} == {(CWD, "s1")}
    assert len(reading.calls) == 1


def test_a_fork_begins_with_a_reference_to_its_parent() -> None:
    reference = {"type": "fork-context-ref", "agentId": "a4396", "parentSessionId": "s1", "contextLength": 17}
    totals = {"type": "cost-state", "sessionId": "s1", "totalCostUSD": 0.1}
    of_fork = assistant(use(), agentId="a4396", isSidechain=True)
    reading = read(
        FORMAT, [reference, of_fork, totals], FILE.replace("s1.jsonl", "s1/subagents/agent-a4396.jsonl")
    )
    assert [(call.agent, call.role) for call in reading.calls] == [("-home-u-p/a4396", "subagent")]
    assert reading.unknown == []
