"""OTLP/JSON: log events of coding agents, spans by several conventions; each call of a tool once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from format_reading import Reading, conflicts, form, label, plain, read, read_file, samples
from hypothesis import given
from mutations import mutated

from sentineld.features.intent import hash_of

FORMAT = "otlp"
CALL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get"}
MCP = {**CALL, "mcp.method.name": "tools/call", "jsonrpc.request.id": "3", "mcp.session.id": "ms"}
SERVER, CLIENT = 2, 3


def value(item: Any) -> dict[str, Any]:
    if isinstance(item, bool):
        return {"boolValue": item}
    if isinstance(item, int):
        return {"intValue": str(item)}
    if isinstance(item, dict):
        return {"kvlistValue": {"values": attributes(item)}}
    return {"stringValue": item}


def attributes(items: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(item)} for key, item in items.items()]


def span(at: dict[str, Any], span_id: str = "a", parent: str = "", **more: Any) -> dict[str, Any]:
    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": span_id,
        "parentSpanId": parent,
        "name": "n",
        "kind": 1,
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000000250000000",
        "attributes": attributes(at),
        **more,
    }


def log(event: str, at: dict[str, Any], **more: Any) -> dict[str, Any]:
    items = attributes({"event.name": event, **at})
    return {"timeUnixNano": "1700000000000000000", "attributes": items, **more}


def request(*items: dict[str, Any], **resource: str) -> dict[str, Any]:
    about = {"attributes": attributes({"service.name": "svc", **resource})}
    if "spanId" in items[0]:
        return {"resourceSpans": [{"resource": about, "scopeSpans": [{"spans": list(items)}]}]}
    return {"resourceLogs": [{"resource": about, "scopeLogs": [{"logRecords": list(items)}]}]}


def read_all(*requests: dict[str, Any]) -> Reading:
    return read(FORMAT, list(requests))


def tools(*requests: dict[str, Any]) -> list[str]:
    return [event.tool for event in read_all(*requests).calls]


def in_request(record: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    found = [record]
    for name in names:
        found = [inner for outer in found for inner in outer.get(name, [])]
    return found


def text(item: dict[str, Any], name: str) -> str | None:
    return next((str(next(iter(a["value"].values()))) for a in item["attributes"] if a["key"] == name), None)


def expected(path: Path, span_of: Callable[[Any], bool], log_of: Callable[[Any], bool]) -> int:
    spans, logs = [], []
    for record in plain(path):
        spans += in_request(record, "resourceSpans", "scopeSpans", "spans")
        logs += in_request(record, "resourceLogs", "scopeLogs", "logRecords")
    return sum(map(span_of, spans)) + sum(map(log_of, logs))


@pytest.mark.parametrize("path", samples(FORMAT), ids=label)
def test_every_call_counts_once(path: Path) -> None:
    reading = read_file(FORMAT, path)
    calls = expected(
        path,
        lambda span: text(span, "gen_ai.operation.name") == "execute_tool",
        lambda log: (text(log, "event.name") or "").endswith("tool_result"),
    )
    models = expected(
        path,
        lambda span: text(span, "gen_ai.operation.name") == "chat",
        lambda log: (text(log, "event.name") or "").endswith("api_request"),
    )
    assert len(reading.calls) == len([event for event in reading.all if event.is_call]) == calls
    assert len(reading.of("model_call")) == models
    assert reading.unknown == []
    assert conflicts(reading) == 0
    assert all(event.at_us and event.agent != "otlp" for event in reading.events)
    assert all(map(form(FORMAT).matches, plain(path)))


def by_label(name: str) -> Path:
    return next(path for path in samples(FORMAT) if path.name == name)


def test_samples_of_claude_code() -> None:
    reading = read_file(FORMAT, by_label("claude-code-logs.json"))
    assert {event.agent for event in reading.events} == {"0" * 64}
    assert {event.session for event in reading.events} == {"fe1ffae3-f297-4dc1-9b9d-8a2b49059af7"}
    assert {event.role for event in reading.events} == {"coding-agent"}
    assert [event.outcome for event in reading.calls].count("error") == 1
    assert {event.type for event in reading.calls} >= {"file_read", "shell_exec", "plan", "file_write"}
    first = reading.of("model_call")[0]
    assert (first.tokens, first.at_us) == ((3, 4), 1_770_826_182_983_000)


def test_samples_of_spans() -> None:
    new = read_file(FORMAT, by_label("genai-new-data.json"))
    assert [event.outcome for event in new.calls].count("refused") == 1
    assert {event.agent for event in new.calls} == {"coder"}
    assert {event.session for event in new.calls} == {"8b418ea5-895d-4ad5-abe8-4489d36e454f"}
    old = read_file(FORMAT, by_label("genai-old-traces.json"))
    # `error.type` or the status, each by itself, is enough.
    spans = [
        s
        for r in plain(by_label("genai-old-traces.json"))
        for s in in_request(r, "resourceSpans", "scopeSpans", "spans")
    ]
    failed = sum(s["status"].get("code") == 2 or text(s, "error.type") is not None for s in spans)
    assert sum(event.outcome == "error" for event in old.calls) == failed > 0
    # Ids that begin anew with every session are no ids of records.
    both = [record for path in samples(FORMAT) if "vscopilot" in str(path) for record in plain(path)]
    assert len(read(FORMAT, both).calls) == sum(
        text(s, "gen_ai.operation.name") == "execute_tool"
        for r in both
        for s in in_request(r, "resourceSpans", "scopeSpans", "spans")
    )


@pytest.mark.parametrize(
    "items",
    [
        [span(MCP, "b", "a", kind=SERVER), span(MCP, "a", kind=CLIENT)],
        [span(MCP, "a", kind=CLIENT), span(MCP, "b", "a", kind="SPAN_KIND_SERVER")],
        # HTTP stands between the two.
        [span(MCP, "b", "h", kind=SERVER), span(MCP, "a", kind=CLIENT)],
        [
            span(MCP, "b", "", kind=CLIENT),
            span({**MCP, "gen_ai.tool.call.arguments": "{}"}, "a", kind=SERVER),
        ],
        [
            span({k: v for k, v in MCP.items() if k != "mcp.session.id"}, s, p, kind=k)
            for s, p, k in [("b", "h", SERVER), ("a", "", CLIENT)]
        ],
        # The framework, the client, the server: the inner ones end first.
        [
            span(MCP, "c", "b", kind=SERVER),
            span(MCP, "b", "a", kind=CLIENT),
            span({**CALL, "gen_ai.tool.call.id": "c1"}, "a"),
        ],
        [span(MCP, "c", "a", kind=SERVER), span(CALL, "a")],
        # The same in the order in which they began.
        [
            span({**CALL, "gen_ai.tool.call.id": "c1"}, "a"),
            span(MCP, "b", "a", kind=CLIENT),
            span(MCP, "c", "b", kind=SERVER),
        ],
        [
            span({"openinference.span.kind": "TOOL", "tool.name": "get"}, "a"),
            span({"mcp.method.name": "tools/call", "gen_ai.tool.name": "get"}, "b", "a", kind=CLIENT),
        ],
        [span({"openinference.span.kind": "TOOL", "tool.name": "get"}, "b", "a"), span(CALL, "a")],
    ],
)
def test_a_call_that_several_spans_tell_counts_once(items: list[dict[str, Any]]) -> None:
    assert tools(request(*items)) == ["get"]
    assert tools(*(request(item) for item in items)) == ["get"]
    assert conflicts(read_all(*(request(item) for item in items))) == 0
    assert read_all(request(*items)).unknown == []


def test_calls_beside_each_other_and_inside_of_others_count() -> None:
    other = {**MCP, "jsonrpc.request.id": "4"}
    assert len(tools(request(span(MCP, "b", "r", kind=CLIENT), span(other, "c", "r", kind=CLIENT)))) == 2
    inner, outer = span(CALL, "b", "a"), span({**CALL, "gen_ai.tool.name": "delegate"}, "a")
    assert tools(request(inner, outer)) == ["get", "delegate"]
    # Two servers that both begin to count at 1.
    first, second = (
        {k: v for k, v in {**MCP, "gen_ai.tool.name": name}.items() if k != "mcp.session.id"} for name in "xy"
    )
    assert tools(request(span(first, "a", kind=CLIENT), span(second, "b", kind=CLIENT))) == ["x", "y"]


def test_the_two_sides_in_two_files_have_one_id() -> None:
    client = read_all(request(span(MCP, "a", kind=CLIENT))).all
    server = read_all(request(span(MCP, "b", "a", kind=SERVER))).all
    assert client[0].identity == server[0].identity is not None
    # What one side alone tells must not look like a forgery: then both count.
    told = read_all(request(span({**MCP, "gen_ai.tool.call.arguments": '{"a": 1}'}, "a", kind=CLIENT))).all
    assert told[0].identity is not None
    assert told[0].identity[0] != server[0].identity[0]


def test_a_span_that_is_exported_again_counts_once_and_a_changed_one_shows() -> None:
    one, other = ({**CALL, "gen_ai.tool.call.arguments": json.dumps({"path": p})} for p in ("/a", "/b"))
    assert len(tools(request(span(one)), request(span(one)))) == 1
    changed = read_all(request(span(one)), request(span(other)))
    assert len(changed.calls) == 2
    assert conflicts(changed) == 1


@pytest.mark.parametrize(
    ("at", "more", "event_type", "tool"),
    [
        (
            {"gen_ai.operation.name": "execute_tool"},
            {"name": "execute_tool x"},
            "tool_call",
            "execute_tool x",
        ),
        (
            {**CALL, "gen_ai.tool.name": "Bash", "gen_ai.tool.call.arguments": '{"command": "rm -r x"}'},
            {},
            "file_delete",
            "Bash",
        ),
        (
            {**CALL, "gen_ai.tool.name": "Read", "gen_ai.tool.call.arguments": {"file_path": "/etc/shadow"}},
            {},
            "credential_access",
            "Read",
        ),
        (
            {"gen_ai.tool.name": "Read", "tool_arguments": '{"file_path": "/a"}'},
            {"name": "running tool"},
            "file_read",
            "Read",
        ),
        ({"mcp.method.name": "tools/call", "mcp.tool.name": "pay"}, {"kind": CLIENT}, "tool_call", "pay"),
        (
            {"rpc.system": "jsonrpc", "rpc.method": "tools/call", "gen_ai.tool.name": "pay"},
            {},
            "tool_call",
            "pay",
        ),
        (
            {"openinference.span.kind": "TOOL", "tool.name": "Read", "input.value": '{"file_path": "/a"}'},
            {},
            "file_read",
            "Read",
        ),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "Read"}, {}, "file_read", "Read"),
        (
            {
                "ai.toolCall.name": "Read",
                "ai.toolCall.args": '{"file_path": "/a"}',
                "operation.name": "ai.toolCall",
            },
            {},
            "file_read",
            "Read",
        ),
        (
            {"tool_name": "Bash", "full_command": "cat /etc/shadow", "tool_use_id": "t"},
            {"name": "claude_code.tool"},
            "credential_access",
            "Bash",
        ),
    ],
)
def test_calls_by_other_conventions(
    at: dict[str, Any], more: dict[str, Any], event_type: str, tool: str
) -> None:
    (event,) = read_all(request(span(at, **more))).events
    assert (event.type, event.tool, event.is_call) == (event_type, tool, True)
    assert event.at_us == 1_700_000_000_000_000


@pytest.mark.parametrize(
    ("at", "tokens"),
    [
        (
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.usage.input_tokens": 5,
                "gen_ai.usage.output_tokens": 6,
            },
            (5, 6),
        ),
        ({"gen_ai.operation.name": "text_completion", "gen_ai.system": "openai"}, (None, None)),
        ({"gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "openai"}, (None, None)),
        (
            {
                "gen_ai.system": "openai",
                "gen_ai.request.model": "m",
                "gen_ai.usage.prompt_tokens": 5,
                "gen_ai.usage.completion_tokens": 6,
            },
            (5, 6),
        ),
        ({"llm.request.type": "chat", "gen_ai.system": "OpenAI"}, (None, None)),
        (
            {"openinference.span.kind": "LLM", "llm.token_count.prompt": 5, "llm.token_count.completion": 6},
            (5, 6),
        ),
    ],
)
def test_model_calls_by_every_convention(at: dict[str, Any], tokens: tuple[int | None, int | None]) -> None:
    (event,) = read_all(request(span(at))).events
    assert (event.type, event.tokens, event.is_call) == ("model_call", tokens, False)


@pytest.mark.parametrize(
    ("at", "more"),
    [
        ({"gen_ai.operation.name": "invoke_agent"}, {}),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "(merged tools)"}, {}),
        ({"gen_ai.operation.name": "tool_call", "gen_ai.tool.name": "x"}, {}),
        ({"mcp.method.name": "tools/list"}, {}),
        ({"mcp.method.name": "notifications/initialized"}, {}),
        ({"openinference.span.kind": "CHAIN"}, {}),
        ({"traceloop.span.kind": "workflow"}, {}),
        ({"http.request.method": "GET", "rpc.method": "SayHello"}, {}),
        ({"span.type": "hook"}, {"name": "claude_code.hook"}),
        ({"operation.name": "ai.generateText", "ai.model.id": "m"}, {}),
    ],
)
def test_spans_that_are_known_and_no_event(at: dict[str, Any], more: dict[str, Any]) -> None:
    reading = read_all(request(span(at, **more)))
    assert (reading.events, reading.unknown) == ([], [])


def test_an_agent_that_is_made() -> None:
    (event,) = read_all(request(span({"gen_ai.operation.name": "create_agent"}))).events
    assert (event.type, event.is_call) == ("agent_spawn", False)


def test_what_is_newer_shows_by_its_name() -> None:
    reading = read_all(
        request(
            span({"gen_ai.operation.name": "telepathy"}),
            span({"mcp.method.name": "teleport"}),
            span({"openinference.span.kind": "DREAM"}),
            span({}, name="claude_code.dream"),
        ),
        request(log("claude_code.dream", {}), log("codex.dream", {}), log("gemini_cli.dream", {})),
        request({"timeUnixNano": "1", "eventName": "gen_ai.dream", "attributes": []}),
        request({"timeUnixNano": "1", "body": {"stringValue": "claude_code.dream2"}}),
    )
    assert reading.unknown == [
        "span:telepathy",
        "span:teleport",
        "span:DREAM",
        "span:claude_code.dream",
        "log:claude_code.dream",
        "log:codex.dream",
        "log:gemini_cli.dream",
        "log:gen_ai.dream",
        "log:claude_code.dream2",
    ]
    assert read_all({"resourceDreams": []}).unknown == ["(unnamed)"]
    told = log("copilot_chat.tool.call", {"gen_ai.tool.name": "x"})
    assert read_all(request(told, log("gen_ai.choice", {}))).unknown == []
    assert read_all({"resourceMetrics": []}, {"resource_metrics": [{}]}).unknown == []


@pytest.mark.parametrize("prefix", ["", "claude_code."])
def test_events_of_claude_code(prefix: str) -> None:
    about = {"user.id": "u1", "session.id": "s1", "tool_use_id": "t1", "tool_name": "Bash"}
    shell = {"full_command": "curl http://x.example", "bash_command": "curl"}
    reading = read_all(
        request(
            log(prefix + "tool_decision", {**about, "decision": "accept"}),
            log(
                prefix + "tool_result",
                {**about, "success": "true", "duration_ms": "12", "tool_parameters": json.dumps(shell)},
            ),
            log(
                prefix + "tool_result",
                {**about, "tool_use_id": "t2", "success": "false", "tool_input": '{"command": "ls'},
            ),
            log(
                prefix + "tool_result",
                {
                    **about,
                    "tool_use_id": "t3",
                    "tool_name": "mcp_tool",
                    "tool_parameters": '{"mcp_server_name": "gh", "mcp_tool_name": "pr"}',
                },
            ),
            log(
                prefix + "tool_decision",
                {**about, "tool_use_id": "t4", "decision": "reject", "source": "user_reject"},
            ),
            log(
                prefix + "api_request",
                {
                    **about,
                    "request_id": "r1",
                    "input_tokens": 3,
                    "cache_read_tokens": 4,
                    "output_tokens": "5",
                },
            ),
            log(prefix + "api_error", {**about, "error": "overloaded"}),
            log(prefix + "permission_mode_changed", {**about, "to_mode": "bypassPermissions"}),
            log(prefix + "user_prompt", about),
            log(prefix + "hook_execution_complete", about),
        )
    )
    assert [(event.type, event.tool, event.outcome) for event in reading.events] == [
        ("network_request", "Bash", "ok"),
        ("shell_exec", "Bash", "error"),
        ("api_call", "mcp__gh__pr", ""),
        ("approval", "Bash", "refused"),
        ("model_call", "", ""),
        ("error", "", "error"),
        ("approval", "", ""),
    ]
    assert len(reading.calls) == 3
    assert reading.of("model_call")[0].tokens == (7, 5)
    assert {(event.agent, event.session) for event in reading.events} == {("u1", "s1")}
    assert reading.unknown == []


def test_claude_code_tells_a_call_in_a_log_event_and_in_a_span() -> None:
    of_log = request(log("tool_result", {"tool_name": "Bash", "tool_use_id": "t1", "success": "true"}))
    of_span = request(span({"tool_name": "Bash", "tool_use_id": "t1"}, name="claude_code.tool"))
    assert tools(of_log, of_span) == tools(of_span, of_log) == tools(of_log) == tools(of_span) == ["Bash"]
    model = read_all(
        request(log("api_request", {"request_id": "r1"})),
        request(span({"request_id": "r1", "gen_ai.request.model": "m"}, name="claude_code.llm_request")),
    )
    assert len(model.events) == 1


def test_a_log_event_and_a_span_in_two_files_have_one_id_where_neither_tells_arguments() -> None:
    about = {"tool_name": "Bash", "tool_use_id": "toolu_01RTg3PUkRjXDFhYPkCcJkSb", "user.id": "u"}
    (of_log,) = read_all(request(log("tool_result", {**about, "success": "true"}))).all
    (of_span,) = read_all(request(span(about, name="claude_code.tool"))).all
    assert of_log.identity == of_span.identity is not None
    assert of_log.agent == of_span.agent
    # With arguments, which the two tell in different words, they must not look like a forgery.
    told = {**about, "tool_parameters": '{"full_command": "ls"}', "success": "true"}
    (of_log,) = read_all(request(log("tool_result", told))).all
    (of_span,) = read_all(request(span({**about, "full_command": "ls"}, name="claude_code.tool"))).all
    assert of_log.identity is not None
    assert of_span.identity is not None
    assert of_log.identity[0] != of_span.identity[0]


@pytest.mark.parametrize(
    ("inner", "outcome"),
    [
        (span({"success": True}, "b", "a", name="claude_code.tool.execution"), "ok"),
        (span({"success": False}, "b", "a", name="claude_code.tool.execution"), "error"),
        (span({"success": "false"}, "b", "a", name="claude_code.tool.execution"), "error"),
        (span({}, "b", "a", name="claude_code.tool.execution", status={"code": 2}), "error"),
        (span({"decision": "reject"}, "b", "a", name="claude_code.tool.blocked_on_user"), "refused"),
        (span({"decision": "accept"}, "b", "a", name="claude_code.tool.blocked_on_user"), "ok"),
        (span({"success": False}, "b", "x", name="claude_code.tool.execution"), "ok"),
    ],
)
def test_spans_inside_tell_what_became_of_a_tool_of_claude_code(inner: dict[str, Any], outcome: str) -> None:
    outer = span({"tool_name": "Bash", "tool_use_id": "t1"}, "a", name="claude_code.tool")
    reading = read_all(request(inner), request(outer))
    assert [(event.type, event.outcome) for event in reading.events] == [("shell_exec", outcome)]
    assert reading.unknown == []


def test_short_ids_of_claude_code_count_within_their_session() -> None:
    about = {"tool_name": "Bash", "tool_use_id": "Bash:0", "success": "true"}
    refused = {"tool_name": "Bash", "tool_use_id": "Bash:1", "decision": "reject"}
    reading = read_all(
        *(request(log("tool_result", {**about, "session.id": session})) for session in ("s1", "s2", "s1")),
        *(request(log("tool_decision", {**refused, "session.id": session})) for session in ("s1", "s2")),
    )
    assert [event.session for event in reading.events] == ["s1", "s2", "s1", "s2"]
    assert conflicts(reading) == 0


def test_events_of_codex() -> None:
    about = {"conversation.id": "c1", "user.account_id": "u1", "call_id": "k1", "tool_name": "exec_command"}
    at = {"timeUnixNano": "0", "observedTimeUnixNano": "1700000000000000000"}
    reading = read_all(
        request(
            log(
                "codex.tool_result",
                {**about, "arguments": '{"cmd": "ls"}', "success": "true", "duration_ms": "5"},
                **at,
            ),
            log(
                "codex.tool_result",
                {
                    **about,
                    "call_id": "k2",
                    "success": "false",
                    "output": "exec_command failed: rejected by user",
                },
                **at,
            ),
            log(
                "codex.tool_result",
                {**about, "call_id": "k3", "tool_name": "find", "mcp_server": "gh", "success": "false"},
                **at,
            ),
            log("codex.tool_decision", {**about, "decision": "approved"}, **at),
            log("codex.tool_decision", {**about, "decision": "denied"}, **at),
            log(
                "codex.sse_event",
                {
                    **about,
                    "event.kind": "response.completed",
                    "input_token_count": "7",
                    "output_token_count": "8",
                },
                **at,
            ),
            log("codex.sse_event", {**about, "event.kind": "response.created"}, **at),
            log("codex.api_request", {**about, "http.response.status_code": 200}, **at),
            log("codex.api_request", {**about, "error.message": "timeout"}, **at),
        )
    )
    assert [(event.type, event.tool, event.outcome) for event in reading.events] == [
        ("file_read", "exec_command", "ok"),
        ("shell_exec", "exec_command", "refused"),
        ("api_call", "mcp__gh__find", "error"),
        ("approval", "exec_command", "refused"),
        ("model_call", "", ""),
        ("error", "", "error"),
    ]
    assert {(event.agent, event.session, event.at_us) for event in reading.events} == {
        ("u1", "c1", 1_700_000_000_000_000)
    }
    assert reading.of("model_call")[0].tokens == (7, 8)
    assert reading.unknown == []


def test_events_of_gemini_cli() -> None:
    about = {"session.id": "s1", "installation.id": "i1", "function_name": "run_shell_command"}
    reading = read_all(
        request(
            log(
                "gemini_cli.tool_call",
                {**about, "function_args": '{"command": "rm x"}', "success": True, "duration_ms": 5},
            ),
            log("gemini_cli.tool_call", {**about, "success": False, "decision": "reject"}),
            log("qwen-code.tool_call", {**about, "success": False}),
            log("gemini_cli.tool_call", {**about, "function_name": "list", "mcp_server_name": "gh"}),
            log(
                "gemini_cli.api_response",
                {**about, "input_token_count": 1, "output_token_count": 2, "thoughts_token_count": 4},
            ),
            log("gemini_cli.api_error", about),
            log("gemini_cli.file_operation", about),
            log("gen_ai.client.inference.operation.details", about),
        )
    )
    assert [(event.type, event.outcome) for event in reading.events] == [
        ("file_delete", "ok"),
        ("shell_exec", "refused"),
        ("shell_exec", "error"),
        ("api_call", ""),
        ("model_call", ""),
        ("error", "error"),
    ]
    assert reading.calls[-1].tool == "mcp__gh__list"
    assert reading.of("model_call")[0].tokens == (1, 6)
    assert {(event.agent, event.session) for event in reading.events} == {("i1", "s1")}
    assert reading.unknown == []


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ({}, "ok"),
        (None, "ok"),
        ({"code": 0}, "ok"),
        ({"code": 1}, "ok"),
        ({"code": 2}, "error"),
        ({"code": "STATUS_CODE_ERROR"}, "error"),
        ({"code": "STATUS_CODE_OK"}, "ok"),
        ({"code": 2, "message": "The user doesn't want to proceed with this tool use."}, "refused"),
        ({"code": 2, "message": "rejected by user"}, "refused"),
    ],
)
def test_statuses(status: Any, outcome: str) -> None:
    assert read_all(request(span(CALL, status=status))).calls[0].outcome == outcome


def test_both_spellings_of_protobuf_names() -> None:
    text_of = json.dumps(request(span(CALL), **{"service.instance.id": "i1"}))
    for camel, snake in [
        ("resourceSpans", "resource_spans"),
        ("scopeSpans", "scope_spans"),
        ("traceId", "trace_id"),
        ("spanId", "span_id"),
        ("startTimeUnixNano", "start_time_unix_nano"),
        ("endTimeUnixNano", "end_time_unix_nano"),
        ("stringValue", "string_value"),
    ]:
        text_of = text_of.replace(camel, snake)
    camel_case = read_all(request(span(CALL), **{"service.instance.id": "i1"})).calls
    assert read_all(json.loads(text_of)).calls == camel_case
    assert camel_case[0].agent == "i1"
    old = json.dumps(request(span(CALL))).replace("scopeSpans", "instrumentationLibrarySpans")
    assert len(read_all(json.loads(old)).calls) == 1


def test_who_it_was() -> None:
    def agent(at: dict[str, Any], **resource: str) -> str:
        return read_all(request(span({**CALL, **at}), **resource)).calls[0].agent

    instance = {"service.instance.id": "i1"}
    assert agent({"gen_ai.agent.id": "asst_1", "gen_ai.agent.name": "n"}, **instance) == "asst_1"
    assert agent({"gen_ai.agent.name": "n"}, **instance) == "n"
    # `user.id` is the person who asks.
    assert agent({"user.id": "person"}, **instance) == "i1"
    assert agent({}) == "svc"


def test_a_call_with_odd_fields_counts_and_raises_nothing() -> None:
    bare = {"resourceSpans": {"scopeSpans": {"spans": {"attributes": attributes(CALL)}}}}
    (event,) = read_all(bare).calls
    assert (event.tool, event.agent, event.at_us, event.identity) == ("get", "otlp", None, None)
    odd = span({**CALL, "gen_ai.tool.call.arguments": "not json"}, startTimeUnixNano={}, traceId=[], kind="?")
    assert tools(request(odd)) == ["get"]
    assert tools(request(log("tool_result", {"success": "maybe", "duration_ms": "soon"}))) == ["(unnamed)"]


def one_item(record: dict[str, Any]) -> dict[str, Any]:
    """Cut a request to one item, so that a mutation hits something that counts."""
    spans = in_request(record, "resourceSpans", "scopeSpans", "spans")
    logs = in_request(record, "resourceLogs", "scopeLogs", "logRecords")
    return request(*[item for item in spans + logs if "tool" in json.dumps(item)][:1])


BASES = [
    one_item(plain(by_label(name))[1])
    for name in ("claude-code-logs.json", "genai-new-data.json", "sample-1_VSGitHubCopilot_traces.jsonl")
]


@given(mutated(BASES))
def test_no_mutation_of_a_record_raises(record: dict[str, Any]) -> None:
    assert len(read_all(record).all) <= 1


def chat(span_id: str, parent: str, named: str, trace: str = "t") -> dict[str, Any]:
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"mail {named}"}]}])
    at = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": "c", "gen_ai.input.messages": messages}
    return span(at, span_id, parent, traceId=trace)


@pytest.mark.parametrize("is_one_record", [True, False])
def test_what_a_model_tells_its_subagent_is_no_prompt(is_one_record: bool) -> None:
    """Spans come when they end: the subagent's calls behind the one that asked for it."""
    spans = [
        span({"gen_ai.operation.name": "embeddings"}, "e", "retrieval", traceId="t"),
        chat("m1", "agent", "ann@corp.io"),
        chat("s1", "sub", "eve@evil.io"),
        chat("s2", "sub", "mal@evil.io"),
        span({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "delegate"}, "d", "agent"),
        chat("m2", "agent", "bob@corp.io"),
        chat("m3", "next", "cat@corp.io", trace="u"),
        chat("m4", "", "dan@corp.io", trace="u"),
    ]
    requests = [request(*spans)] if is_one_record else [request(one) for one in spans]
    asked = {one for facts in read_all(*requests).rows.facts.values() for one in facts.asked}

    assert {hash_of(f"{name}@corp.io") for name in ("ann", "bob", "cat", "dan")} <= asked
    assert not {hash_of("eve@evil.io"), hash_of("mal@evil.io")} & asked
