"""Codex's rollouts of all times: every call of every sample once, and what became of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_reading import conflicts, form, label, mutated, plain, read, read_file, samples
from hypothesis import given
from hypothesis import strategies as st

FORMAT = "codex"
FILE = "/home/u/.codex/sessions/2026/01/02/rollout-2026-01-02T03-04-05-0199.jsonl"
ID = "call_1mb2zpo3ma4hy4OjTDz9oNpC"
TIME = "2026-01-02T03:04:05.000Z"
#: In one sample every text was replaced by this, ids among them.
TRIMMED = "[trimmed for fixture]"
ITEMS = ("function_call", "custom_tool_call", "local_shell_call", "web_search_call", "tool_search_call")


def calls_told(records: list[dict[str, Any]]) -> list[str]:
    """Return the ids of all calls: response items, then ends of calls that have no response item."""
    ids: list[str] = []
    for record in records:
        payload = record.get("payload", record)
        kind = payload.get("type")
        if kind in (*ITEMS, "image_generation_call", "tool_call"):
            ids.append(payload.get("call_id") or payload.get("id", ""))
    for record in records:
        payload = record.get("payload", record)
        is_end = payload.get("type") in ("mcp_tool_call_end", "patch_apply_end", "exec_command_end")
        if is_end and payload["call_id"] not in ids:
            ids.append(payload["call_id"])
    return ids


@pytest.mark.parametrize("path", samples(FORMAT), ids=label)
def test_every_call_counts_once(path: Path) -> None:
    records = plain(path)
    reading = read_file(FORMAT, path)
    found = [call.call_id for call in reading.calls if call.call_id != TRIMMED]
    assert sorted(found) == sorted(call_id for call_id in calls_told(records) if call_id != TRIMMED)
    assert reading.unknown == []
    assert any(map(form(FORMAT).matches, records[:16]))
    assert "0.149" in str(path) or conflicts(reading) == 0


@pytest.mark.parametrize("path", [path for path in samples(FORMAT) if "rollout" in path.name], ids=label)
def test_what_became_of_the_calls(path: Path) -> None:
    refused, failed = [], []
    for record in plain(path):
        payload = record["payload"]
        if payload.get("type") == "function_call_output":
            output = payload.get("output")
            if not isinstance(output, str):
                continue
            if output.startswith("{"):
                code = json.loads(output)["metadata"]["exit_code"]
            else:
                code = 1 if output.startswith("failed in sandbox") else 0
            if code:
                failed.append(payload["call_id"])
            elif output == "patch rejected by user":
                refused.append(payload["call_id"])
    reading = read_file(FORMAT, path)
    assert failed
    assert [event.call_id for event in reading.of("error")] == failed
    assert [event.call_id for event in reading.events if event.outcome == "refused"] == refused
    assert {event.tool for event in reading.of("error")} == {"shell"}


@pytest.mark.parametrize("path", [path for path in samples(FORMAT) if "rollout" in path.name], ids=label)
def test_agents_sessions_times_and_model_calls(path: Path) -> None:
    records = plain(path)
    reading = read_file(FORMAT, path)
    meta = records[0]["payload"]
    assert {event.agent for event in reading.events} == {meta["cwd"]}
    assert {event.session for event in reading.events} == {meta["id"]}
    assert {event.role for event in reading.events} == {"coding-agent"}
    assert None not in {event.at_us for event in reading.events}
    totals = {
        json.dumps(record["payload"]["info"]["total_token_usage"])
        for record in records
        if record["payload"].get("type") == "token_count" and record["payload"]["info"]
    }
    assert len(reading.of("model_call")) == len(totals)
    assert all(all(event.tokens) for event in reading.of("model_call"))


def line(kind: str, payload_type: str = "", **payload: Any) -> dict[str, Any]:
    more = {"type": payload_type} if payload_type else {}
    return {"timestamp": TIME, "type": kind, "payload": {**more, **payload}}


META = line("session_meta", id="0199aaaa-1111-7222-8333-444455556666", cwd="/home/u/p", timestamp=TIME)


def call(call_id: str = ID, name: str = "shell", **more: Any) -> dict[str, Any]:
    arguments = json.dumps({"command": ["bash", "-lc", "ls"]})
    return line("response_item", "function_call", name=name, arguments=arguments, call_id=call_id, **more)


def output(text: object, call_id: str = ID) -> dict[str, Any]:
    return line("response_item", "function_call_output", call_id=call_id, output=text)


def outcomes(*records: dict[str, Any]) -> list[tuple[str, str, str]]:
    events = read(FORMAT, [META, *records], FILE).events
    return [(event.type, event.tool, event.outcome) for event in events if not event.is_call]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"output":"x","metadata":{"exit_code":0,"duration_seconds":0.1}}', ""),
        ('{"output":"rejected by user","metadata":{"exit_code":2}}', "error"),
        ("Exit code: 0\nWall time: 0 seconds\nOutput:\nfailed to do it: x", ""),
        ("Exit code: 1\nWall time: 0 seconds\nOutput:\nexec command rejected by user", "error"),
        ("Exit code: 124\nOutput:\n", "error"),
        ("Chunk ID: ab\nWall time: 0.1 seconds\nProcess exited with code 0\nOutput:\n", ""),
        ("Chunk ID: ab\nWall time: 0.1 seconds\nProcess exited with code 127\nOutput:\n", "error"),
        ("Chunk ID: ab\nWall time: 0.1 seconds\nProcess running with session ID 7\nOutput:\n", ""),
        ("Wall time: 0.1 seconds\nProcess exited with code 2\nOutput:\n", "error"),
        ("exec command rejected by user", "refused"),
        ("patch rejected by user", "refused"),
        ("rejected by user", "refused"),
        ("aborted by user after 3.2s", "refused"),
        ("aborted", "refused"),
        ("user rejected MCP tool call", "refused"),
        ("user cancelled MCP tool call", "refused"),
        (
            'exec_command failed for `ls`: CreateProcess { message: "Rejected(\\"rejected by user\\")" }',
            "refused",
        ),
        ('exec_command failed for `ls`: CreateProcess { message: "No such file" }', "error"),
        ("failed to parse function arguments: missing field `cmd`", "error"),
        ("unsupported call: foo", "error"),
        ("apply_patch verification failed: Failed to find expected lines", "error"),
        ("execution error: Io(Os)", "error"),
        ("Plan updated", ""),
        ("a.txt\nfailed: 3", ""),
        ("", ""),
        (None, ""),
        ({"content": "x", "success": False}, "error"),
        ([{"type": "input_text", "text": "Exit code: 3\nOutput:\n"}], "error"),
        ([{"type": "input_text", "text": "fine"}], ""),
        ([], ""),
    ],
)
def test_what_an_output_means(text: object, outcome: str) -> None:
    kind = "approval" if outcome == "refused" else "error"
    assert outcomes(call(), output(text)) == ([(kind, "shell", outcome)] if outcome else [])


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (line("event_msg", "exec_command_end", call_id=ID, exit_code=0, status="completed"), ""),
        (line("event_msg", "exec_command_end", call_id=ID, exit_code=1, status="failed"), "error"),
        (line("event_msg", "exec_command_end", call_id=ID, exit_code=-1, status="declined"), "refused"),
        (line("event_msg", "patch_apply_end", call_id=ID, success=True), ""),
        (line("event_msg", "patch_apply_end", call_id=ID, success=False, status="failed"), "error"),
        (line("event_msg", "patch_apply_end", call_id=ID, success=False, status="declined"), "refused"),
        (line("event_msg", "mcp_tool_call_end", call_id=ID, result={"Ok": {"content": []}}), ""),
        (line("event_msg", "mcp_tool_call_end", call_id=ID, result={"Ok": {"isError": True}}), "error"),
        (line("event_msg", "mcp_tool_call_end", call_id=ID, result={"Err": "timeout"}), "error"),
        (
            line("event_msg", "mcp_tool_call_end", call_id=ID, result={"Err": "user rejected MCP tool call"}),
            "refused",
        ),
        (line("event_msg", "dynamic_tool_call_response", call_id=ID, success=False), "error"),
        (
            line("event_msg", "item_completed", item={"type": "CommandExecution", "id": ID, "exit_code": 2}),
            "error",
        ),
        (
            line("event_msg", "item_completed", item={"type": "CommandExecution", "id": ID, "exit_code": 0}),
            "",
        ),
        (
            line("event_msg", "item_completed", item={"type": "FileChange", "id": ID, "status": "declined"}),
            "refused",
        ),
        (
            line("event_msg", "item_completed", item={"type": "McpToolCall", "id": ID, "status": "failed"}),
            "error",
        ),
    ],
)
def test_the_end_of_a_call_is_no_second_call(end: dict[str, Any], outcome: str) -> None:
    reading = read(FORMAT, [META, call(), end, end], FILE)
    assert len(reading.calls) == 1
    kind = "approval" if outcome == "refused" else "error"
    rest = [(event.type, event.tool, event.outcome) for event in reading.events if not event.is_call]
    assert rest == ([(kind, "shell", outcome)] if outcome else [])
    assert conflicts(reading) == 0


MCP = {"server": "jira", "tool": "get", "arguments": {"id": 7}}


@pytest.mark.parametrize(
    ("end", "tool"),
    [
        (
            line("event_msg", "mcp_tool_call_end", call_id=ID, invocation=MCP, result={"Ok": {}}),
            "mcp__jira__get",
        ),
        (line("event_msg", "exec_command_end", call_id=ID, command=["ls"], exit_code=0), "exec_command"),
        (line("event_msg", "patch_apply_end", call_id=ID, changes={"/a": {"type": "add"}}), "apply_patch"),
        (line("event_msg", "view_image_tool_call", call_id=ID, path="/a.png"), "view_image"),
        (line("event_msg", "dynamic_tool_call_request", callId=ID, tool="lookup", arguments={}), "lookup"),
        (line("event_msg", "collab_agent_spawn_end", call_id=ID, prompt="go"), "spawn_agent"),
        (line("event_msg", "collab_close_end", call_id=ID), "close_agent"),
        (
            line("event_msg", "item_completed", item={"type": "McpToolCall", "id": ID, **MCP}),
            "mcp__jira__get",
        ),
        (
            line(
                "event_msg", "item_completed", item={"type": "CommandExecution", "id": ID, "command": ["ls"]}
            ),
            "exec_command",
        ),
        (
            line("event_msg", "item_completed", item={"type": "FileChange", "id": ID, "changes": {}}),
            "apply_patch",
        ),
    ],
)
def test_an_end_without_a_beginning_is_a_call(end: dict[str, Any], tool: str) -> None:
    """Programs that the model writes make calls of which only the end is told."""
    reading = read(FORMAT, [META, end, end], FILE)
    assert [event.tool for event in reading.calls] == [tool]
    assert reading.events == reading.calls


def test_what_a_user_types_is_no_call() -> None:
    typed = line(
        "event_msg", "exec_command_end", call_id=ID, command=["ls"], source="user_shell", exit_code=1
    )
    assert read(FORMAT, [META, typed], FILE).events == []


@pytest.mark.parametrize(
    ("item", "tool"),
    [
        (call(name="get", namespace="mcp__jira"), "mcp__jira__get"),
        (call(name="mcp__jira__get"), "mcp__jira__get"),
        (call(name="spawn_agent", namespace="multi_agent_v1"), "spawn_agent"),
        (call(name="run", namespace="web"), "web__run"),
        (
            line(
                "response_item", "custom_tool_call", name="apply_patch", input="*** Begin Patch", call_id=ID
            ),
            "apply_patch",
        ),
        (
            line("response_item", "local_shell_call", call_id=ID, action={"command": ["ls"]}),
            "local_shell_call",
        ),
        (line("response_item", "local_shell_call", id=ID, action={"command": ["ls"]}), "local_shell_call"),
        (line("response_item", "web_search_call", id=ID, action={"query": "q"}), "web_search_call"),
        (line("response_item", "web_search_call", action={"query": "q"}), "web_search_call"),
        (line("response_item", "tool_search_call", call_id=ID, arguments={}), "tool_search"),
        (
            line("response_item", "image_generation_call", id=ID, revised_prompt="a cat"),
            "image_generation_call",
        ),
    ],
)
def test_every_kind_of_call(item: dict[str, Any], tool: str) -> None:
    (found,) = read(FORMAT, [META, item], FILE).calls
    assert found.tool == tool


def test_a_fork_repeats_the_history_of_its_parent() -> None:
    """Its own header comes first, then the parent's with all that followed."""
    parent = [META, call(), output("Exit code: 1\n")]
    header = line(
        "session_meta", id="0199bbbb-1111-7222-8333-444455556666", cwd="/home/u/p", forked_from_id="x"
    )
    whole = read(FORMAT, [*parent, header, *parent], FILE)
    assert [event.type for event in whole.events] == ["file_read", "error"]
    fork = read(FORMAT, [header, *parent], FILE)
    assert {event.session for event in fork.events} == {header["payload"]["id"]}
    assert fork.calls[0].identity == whole.calls[0].identity


def test_short_ids_of_other_providers_count_in_their_thread() -> None:
    other = line("session_meta", id="0199bbbb-1111-7222-8333-444455556666", cwd="/home/u/p")
    first = read(FORMAT, [META, call("call_0")], FILE).calls[0]
    second = read(FORMAT, [other, call("call_0")], FILE).calls[0]
    assert first.identity != second.identity
    assert len(read(FORMAT, [META, call("call_0"), call("call_0")], FILE).calls) == 1


def test_a_subagent_has_its_role() -> None:
    source = {"subagent": {"thread_spawn": {"parent_thread_id": "x", "depth": 1}}}
    header = line("session_meta", id="0199bbbb-1111-7222-8333-444455556666", cwd="/home/u/p", source=source)
    (found,) = read(FORMAT, [header, META, call()], FILE).calls
    assert (found.role, found.agent) == ("subagent", "/home/u/p")


def test_bare_records_of_the_first_versions() -> None:
    records = [
        {"id": "0199aaaa-1111-7222-8333-444455556666", "timestamp": TIME, "instructions": None, "git": {}},
        {"record_type": "state"},
        {
            "type": "message",
            "role": "user",
            "content": [
                {
                    "type": "input_text",
                    "text": "<environment_context>\n  <cwd>/home/u/p</cwd>\n</environment_context>",
                }
            ],
        },
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["rm","a"]}', "call_id": ID},
        {"type": "function_call_output", "call_id": ID, "output": '{"output":"","metadata":{"exit_code":1}}'},
        {"type": "local_shell_call", "id": "lsh_1", "action": {"command": ["ls"]}},
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch", "call_id": ID + "2"},
        {"type": "custom_tool_call_output", "call_id": ID + "2", "output": "patch rejected by user"},
    ]
    reading = read(FORMAT, records, FILE)
    assert [(event.tool, event.outcome) for event in reading.events] == [
        *[
            ("shell", ""),
            ("shell", "error"),
            ("local_shell_call", ""),
            ("apply_patch", ""),
            ("apply_patch", "refused"),
        ]
    ]
    assert {(event.agent, event.session, event.at_us) for event in reading.events} == {
        ("/home/u/p", "0199aaaa-1111-7222-8333-444455556666", None)
    }
    assert reading.unknown == []
    assert all(any(map(form(FORMAT).matches, [record])) for record in (records[0], records[1], records[4]))


def test_a_compacted_history_tells_nothing_new() -> None:
    compacted = line("compacted", message="", replacement_history=[call(ID + "2")["payload"]])
    assert len(read(FORMAT, [META, call(), compacted], FILE).events) == 1


def test_a_review_that_denies_is_a_refusal() -> None:
    review = line("event_msg", "guardian_assessment", id="g1", target_item_id=ID, status="denied")
    assert outcomes(call(), review) == [("approval", "shell", "refused")]
    assert outcomes(call(), {**review, "payload": {**review["payload"], "status": "approved"}}) == []


def test_what_is_new_is_unknown_by_its_name() -> None:
    records = [
        line("dream"),
        line("event_msg", "dreaming"),
        line("response_item", "dream_call"),
        line("event_msg", "item_completed", item={"type": "Dream"}),
        {"type": "dream"},
    ]
    assert read(FORMAT, [META, *records], FILE).unknown == [
        "dream",
        "event_msg/dreaming",
        "response_item/dream_call",
        "event_msg/item_completed/Dream",
        "dream",
    ]


@pytest.mark.parametrize(
    "odd",
    [
        line("response_item", "function_call"),
        line("response_item", "function_call", name=7, arguments=7, call_id=7),
        line("response_item", "function_call", name=[1], arguments="{", call_id={"a": 1}),
        line("response_item", "custom_tool_call", input=[1]),
        {**call(), "timestamp": None},
        {**call(), "timestamp": {"a": 1}},
    ],
)
def test_an_odd_call_is_still_a_call(odd: dict[str, Any]) -> None:
    for records in ([odd], [META, odd]):
        (found,) = read(FORMAT, records, FILE).calls
        assert found.agent


@given(st.sampled_from([record for path in samples(FORMAT) for record in plain(path)[:130]]), st.data())
def test_no_mutation_raises(record: dict[str, Any], data: st.DataObject) -> None:
    reading = read(FORMAT, [META, mutated(record, data)], FILE)
    assert len(reading.all) or reading.rows.ignored == [0, 1]


def test_calls_in_a_form_that_names_a_function_count() -> None:
    def item(**payload: Any) -> dict[str, Any]:
        return {"timestamp": TIME, "type": "response_item", "payload": payload}

    function = {"name": "run_shell_command"}
    reading = read(
        FORMAT,
        [
            item(type="tool_call", function=function, arguments={"command": "cat a"}),
            item(type="tool_result", name="run_shell_command", result={"stdout": "x", "exitCode": 0}),
            item(type="tool_call", function={**function, "arguments": json.dumps({"command": "rm a"})}),
            item(type="tool_result", name="run_shell_command", result={"stderr": "x", "exitCode": 1}),
        ],
        FILE,
    )
    assert [(event.type, event.tool) for event in reading.events] == [
        ("file_read", "run_shell_command"),
        ("file_delete", "run_shell_command"),
        ("error", "run_shell_command"),
    ]
    assert len(reading.calls) == 2
    assert reading.unknown == []


def test_a_call_that_an_item_and_an_event_tell_counts_once() -> None:
    def record(kind: str, name: str) -> dict[str, Any]:
        payload = {"type": "function_call", "name": name, "arguments": "{}", "call_id": ID}
        return {"timestamp": TIME, "type": kind, "payload": payload}

    both = [record("response_item", "exec_command"), record("event_msg", "exec_command")]
    assert [call.tool for call in read(FORMAT, both, FILE).calls] == ["exec_command"]
    assert [call.tool for call in read(FORMAT, both[1:], FILE).calls] == ["exec_command"]


@pytest.mark.parametrize(
    ("end", "is_error"),
    [
        ({"result": {"Ok": {"isError": False}}}, False),
        ({"result": {"Ok": {"isError": True}}}, True),
        ({"result": {"is_error": True}}, True),
        ({"result": {"Err": "no server"}}, True),
        ({"error": "no server"}, True),
        ({"error": None, "result": None}, False),
        ({"error": ""}, False),
    ],
)
def test_ends_of_calls_of_mcp_tools(end: dict[str, Any], is_error: bool) -> None:
    about = {"type": "mcp_tool_call_end", "call_id": ID, "invocation": {"server": "s", "tool": "t"}}
    reading = read(FORMAT, [{"timestamp": TIME, "type": "event_msg", "payload": {**about, **end}}], FILE)
    assert [call.tool for call in reading.calls] == ["mcp__s__t"]
    assert len(reading.of("error")) == is_error


def usage(response: str | None, total: int, **more: Any) -> list[dict[str, Any]]:
    """Return what one answer of the model leaves: its usage record, then the count."""
    tokens = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
    payload = {"usage": tokens, "thread_token_usage": {"total_tokens": total}, **more}
    info = {"last_token_usage": tokens, "total_token_usage": {"total_tokens": total}}
    return [
        {"timestamp": TIME, "type": "token_usage_record", "payload": {"response_id": response, **payload}},
        {"timestamp": TIME, "type": "event_msg", "payload": {"type": "token_count", "info": info}},
    ]


def test_usage_records_count_each_answer_once_in_forks_too() -> None:
    header = {"timestamp": TIME, "type": "session_meta", "payload": {"id": "s1", "cwd": "/p"}}
    answers = [*usage("resp_0123456789abcdef01", 13), *usage("resp_0123456789abcdef02", 26)]
    reading = read(FORMAT, [header, *answers], FILE)
    assert [event.tokens for event in reading.of("model_call")] == [(10, 3), (10, 3)]
    assert reading.unknown == []
    fork = read(FORMAT, [{**header, "payload": {"id": "s2"}}, *answers, *usage(None, 39)], FILE)
    ids = [event.identity for event in reading.of("model_call")]
    assert [event.identity in ids for event in fork.of("model_call")] == [True, True, False]
    # Without such records, the counts tell.
    assert len(read(FORMAT, [header, *answers[1::2]], FILE).of("model_call")) == 2


def test_searches_of_paged_history_reach_the_network() -> None:
    item = {"type": "Extension", "kind": "web.search", "id": ID, "action": {"type": "search", "query": "x"}}
    record = {"timestamp": TIME, "type": "event_msg", "payload": {"type": "item_completed", "item": item}}
    assert [call.type for call in read(FORMAT, [record, record], FILE).calls] == ["network_request"]
