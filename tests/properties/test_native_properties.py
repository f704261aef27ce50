"""Native records that are read at once, a chunk at a time, give what reading one by one gives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld import kernel
from sentineld.decode import decode_lines
from sentineld.features import Features
from sentineld.native import NativeMapping
from sentineld.taxonomy import Taxonomy

AT = 1_763_858_410
TYPES, AGENTS = ("file_write", "api_call", "note"), ("agent-1", "a/b", "é")
#: JSON in every spelling, good and bad.
VALUES = st.sampled_from(
    [
        *("1", "-0", "1.0", "1.50", "1e5", "1E400", "9e-400", "9" * 30, "true", "null", '""', '"x"'),
        *('"\\u0041"', '"\\/"', '"\\""', '"\\\\"', '"\\u0022"', '"\\n"', '"é"', '"\\u00e9"', '"\\ud800"'),
        *('"{["', '"}\\n{"', "[]", "{}", '[1,{"a":2}]', '{"b":1,"a":{}}'),
        '"tool"',
        '{"a":1,"a":2}',
        '{"a":1,"\\u0061":2}',
        '"' + "y" * 5000 + '"',
        '{"k":' * 29 + "1" + "}" * 29,
        '{"k":' * 31 + "1" + "}" * 31,
        "[" * 40 + "]" * 40,
        " 1 ",
        "nul",
    ]
)
KEYS = st.sampled_from(["path", "z", "a", "\\u0061", "é", "", "tool", "session", "too\\u006c", "seq", '\\"'])
PAYLOADS = st.lists(st.tuples(KEYS, VALUES), max_size=4).map(
    lambda members: "{" + ",".join(f'"{key}":{value}' for key, value in members) + "}"
)
TIMES = st.sampled_from(
    [
        str(AT),
        f"{AT}.25",
        f"{AT}000",
        f"{AT}000000",
        '"2025-11-23T00:40:10Z"',
        "0",
        "-1",
        "null",
        "1e400",
        '"x"',
    ]
)
RECORDS = st.builds(
    '{{"type":{},"source":{},"timestamp":{},"data":{}}}'.format,
    st.sampled_from(
        [*map(json.dumps, TYPES), '"tool_call"', '"new"', '"fil\\u0065_write"', '"a\\"b"', "1", "{}"]
    ),
    st.sampled_from([*map(json.dumps, AGENTS), '"new"', "null", '""']),
    TIMES,
    PAYLOADS,
)
ODD = st.sampled_from(
    [
        "",
        "{}",
        "[]",
        '{"type":"note","source":"agent-1","timestamp":1,"data":1}',
        '{"type":"note","source":"agent-1","timestamp":1,"data":{},"more":1}',
        '{"type":"note","type":"note","source":"agent-1","timestamp":1,"data":{}}',
        '{"type":"note","source":"agent-1","timestamp":1,"data":{"a":1},"data":{}}',
        '{"type":"note","source":"agent-1","timestamp":{"a":[]},"data":{}}',
        '{"type":"note","source":"agent-1","timestamp":1,"data":{}}\r',
        '{"type":"note","source":"agent-1","timestamp":1,"data":{}}{}',
        '{"type":"note",\n"source":"agent-1","timestamp":1,"data":{}}',
        '{"type":"note","source":"agent-1","timestamp":1}',
        "\ufeff{}",
    ]
)


def mapping(has_facts):
    known = NativeMapping(features=Features(Taxonomy()) if has_facts else None)
    lines = [
        json.dumps({"type": kind, "source": agent, "timestamp": AT, "data": {}})
        for kind in (*TYPES, "tool_call", 'a"b')
        for agent in AGENTS
    ]
    known.rows(decode_lines("".join(line + "\n" for line in lines).encode()))
    return known


def both(lines, base=0, has_facts=False):
    """Read lines in both ways: rows read at once (None: they cannot be), and rows, rejects and blanks."""
    data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")
    at_once = mapping(has_facts).rows_of_lines(data, base)
    decoded = decode_lines(data, base)
    rows, rejects = mapping(has_facts).rows(decoded)
    return at_once, rows, [*decoded.rejects, *rejects, *decoded.ignored]


@given(st.lists(st.one_of(RECORDS, ODD), min_size=1, max_size=6), st.sampled_from([0, 4096]), st.booleans())
def test_what_is_read_at_once_is_what_is_read_one_by_one(lines, base, has_facts):
    at_once, rows, left = both(lines, base, has_facts)

    if at_once is not None:
        assert at_once == rows
        assert left == []


COMMON = st.builds(
    lambda kind, agent, at, data: json.dumps(
        {"type": kind, "source": agent, "timestamp": at, "data": data}, ensure_ascii=False
    ),
    st.sampled_from(TYPES),
    st.sampled_from(AGENTS[:2]),
    st.one_of(st.integers(1, 10**18), st.floats(1, 10**10)),
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(
            lambda key: key not in ("tool", "session")
        ),
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.floats(allow_nan=False)
        ).filter(lambda value: value not in (float("inf"), float("-inf"))),
        max_size=5,
    ),
)


@given(st.lists(COMMON, min_size=1, max_size=6), st.booleans())
def test_common_records_are_read_at_once(lines, has_facts):
    at_once, rows, left = both(lines, has_facts=has_facts)

    # Only an escaped quotation mark, or many brackets, send a chunk the long way.
    if not any("\\u0022" in line or line.count("{") + line.count("[") > 5 for line in lines):
        assert at_once == rows
        assert left == []


@pytest.mark.parametrize("seq", ["", ',"seq":7'])
def test_agents_that_were_never_met_are_read_at_once(monkeypatch, seq):
    # By the reference: the kernel examines every identifier.
    monkeypatch.setattr(kernel, "compiled", None)
    by_record, by_line = mapping(has_facts=False), mapping(has_facts=False)
    monkeypatch.setattr(NativeMapping, "_rows_of_any", lambda *_: pytest.fail("read one by one"))
    lines = [f'{{"type":"note","source":"new-{n}","timestamp":{n + 1}{seq},"data":{{}}}}\n' for n in range(3)]
    data = "".join(lines).encode()
    rows, rejects = by_record.rows(decode_lines(data))

    assert (rows.agent_ids, rejects) == (["new-0", "new-1", "new-2"], [])
    if not seq:
        assert by_line.rows_of_lines(data, 0) == rows


@pytest.mark.parametrize(
    "line",
    [
        '{"type":"note","source":"agent-1","timestamp":1,"data":{"a":1,"a":2}}',
        '{"type":"note","source":"agent-1","timestamp":1,"timestamp":1,"data":{}}',
        '{"type":"note","source":"agent-1","timestamp":1,"data":' + '{"k":' * 32 + "1" + "}" * 33,
        '{"type":"note","source":"agent-1","timestamp":1,"data":{"a":"' + "," * 70_000 + '"}}',
        '{"type":"note","source":"no id","timestamp":1,"data":{}}',
        '{"type":"unknown","source":"agent-1","timestamp":1,"data":{}}',
        '{"type":"tool_call","source":"agent-1","timestamp":1,"data":{}}',
        '{"type":"note","source":"agent-1","timestamp":1,"data":{"tool":1}}',
        '{"type":"note","source":"agent-1","timestamp":1,"data":{"session":"s"}}',
        '{"type":"note","source":"agent-1","timestamp":true,"data":{}}',
        '{"type":"note","source":"agent-1","timestamp":1,"data":{}}\r',
    ],
)
def test_nothing_that_needs_a_look_of_its_own_is_read_at_once(monkeypatch, line):
    monkeypatch.setattr(kernel, "compiled", None)
    good = '{"type":"note","source":"agent-1","timestamp":1,"data":{}}'
    assert both([good])[0] is not None
    assert both([good, line, good])[0] is None
