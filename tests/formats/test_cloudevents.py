"""CloudEvents: calls of tools by what `data` names, everything else by its type."""

import json
from typing import Any

import pytest
from format_reading import conflicts, form, plain, read, read_file, samples
from hypothesis import given
from mutations import mutated

from sentineld.event import FILE_OPERATIONS, NETWORK_OPERATIONS

FORMAT = "cloudevents"
EVENT = {
    "specversion": "1.0",
    "type": "com.example.x",
    "source": "/agents/a",
    "id": "1",
    "time": "2026-04-11T12:00:00.5Z",
}


def test_every_sample_counts_once() -> None:
    (path,) = samples(FORMAT)
    records = plain(path)
    calls = [
        record for record in records if isinstance(record.get("data"), dict) and "tool" in record["data"]
    ]
    reading = read_file(FORMAT, path)
    assert [(event.call_id, event.tool) for event in reading.calls] == [
        (f"{record['source']}/{record['id']}", record["data"]["tool"]) for record in calls
    ]
    assert len(reading.events) == len({(record["source"], record["id"]) for record in records})
    assert [event.outcome == "ok" for event in reading.calls] == [record["data"]["ok"] for record in calls]
    secrets = sum(record["data"]["args"]["path"].endswith("id_rsa") for record in calls)
    assert len(reading.of("credential_access")) == secrets
    assert {event.agent for event in reading.calls} == {"/agents/deploy-bot"}
    assert all(event.at_us for event in reading.calls)
    assert (reading.unknown, conflicts(reading)) == ([], 0)
    assert all(map(form(FORMAT).matches, records))


@pytest.mark.parametrize(
    ("record", "event_type", "tool"),
    [
        ({"data": {"tool_name": "Read", "arguments": '{"file_path": "/a"}'}}, "file_read", "Read"),
        ({"data": '{"tool": "bash", "args": {"command": "rm x"}}'}, "file_delete", "bash"),
        (
            {"type": "ai.acme.tool_call.v2", "subject": "Read", "data": {"path": "/etc/shadow"}},
            "credential_access",
            "Read",
        ),
        ({"type": "ai.acme.agent.file_read"}, "file_read", ""),
        ({"type": "ai.acme.agent.network-request.v1"}, "network_request", ""),
        ({"type": "ai.acme.model.call"}, "model_call", ""),
        ({"type": "ai.acme.error"}, "error", ""),
        ({"type": "ai.acme.order.placed"}, "ai.acme.order.placed", ""),
    ],
)
def test_what_becomes_of_types(record: dict[str, Any], event_type: str, tool: str) -> None:
    (event,) = read(FORMAT, [{**EVENT, **record}]).events
    assert (event.type, event.tool, event.is_call) == (event_type, tool, bool(tool))


@pytest.mark.parametrize(
    "event_type",
    sorted({*FILE_OPERATIONS, *NETWORK_OPERATIONS, "shell_exec", "agent_spawn", "approval", "plan"}),
)
def test_types_that_end_in_an_event_class(event_type: str) -> None:
    for end in (event_type, event_type.replace("_", "-") + ".v1", event_type.replace("_", ".").upper()):
        (event,) = read(FORMAT, [{**EVENT, "type": f"ai.acme.{end}"}]).events
        assert (event.type, event.is_call) == (event_type, False)


def test_a_result_of_its_own_is_no_second_call() -> None:
    of = {"tool": "Read", "call_id": "c1"}
    start = {**EVENT, "type": "acme.tool.call", "data": {**of, "args": {"path": "/a"}}}
    end = {**EVENT, "id": "2", "type": "acme.tool.result", "data": {**of, "result": "x"}}
    assert len(read(FORMAT, [start, end]).calls) == 1


def test_ids_count_per_source() -> None:
    again = {**EVENT, "data": {"tool": "Read"}}
    other = {**again, "source": "/agents/b"}
    assert len(read(FORMAT, [again, again, other]).events) == 2
    changed = read(FORMAT, [again, {**again, "data": {"tool": "Read", "args": {"path": "/b"}}}])
    assert (len(changed.events), conflicts(changed)) == (2, 1)


def test_a_session_by_the_extensions() -> None:
    record = {**EVENT, "correlationid": "k1", "data": {"tool": "Read", "success": False}}
    (event,) = read(FORMAT, [record]).events
    assert (event.session, event.outcome) == ("k1", "error")


@given(mutated(json.loads(json.dumps(plain(samples(FORMAT)[0])[-3:]))))
def test_no_mutation_raises(record: dict[str, Any]) -> None:
    assert len(read(FORMAT, [record]).all) <= 1
