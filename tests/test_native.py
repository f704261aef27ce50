"""The native format: from records to rows."""

import base64
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentineld import native as native_module
from sentineld.decode import Decoded, decode_lines
from sentineld.entropy import entropy_units, metadata_entropy
from sentineld.event import FILE, NETWORK, OTHER
from sentineld.features import Features
from sentineld.instant import MAX_US, iso
from sentineld.native import NativeMapping, native_metadata
from sentineld.taxonomy import Taxonomy

SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "wordpress" / "events.jsonl"
AT = 1_763_858_410
RECORD = {"type": "file_write", "timestamp": AT, "source": "agent-1", "data": {"path": "/srv/a", "size": 3}}


def rows_of(*records, mapping=None):
    decoded = Decoded(list(records), [n * 100 for n in range(len(records))], [], [])
    return (mapping or NativeMapping()).rows(decoded)


def row_of(**changes):
    rows, rejects = rows_of({key: value for key, value in {**RECORD, **changes}.items() if value is not ...})
    assert rejects == []
    return rows


def reason_of(**changes):
    rows, [item] = rows_of({key: value for key, value in {**RECORD, **changes}.items() if value is not ...})
    assert len(rows) == 0
    assert item.offset == 0
    return item.reason


def test_the_members_of_a_record_become_the_columns_of_a_row():
    rows = row_of()

    assert (rows.at_us, rows.agent_ids, rows.event_types, rows.kinds, rows.offsets) == (
        [AT * 10**6], ["agent-1"], ["file_write"], [FILE], [0],
    )  # fmt: skip
    assert rows.entropies == [entropy_units(metadata_entropy(RECORD["data"]))]


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not part of this repository")
def test_the_wordpress_sample_gives_its_fourteen_events():
    rows, rejects = NativeMapping().rows(decode_lines(SAMPLE.read_bytes(), 0))

    assert (len(rows), rejects) == (14, [])
    assert set(rows.agent_ids) == {"wordpress_plugin"}
    assert rows.event_types[:3] == ["diagnostic_pulse", "diagnostic_pulse", "evolution_event"]
    assert all(0.4 < units / 1e9 < 0.8 for units in rows.entropies)
    assert {iso(at)[:4] for at in rows.at_us} == {"2026"}


@pytest.mark.parametrize(
    ("event_type", "kind"), [("file_read", FILE), ("api_call", NETWORK), ("diagnostic_pulse", OTHER)]
)
def test_the_kind_follows_from_the_type(event_type, kind):
    assert row_of(type=event_type).kinds == [kind]


# Timestamps.


@pytest.mark.parametrize(
    ("timestamp", "at_us"),
    [
        (AT, AT * 10**6),
        (AT + 0.25, AT * 10**6 + 250_000),
        (AT * 1000 + 7, AT * 10**6 + 7000),
        (AT * 10**6 + 7, AT * 10**6 + 7),
        (AT * 10**9 + 7999, AT * 10**6 + 7),
        (0, 0),
        (-5, -5 * 10**6),
        (-5.5, -5_500_000),
        (10**400, MAX_US),
        ("2025-11-23T00:40:10Z", AT * 10**6),
        ("2025-11-23T01:40:10.000007+01:00", AT * 10**6 + 7),
        ("2025-11-23 00:40:10", AT * 10**6),
        ("9999-12-31T23:59:59.999999Z", MAX_US),
        ("9999-12-31T23:59:59-12:00", MAX_US),
        (None, None),
        (..., None),
    ],
)
def test_times_are_read_in_every_unit_and_may_be_missing(timestamp, at_us):
    assert row_of(timestamp=timestamp).at_us == [at_us]


@pytest.mark.parametrize("timestamp", [True, False, "yesterday", "", "1763858410", [], {}, [AT, 0]])
def test_what_is_no_time_is_refused(timestamp):
    assert reason_of(timestamp=timestamp) == "bad_timestamp"


# Names.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": ...}, "missing_type"),
        ({"type": None}, "missing_type"),
        ({"type": 7}, "bad_type"),
        ({"type": True}, "bad_type"),
        ({"type": []}, "bad_type"),
        ({"type": {}}, "bad_type"),
        ({"type": ""}, "bad_type"),
        ({"type": "x" * 129}, "bad_type"),
        ({"type": "a\x1b[2J"}, "bad_type"),
        ({"type": "a\u202eb"}, "bad_type"),
        ({"type": "a\u3164"}, "bad_type"),
        ({"type": "a\ufffd"}, "bad_type"),
        ({"source": "a\ufffd"}, "bad_source"),
        ({"source": ...}, "missing_source"),
        ({"source": None}, "missing_source"),
        ({"source": 7}, "bad_source"),
        ({"source": []}, "bad_source"),
        ({"source": ""}, "bad_source"),
        ({"source": "x" * 129}, "bad_source"),
        ({"source": "a b"}, "bad_source"),
        ({"source": "a\n"}, "bad_source"),
        ({"source": "a#1000"}, "bad_source"),
        ({"source": "<other>"}, "bad_source"),
        ({"source": "\u0430gent"}, "bad_source"),
    ],
)
def test_missing_and_wrong_names_have_a_reason_each(changes, reason):
    assert reason_of(**changes) == reason


@pytest.mark.parametrize("source", ["a", "wordpress_plugin", "team/agent-1@host:8080", "~a+b.c", "x" * 128])
def test_usual_ids_are_accepted(source):
    assert row_of(source=source).agent_ids == [source]


def test_refused_records_do_not_shift_the_others():
    bad = {**RECORD, "source": 7}
    tool = {**RECORD, "type": "tool_call", "data": {"tool": "Read", "session": "s"}, "id": "x"}

    rows, rejects = rows_of(bad, tool, bad, RECORD, {**tool, "timestamp": "never"}, tool)

    assert [item.offset for item in rejects] == [0, 200, 400]
    assert rows.offsets == [100, 300, 500]
    assert rows.sessions == {0: "s", 2: "s"}
    assert rows.tool_calls == [0, 2]
    assert set(rows.identities) == {0, 2}
    assert len(rows.entropies) == len(rows.at_us) == len(rows.kinds) == 3


# Metadata.


@pytest.mark.parametrize(
    ("members", "metadata"),
    [
        ({"data": {"a": 1}}, {"a": 1}),
        ({"data": {"a": 1}, "b": 2}, {"a": 1, "b": 2}),
        ({"data": {"a": 1}, "a": 2}, {"a": 1, "record.a": 2}),
        ({"data": {"a": 1, "record.a": 3}, "a": 2}, {"a": 1, "record.a": 3, "record.record.a": 2}),
        ({"data": {"a": 1}, "a": 2, "record.a": 3}, {"a": 1, "record.a": 2, "record.record.a": 3}),
        ({"data": {"type": "t", "source": "s"}}, {"type": "t", "source": "s"}),
        ({"data": "text", "b": 2}, {"data": "text", "b": 2}),
        ({"data": [1]}, {"data": [1]}),
        ({"data": None}, {"data": None}),
        ({"data": {}}, {}),
        ({}, {}),
        ({"b": 2}, {"b": 2}),
    ],
)
def test_metadata_lose_no_member_of_the_record(members, metadata):
    record = {"type": "file_write", "timestamp": AT, "source": "a", **members}

    rows, _ = rows_of(record)

    assert native_metadata(record) == metadata
    assert rows.entropies == [entropy_units(metadata_entropy(metadata))]


# Sessions, tools, ids.


@pytest.mark.parametrize(
    ("session", "name"),
    [
        ("s-1", {0: "s-1"}),
        (17, {0: "17"}),
        ("", {}),
        (None, {}),
        (True, {}),
        ([], {}),
        ("x" * 200, {0: "x" * 128}),
    ],
)
def test_a_session_is_text_or_a_whole_number(session, name):
    assert row_of(data={"session": session}).sessions == name


def test_a_session_beside_data_is_metadata_only():
    assert row_of(session="s").sessions == {}


@pytest.mark.parametrize(
    ("data", "event_type", "kind"),
    [
        ({"tool": "Read", "args": {"path": "a.py"}}, "file_read", FILE),
        ({"tool": "Read", "args": {"path": "/root/.ssh/id_rsa"}}, "credential_access", OTHER),
        ({"tool": "WebFetch"}, "network_request", NETWORK),
        ({"tool": "frobnicate", "args": "x"}, "tool_call", OTHER),
        ({"tool": 7}, "tool_call", OTHER),
        ({}, "tool_call", OTHER),
        ("text", "tool_call", OTHER),
    ],
)
def test_a_tool_call_has_the_class_of_its_tool(data, event_type, kind):
    rows = row_of(type="tool_call", data=data)

    assert (rows.event_types, rows.kinds, rows.tool_calls) == ([event_type], [kind], [0])


def test_a_tool_beside_another_type_is_counted_but_keeps_the_type():
    rows = row_of(data={"tool": "WebFetch"})

    assert (rows.event_types, rows.tool_calls) == (["file_write"], [0])


def identity_of(**changes):
    return row_of(**changes).identities.get(0)


def test_an_explicit_id_is_a_text_or_a_whole_number():
    assert identity_of() is None
    assert identity_of(id="") is None
    assert identity_of(id=[]) is None
    assert identity_of(id=True) is None
    assert (
        identity_of(id=5)
        == identity_of(id="5")
        == identity_of(event_id="5")
        == identity_of(event_id=None, id="5")
    )
    assert identity_of(event_id="5", id="6") == identity_of(event_id="5")
    assert identity_of(id="5") != identity_of(id="6")


def test_the_content_behind_an_id_is_type_and_data_and_not_the_envelope():
    same = identity_of(id="5")

    assert identity_of(id="5", timestamp=AT + 1) == same
    assert identity_of(id="5", data={"size": 3, "path": "/srv/a"}) == same
    for other in (identity_of(id="5", data={"path": "/srv/b"}), identity_of(id="5", type="file_read")):
        assert other[0] == same[0]
        assert other[1] != same[1]


def test_a_mapping_that_has_seen_the_names_gives_the_same_rows():
    mapping = NativeMapping()
    records = [
        {
            **RECORD,
            "source": f"a{n % 3}",
            "type": ("file_read", "odd")[n % 2],
            "data": {"blob": base64.b64encode(bytes([n] * n)).decode()},
        }
        for n in range(40)
    ]
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)

    first = mapping.rows(decode_lines(lines, 0))
    second = mapping.rows(decode_lines(lines, 0))

    assert first == second
    assert first[0].at_us == [AT * 10**6] * 40
    assert first[0].entropies[0] == entropy_units(metadata_entropy({"blob": ""}))


@pytest.mark.parametrize(
    "odd",
    [
        {"timestamp": 0},
        {"timestamp": AT * 1000},
        {"timestamp": None},
        {"data": {"tool": "Read"}},
        {"timestamp": float(AT)},
        {"data": {}},
        {"data": []},
        {"extra": 1},
        {"source": "new"},
        {"type": "new"},
        {"type": "tool_call"},
        {"data": {"session": "s"}},
    ],
)
def test_one_unusual_record_changes_nothing_for_its_neighbours(odd):
    mapping = NativeMapping()
    mapping.rows(Decoded([RECORD], [0], [], []))

    rows, rejects = rows_of(RECORD, {**RECORD, **odd}, RECORD, mapping=mapping)
    usual, unusual = row_of(), row_of(**odd)

    assert rejects == []
    for column in ("at_us", "agent_ids", "kinds", "entropies", "event_types"):
        assert getattr(rows, column) == [
            *getattr(usual, column),
            *getattr(unusual, column),
            *getattr(usual, column),
        ]
    assert list(rows.sessions.values()) == list(unusual.sessions.values())
    assert rows.tool_calls == [number + 1 for number in unusual.tool_calls]


@pytest.mark.parametrize(
    "odd",
    [
        {"seq": 9},
        {"seq": -1},
        {"seq": True},
        {"seq": "7"},
        {"seq": 1.0},
        {"seq": 1 << 63},
        {"seq": ...},
        {"data": {"seq": 3}},
        {"data": {}},
        {"data": {"tool": "Read"}},
        {"extra": 1},
        {"seq": ..., "extra": 1},
        {"timestamp": None},
    ],
)
def test_numbered_records_give_the_same_rows_all_at_once_and_one_by_one(odd):
    mapping = NativeMapping()
    mapping.rows(Decoded([RECORD], [0], [], []))
    odd = {key: value for key, value in {**RECORD, "seq": 2, **odd}.items() if value is not ...}
    records = [{**RECORD, "seq": 1}, odd, {**RECORD, "seq": 4}]

    rows, rejects = rows_of(*records, mapping=mapping)
    alone = [NativeMapping().rows(Decoded([record], [0], [], []))[0] for record in records]

    assert rejects == []
    for column in ("at_us", "agent_ids", "kinds", "entropies", "event_types"):
        assert getattr(rows, column) == [getattr(one, column)[0] for one in alone]
    assert rows.seqs == {number: one.seqs[0] for number, one in enumerate(alone) if one.seqs}
    assert all("seq" not in record["data"] for record in records if record["data"] != {"seq": 3})


def test_numbered_records_cost_about_as_much_as_others():
    """Measured: 1.4 times as much; one by one it is four times."""
    plain = [{**RECORD, "timestamp": AT + n} for n in range(2000)]
    numbered = [{**record, "seq": n} for n, record in enumerate(plain)]
    mapping, times = NativeMapping(), []
    for records in (plain, numbered):
        decoded = Decoded(records, list(range(len(records))), [], [])
        taken = []
        for _ in range(6):
            began = time.process_time()
            mapping.rows(decoded)
            taken.append(time.process_time() - began)
        times.append(min(taken))
    assert times[1] < 2.5 * times[0]


def test_every_reason_is_documented():
    reasons = {"missing_type", "bad_type", "missing_source", "bad_source", "bad_timestamp"}

    assert {reason for reason in reasons if f"``{reason}``" in native_module.__doc__} == reasons


@pytest.mark.parametrize("seq", [0, 7, (1 << 63) - 1])
def test_a_whole_number_seq_is_the_agents_own_number_and_stays_in_the_metadata(seq):
    rows = row_of(seq=seq)
    assert rows.seqs == {0: seq}
    assert native_metadata({**RECORD, "seq": seq})["seq"] == seq


@pytest.mark.parametrize("seq", [-1, 1 << 63, 1.0, "7", True, None, [1]])
def test_any_other_seq_is_no_number(seq):
    assert row_of(seq=seq).seqs == {}


@settings(max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(["file_read", "api_call", "model_call", "deploy", "prompt"]),
                "timestamp": st.integers(1, 2_000_000_000),
                "source": st.sampled_from(["a", "b"]),
                "data": st.dictionaries(
                    st.sampled_from(["path", "to", "error", "input_tokens", "prompt", "text", "n", "args"]),
                    st.one_of(
                        st.integers(0, 9), st.booleans(), st.sampled_from(["/etc/passwd", "x y", "bob@x.org"])
                    ),
                ),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_facts_are_the_same_whether_records_are_read_at_once_or_one_by_one(records):
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    decoded = decode_lines(lines, 7)
    taxonomy = Taxonomy()
    mapping = NativeMapping(taxonomy, Features(taxonomy))

    one_by_one, _ = mapping.rows(decoded, "", "worker")
    assert mapping.rows(decoded, "", "worker") == (one_by_one, [])
    assert mapping.rows_of_lines(lines, 7, "worker") == one_by_one
    assert [facts.role for facts in one_by_one.facts.values()] == ["worker"] * len(records)
