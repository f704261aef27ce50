"""What is told of hosts: Falco, osquery, OCSF, ECS. Actions become event types, users become agents."""

from pathlib import Path
from typing import Any

import pytest
from format_reading import Reading, conflicts, form, label, plain, read, read_file, samples
from hypothesis import given
from mutations import mutated

FALCO = {"rule": "R", "priority": "Warning", "output": "o", "hostname": "h", "time": "2025-02-22T01:30:40Z"}
OSQUERY = {"name": "q", "action": "added", "hostIdentifier": "h", "unixTime": 1_700_000_000}
OCSF = {
    "class_uid": 1001,
    "activity_id": 2,
    "time": 1_740_187_840_000,
    "actor": {"user": {"name": "svc"}},
    "device": {"hostname": "h"},
}
ECS = {
    "@timestamp": "2026-01-02T03:04:05Z",
    "ecs": {"version": "8.11"},
    "user": {"name": "svc"},
    "host": {"name": "h"},
}


def kinds(reading: Reading) -> list[tuple[str, str]]:
    return [(event.type, event.tool) for event in reading.events]


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name in ("falco", "osquery", "ocsf", "ecs") for path in samples(name)],
    ids=lambda item: label(item) if isinstance(item, Path) else item,
)
def test_nothing_of_the_samples_is_unknown(name: str, path: Path) -> None:
    records = plain(path)
    reading = read_file(name, path)
    assert reading.unknown == []
    assert conflicts(reading) == 0
    assert len({event.offset for event in reading.events}) + len(reading.rows.ignored) == len(records)
    assert all(event.at_us and event.agent != name and event.role == "host" for event in reading.events)
    assert all(map(form(name).matches, records))


def test_samples_of_falco() -> None:
    (path,) = samples("falco")
    told = [record for record in plain(path) if "proc.cmdline" in record["output_fields"]]
    reading = read_file("falco", path)
    assert [event.offset for event in reading.events] == [plain(path).index(record) for record in told]
    assert kinds(reading) == [("file_create", "bash"), ("credential_access", "read_file")]
    assert [event.agent for event in reading.events] == ["root@localhost", "root@node1"]


@pytest.mark.parametrize(
    ("fields", "event_type"),
    [
        ({"evt.type": "execve", "proc.cmdline": "curl http://x.example"}, "network_request"),
        ({"evt.type": "openat", "fd.name": "/a", "evt.is_open_write": True}, "file_write"),
        ({"evt.type": "openat", "fd.name": "/a", "evt.arg.flags": "O_CREAT|O_WRONLY"}, "file_write"),
        ({"evt.type": "open", "fd.name": "/a"}, "file_read"),
        ({"evt.type": "unlinkat", "fs.path.name": "/a"}, "file_delete"),
        ({"evt.type": "mkdir", "evt.arg.path": "/a"}, "file_create"),
        (
            {"evt.type": "connect", "fd.name": "10.0.0.1:1->1.2.3.4:443", "fd.sip": "1.2.3.4"},
            "network_request",
        ),
        ({"evt.type": "ptrace"}, "other"),
        # Rules that give neither the system call nor the command.
        ({"fd.name": "/etc/shadow"}, "credential_access"),
        ({"fd.name": "/etc/hosts", "proc.name": "cat"}, "file_read"),
    ],
)
def test_calls_of_the_system_by_falco(fields: dict[str, Any], event_type: str) -> None:
    (event,) = read("falco", [{**FALCO, "output_fields": {"user.name": "svc", **fields}}]).events
    assert (event.type, event.agent) == (event_type, "svc@h")
    assert read("falco", [{**FALCO, "output_fields": {"evt.type": "dream"}}]).unknown == ["dream"]
    assert read("falco", [FALCO]).unknown == ["R"]
    written = {**FALCO, "rule": "Write below bin", "output_fields": {"fd.name": "/usr/bin/x"}}
    assert kinds(read("falco", [written])) == [("file_write", "write_file")]
    assert read("falco", [{**FALCO, "output_fields": {"proc.name": "mount"}}]).unknown == ["R"]
    audit = {**FALCO, "source": "k8s_audit", "output_fields": {"ka.user.name": "svc", "ka.verb": "get"}}
    (event,) = read("falco", [audit]).events
    assert (event.type, event.agent) == ("api_call", "svc@h")
    assert read("falco", [{**FALCO, "source": "internal"}]).unknown == []


def test_samples_of_osquery() -> None:
    (path,) = samples("osquery")
    reading = read_file("osquery", path)
    added = [record for record in plain(path) if record["action"] == "added"]
    assert len(reading.events) == len(added)
    assert kinds(reading) == [("shell_exec", "bash"), ("network_request", "bash")]
    assert reading.events[1].agent == "uid:0@vagrant"
    assert reading.events[1].at_us == 1_527_895_541_000_000


@pytest.mark.parametrize(
    ("row", "event_type"),
    [
        ({"cmdline": "rm -r x", "pid": "1"}, "file_delete"),
        ({"path": "/bin/ls", "pid": "1"}, "file_read"),
        ({"target_path": "/a", "action": "CREATED"}, "file_create"),
        ({"target_path": "/a", "action": "DELETED"}, "file_delete"),
        ({"target_path": "/a", "action": "UPDATED"}, "file_write"),
        ({"target_path": "/etc/shadow", "action": "OPENED"}, "credential_access"),
        ({"remote_address": "1.2.3.4", "action": "connect", "path": "/a", "pid": "1"}, "network_request"),
    ],
)
def test_rows_of_osquery(row: dict[str, str], event_type: str) -> None:
    (event,) = read("osquery", [{**OSQUERY, "columns": {"uid": "7", **row}}]).events
    assert (event.type, event.agent, event.at_us) == (event_type, "uid:7@h", 1_700_000_000_000_000)
    batch = {key: item for key, item in OSQUERY.items() if key != "action"}
    batch["diffResults"] = {"added": [row, row], "removed": [row]}
    assert [event.type for event in read("osquery", [batch]).events] == [event_type] * 2
    assert read("osquery", [{**OSQUERY, "action": "removed", "columns": row}]).events == []
    assert read("osquery", [{**OSQUERY, "action": "snapshot", "snapshot": [row]}]).events == []


def test_what_osquery_does_not_say() -> None:
    assert read("osquery", [{**OSQUERY, "columns": {"dream": "1"}}]).unknown == ["row:q"]
    assert read("osquery", [{**OSQUERY, "name": "pack_os_version", "columns": {"major": "1"}}]).unknown == []


def test_samples_of_ocsf() -> None:
    (path,) = samples("ocsf")
    reading = read_file("ocsf", path)
    assert len(reading.events) == len(plain(path))
    assert {kind for kind, _ in kinds(reading)} == {"credential_access"}
    assert {event.agent for event in reading.events} == {"svc-agent@h1"}
    assert reading.events[1].at_us == 1_740_187_840_001_000


@pytest.mark.parametrize(
    ("record", "event_type"),
    [
        ({"file": {"path": "/a"}}, "file_read"),
        ({"file": {"path": "/a"}, "activity_id": 3}, "file_write"),
        ({"file": {"path": "/a"}, "activity_id": 1}, "file_create"),
        ({"file": {"path": "/a"}, "activity_id": 4}, "file_delete"),
        (
            {"class_uid": 1007, "activity_id": 1, "process": {"cmd_line": "curl http://x.example"}},
            "network_request",
        ),
        ({"class_uid": 1007, "activity_id": 4}, "other"),
        ({"file": {"path": "/a"}, "activity_id": 99}, "other"),
        ({"class_uid": 3001, "activity_id": 1}, "api_call"),
        ({"class_uid": 4001, "activity_id": 1, "dst_endpoint": {"ip": "1.2.3.4"}}, "network_request"),
        ({"class_uid": 4002, "activity_id": 3}, "network_request"),
        ({"class_uid": 6003, "activity_id": 1, "api": {"operation": "x"}}, "api_call"),
    ],
)
def test_classes_of_ocsf(record: dict[str, Any], event_type: str) -> None:
    (event,) = read("ocsf", [{**OCSF, "status_id": 2, **record}]).events
    assert (event.type, event.agent, event.outcome) == (event_type, "svc@h", "error")


def test_what_ocsf_knows_and_no_agent_does() -> None:
    idle = [{**OCSF, "class_uid": number} for number in (0, 2004, 3002, 4001, 4004, 5001, 6002)]
    reading = read("ocsf", [*idle, {**OCSF, "class_uid": 1007}])
    assert (reading.events, reading.unknown) == ([], [])
    assert read("ocsf", [{**OCSF, "class_uid": 9999, "class_name": "Dream"}]).unknown == ["Dream"]
    assert read("ocsf", [{**OCSF, "class_uid": 9999}]).unknown == ["9999"]


def test_samples_of_ecs() -> None:
    found: list[tuple[str, str, str]] = []
    for path in samples("ecs"):
        reading = read_file("ecs", path)
        records = plain(path)
        wanted = [
            number
            for number, record in enumerate(records)
            if "event" in record
            and (
                record["event"]["ecs"]["event"]["category"] == ["file"]
                or record["event"]["ecs"]["event"] == {"category": ["process"], "type": ["start"]}
            )
        ]
        assert [event.offset for event in reading.events] == wanted
        found += [(event.type, event.agent, event.outcome) for event in reading.events]
    assert sorted(found) == [
        ("file_create", "uid:0", "ok"),
        ("file_create", "uid:0", "ok"),
        ("file_delete", "uid:0", "ok"),
        ("file_write", "uid:0", "ok"),
        ("shell_exec", "uid:0", "ok"),
        ("shell_exec", "uid:1001", "ok"),
    ]


@pytest.mark.parametrize(
    ("record", "event_type"),
    [
        (
            {"event": {"category": ["process"], "type": ["start"]}, "process": {"command_line": "rm -r x"}},
            "file_delete",
        ),
        (
            {
                "event": {"category": ["process"], "type": ["start"]},
                "process": {"args": ["cat", "/etc/shadow"]},
            },
            "credential_access",
        ),
        (
            {"event": {"category": "file", "type": "access"}, "file": {"path": "/root/.ssh/id_rsa"}},
            "credential_access",
        ),
        ({"event": {"category": ["file"], "type": ["change"]}, "file.path": "/a"}, "file_write"),
        (
            {
                "event": {"category": ["network"], "type": ["connection", "start"]},
                "destination": {"ip": "1.2.3.4"},
            },
            "network_request",
        ),
        ({"event.category": ["api"], "event.type": ["access"]}, "api_call"),
    ],
)
def test_categories_of_ecs(record: dict[str, Any], event_type: str) -> None:
    (event,) = read("ecs", [{**ECS, **record}]).events
    assert (event.type, event.agent, event.at_us) == (event_type, "svc@h", 1_767_323_045_000_000)
    (event,) = read("ecs", [{"_id": "1", "_source": {**ECS, **record}}]).events
    assert (event.type, event.agent) == (event_type, "svc@h")


def test_what_ecs_knows_and_no_agent_does() -> None:
    idle: list[dict[str, Any]] = [
        {"event": {"kind": "metric", "category": ["host"]}},
        {"event": {"category": ["authentication"], "type": ["start"]}},
        {"event": {"category": ["process"], "type": ["end"]}},
        {"event": {"category": ["network"], "type": ["start"]}, "network": {"direction": "inbound"}},
    ]
    reading = read("ecs", [{**ECS, **record} for record in idle])
    assert (reading.events, reading.unknown) == ([], [])
    assert read("ecs", [{**ECS, "event": {"category": "dream"}}]).unknown == ["doc:dream"]


BASES = {
    "falco": [{**FALCO, "output_fields": {"evt.type": "execve", "proc.cmdline": "ls", "user.name": "u"}}],
    "osquery": [
        {**OSQUERY, "columns": {"cmdline": "ls", "uid": "7"}},
        {**OSQUERY, "diffResults": {"added": [{"cmdline": "ls"}]}},
    ],
    "ocsf": [{**OCSF, "file": {"path": "/a"}}],
    "ecs": [
        {**ECS, "event": {"category": ["process"], "type": ["start"]}, "process": {"args": ["ls"]}},
        *plain(samples("ecs")[1])[-1:],
    ],
}


@pytest.mark.parametrize("name", BASES)
@given(record=mutated([dict(record, which=name) for name, of in BASES.items() for record in of]))
def test_no_mutation_raises(name: str, record: dict[str, Any]) -> None:
    assert len(read(name, [record]).all) <= 1


def test_what_shells_remember_by_osquery_is_a_command_and_has_no_time() -> None:
    columns = {"command": "cat ~/.netrc", "history_file": "/h/.bash_history", "uid": "1000", "time": "0"}
    (event,) = read("osquery", [{**OSQUERY, "columns": columns}]).events
    assert (event.type, event.tool, event.agent) == ("credential_access", "bash", "uid:1000@h")
    assert event.at_us == 1_700_000_000_000_000
