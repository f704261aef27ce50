"""The language of mappings: what each selector, condition, field and option does, and what mistakes say."""

import json
import time
import tomllib
from collections.abc import Callable
from functools import cache
from importlib import resources
from types import SimpleNamespace
from typing import Any

import pytest
from format_reading import mutated, plain, samples
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_mapping import SlowMapping, compare

from sentineld.condition import compile_condition, compile_value
from sentineld.decode import Decoded, decode_value
from sentineld.errors import ConfigError
from sentineld.expression import Code
from sentineld.mapping import FileContext, Mapping, MappingError, agent_id
from sentineld.mapping_files import built_in, parse_mappings
from sentineld.memory import MAX_KEYS, MAX_TEXT, dump, grown, load
from sentineld.path_glob import compile_glob
from sentineld.rows import Rows
from sentineld.selector import Scope, SelectorError, paths_of, to_text
from sentineld.taxonomy import Taxonomy
from sentineld.values import from_json, from_otel, to_instant, to_number

TIME = "2026-01-02T03:04:05Z"
TIME_US = 1_767_323_045_000_000


def classify(tool: str, arguments: object) -> SimpleNamespace:
    return SimpleNamespace(
        event_class="file_read" if tool == "Read" else "tool_call", entities=(), features=()
    )


def mapping(text: str, head: str = "") -> Mapping:
    (found,) = parse_mappings(f'[[source]]\nname = "test"\n{head}\n{text}'.encode(), "test.toml", classify)
    return found


def read(form: Mapping, *records: dict[str, Any], path: str = "/logs/a.jsonl", **context: Any) -> Rows:
    copies = json.loads(json.dumps(records))
    rows, rejects = form.rows(
        Decoded(copies, list(range(len(copies))), [], []), FileContext(path, 1000, **context)
    )
    assert not rejects
    assert len(rows) == len(rows.event_types) == len(rows.at_us) == len(rows.entropies) == len(rows.kinds)
    return rows


def select(selector: object, record: object, kept: Any = None, **names: Any) -> Any:
    items = tuple(name for name in names if name not in ("path", "file"))
    compiled = compile_value(selector, items, frozenset(kept or ()))
    return compiled(Scope({"record": record, **names}, kept or {}))


def test_an_item_with_empty_text_is_one_without():
    form = mapping(
        """
        [[source.event]]
        each = {item = "items"}
        when = {"item.kind" = "a"}
        type = "=file_read"
        [[source.event]]
        each = {item = "items"}
        when = {"item.kind" = "b"}
        type = "=file_write"
        [[source.event]]
        each = {item = "items"}
        when = {"item.kind" = {present = false}}
        type = "=error"
        """
    )
    items = [{"kind": kind} for kind in ("a", "", "b", "c", None, 7)] + [{}]

    assert read(form, {"items": items}).event_types == ["file_read", "error", "file_write", "error", "error"]


def test_what_is_decoded_below_a_name_with_dots_is_found_as_values_are():
    form = mapping(
        """
        [[source.event]]
        decode = {"payload.call.arguments" = "json"}
        tool = "payload.call.name | =t"
        meta = {path = "payload.call.arguments.path"}
        """
    )
    told = {"name": "Read", "arguments": '{"path": "/a"}'}

    rows = [
        form.trace(record, 0, FileContext("/logs/a.jsonl", 1000))[1].events[0].payload.get("path")
        for record in (
            {"payload": {"call": dict(told)}},
            {"payload.call": dict(told)},
            # What has the plain name is meant, whatever it is.
            {"payload": {"call": "text"}, "payload.call": dict(told)},
        )
    ]

    assert rows == ["/a", "/a", None]


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"text": "x"}, {"text": "y"}]},
        {"content": [{"text": ""}]},
        {"content": [{}]},
        {"content": []},
        {"content": ["x"]},
        {"content": "x"},
        {"content": None},
        {"content": {"0": {"text": "x"}}},
        {"content": {"0.text": "x"}},
        {"content": [{}], "content.0": {"text": "x"}},
        {"content.0.text": "x"},
        {"content": [{"text": {"a": 1}}]},
        None,
    ],
)
def test_a_function_reads_what_the_selector_of_an_element_means(message):
    form = mapping('[[source.event]]\ntype = "=plan"\nmeta = {found = "message.content.0.text"}')
    for record in ({"message": message}, {"message": message, "message.content.0.text": "z"}):
        _, trace = form.trace(json.loads(json.dumps(record)), 0, FileContext("/logs/a.jsonl", 1000))

        assert trace.events[0].payload.get("found") == select("message.content.0.text", record)


# Selectors.


@pytest.mark.parametrize(
    ("selector", "record", "expected"),
    [
        ("a", {"a": 1}, 1),
        ("a.b", {"a": {"b": "x"}}, "x"),
        ("a.b.c", {"a": {"b": {"c": [1]}}}, [1]),
        ("record.a", {"a": 1}, 1),
        ("record", {"a": 1}, {"a": 1}),
        # Keys with dots: the next name first, then the longest that has dots.
        ("a.b", {"a.b": 1}, 1),
        ("a.b.c", {"a": {"b.c": 1}}, 1),
        ("a.b.c", {"a.b": {"c": 1}}, 1),
        ("a.b.c", {"a.b.c": 1}, 1),
        ("a.b", {"a": {"b": 1}, "a.b": 2}, 1),
        ("a.b.c", {"a.b.c": 1, "a.b": {"c": 2}}, 1),
        ("a.b.c", {"a": {"b": {"x": 1}}, "a.b.c": 2}, 2),
        ("a.b.c.d", {"a": {"b.c": {"d": 1}}}, 1),
        # Places in arrays.
        ("a.0", {"a": ["x", "y"]}, "x"),
        ("a.-1", {"a": ["x", "y"]}, "y"),
        ("a.1.b", {"a": [0, {"b": "x"}]}, "x"),
        ("a.2", {"a": ["x", "y"]}, None),
        ("a.-3", {"a": ["x", "y"]}, None),
        ("a.x", {"a": ["x"]}, None),
        ("a.0", {"a": {"0": "x"}}, "x"),
        # What is not there, null and empty text count as nothing; other empty values do not.
        ("a", {}, None),
        ("a", {"a": None}, None),
        ("a", {"a": ""}, None),
        ("a.b", {"a": ""}, None),
        ("a.b", {"a": "b"}, None),
        ("a.b", {"a": {"b": ""}}, None),
        ("a.b.c", {"a": {"b": {"c": ""}}}, None),
        ("a", {"a": 0}, 0),
        ("a", {"a": False}, False),
        ("a", {"a": []}, []),
        # Constants.
        ("=a.b", {"a": 1}, "a.b"),
        ("=", {}, ""),
        (7, {}, 7),
        (True, {}, True),
        # Templates.
        ("{a}/{b.c}", {"a": "x", "b": {"c": 7}}, "x/7"),
        ("v{a}", {"a": True}, "vtrue"),
        ("{a}/{b}", {"a": "x"}, None),
        ("{a}/{b}", {"a": "x", "b": ""}, None),
        ("{a}", {"a": {"b": 1}}, None),
        # The first of several.
        (["a", "b"], {"b": 2}, 2),
        (["a", "b"], {"a": 1, "b": 2}, 1),
        (["a", "{b}-", "=x"], {}, "x"),
        (["a", ["b", "c"]], {"c": 3}, 3),
        ("a | b.c", {"b": {"c": 1}}, 1),
        ("a | =x", {}, "x"),
        ("{a | b}!", {"b": "x"}, "x!"),
        # A part of a text, and what depends on a condition.
        ({"value": "a", "pattern": "^v([0-9]+)"}, {"a": "v12.3"}, "12"),
        ({"value": "a", "pattern": "[0-9]+"}, {"a": "v12.3"}, "12"),
        ({"value": "a", "pattern": "^x"}, {"a": "v12"}, None),
        ({"value": "a", "pattern": "x*"}, {"a": "v12"}, None),
        ({"value": "a", "pattern": "2"}, {"a": 12}, "2"),
        ({"value": "a", "pattern": "2"}, {"a": ["2"]}, None),
        ({"value": "a", "when": {"b": 1}}, {"a": "x", "b": 1}, "x"),
        ({"value": "a", "when": {"b": 1}}, {"a": "x", "b": 2}, None),
        ([{"value": "=x", "when": {"b": 1}}, "a"], {"a": "y"}, "y"),
        ({"value": ["a", "b"]}, {"b": "y"}, "y"),
    ],
)
def test_a_selector_finds(selector: object, record: object, expected: object) -> None:
    found = select(selector, record)
    assert found == expected
    assert type(found) is type(expected)


def test_a_selector_looks_into_its_scope() -> None:
    names = {"path": {"host": "h"}, "file": {"owner": 7}, "item": {"a": "i"}}
    record = {"a": "r", "item": {"a": "ri"}, "path": {"host": "no"}}
    assert select("path.host", record, **names) == "h"
    assert select("file.owner", record, **names) == 7
    assert select("item.a", record, **names) == "i"
    assert select("record.item.a", record, **names) == "ri"
    assert select("{path.host}/{item.a}/{a}", record, **names) == "h/i/r"


def test_a_selector_looks_into_the_memory() -> None:
    kept = {"session": {"": "s1"}, "tool": {"c1": "Read"}}
    assert select("kept.session", {}, kept) == "s1"
    assert select("kept.tool[id]", {"id": "c1"}, kept) == "Read"
    assert select("kept.tool[id]", {"id": "c2"}, kept) is None
    assert select("kept.tool[id]", {}, kept) is None
    assert select("kept.tool[a | id]", {"id": "c1"}, kept) == "Read"
    assert select("kept.tool[{a}{b}]", {"a": "c", "b": 1}, kept) == "Read"
    assert select("kept.tool", {}, kept) is None


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "a..b",
        ".a",
        "a.",
        "{a",
        "a}",
        "{}",
        "{a}}",
        "kept",
        "kept.nothing",
        "kept.tool[",
        ["a", ""],
        [],
        {},
        "a." * 20 + "a",
        {"a": "b"},
        {"value": "a", "patern": "x"},
        {"pattern": "x"},
        {"value": "a", "pattern": "("},
        {"value": "a", "pattern": 7},
        {"value": "a", "when": 7},
    ],
)
def test_a_selector_that_means_nothing_is_refused(selector: object) -> None:
    with pytest.raises(SelectorError):
        compile_value(selector, (), frozenset({"tool"}))


def test_a_selector_knows_its_paths() -> None:
    assert paths_of("=a.b") == ()
    assert paths_of("a.b") == ("a.b",)
    assert paths_of("a | {b}/{c | d}") == ("a", "b", "c", "d")
    assert paths_of("kept.x") == ("kept.x",)
    assert paths_of("kept.x[item.id | a]") == ("kept", "item.id", "a")


keys = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c", "0", "-1"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


def naive(value: object, names: list[str]) -> object:
    """Follow names as the documentation says it, without any thought of speed."""
    if not names:
        return value
    if isinstance(value, list):
        try:
            return naive(value[int(names[0])], names[1:])
        except (ValueError, IndexError):
            return None
    if not isinstance(value, dict):
        return None
    if names[0] in value:
        found = naive(value[names[0]], names[1:])
        if found is not None or len(names) == 1:
            return found
    for end in range(len(names), 1, -1):
        if ".".join(names[:end]) in value:
            return naive(value[".".join(names[:end])], names[end:])
    return None


@given(values, st.lists(st.sampled_from(["a", "b", "c", "0", "-1"]), min_size=1, max_size=4))
def test_a_path_finds_what_the_documentation_says(value: object, names: list[str]) -> None:
    expected = naive(value, names)
    found = select(".".join(names), value)
    assert repr(found) == repr(None if expected == "" else expected)


# Conditions.


@pytest.mark.parametrize(
    ("condition", "record", "expected"),
    [
        ({"a": "x"}, {"a": "x"}, True),
        ({"a": "x"}, {"a": "y"}, False),
        ({"a": "x"}, {}, False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": ["x", "y"]}, {"a": "y"}, True),
        ({"a": ["x", 2]}, {"a": 2}, True),
        ({"a": ["x", "y"]}, {"a": ["x"]}, False),
        ({"a": {"present": True}}, {"a": 0}, True),
        ({"a": {"present": True}}, {"a": None}, False),
        ({"a": {"present": True}}, {"a": ""}, False),
        ({"a": {"present": False}}, {}, True),
        ({"a": {"pattern": "^x"}}, {"a": "xy"}, True),
        ({"a": {"pattern": "^x"}}, {"a": "yx"}, False),
        ({"a": {"pattern": "1"}}, {"a": 1}, False),
        ({"a": {"pattern": "end"}}, {"a": "x" * 4093 + "end"}, True),
        ({"a": {"pattern": "end"}}, {"a": "x" * 4094 + "end"}, False),
        ({"a": {"not": "x"}}, {"a": "y"}, True),
        ({"a": {"not": "x"}}, {}, True),
        ({"a": {"not": ["x", "y"]}}, {"a": "y"}, False),
        ({"a": {"not": {"pattern": "^x"}}}, {"a": "xy"}, False),
        ({"a": {"not": {"present": True}}}, {}, True),
        ({"a": "x", "b": "y", "c.d": 1}, {"a": "x", "b": "y", "c": {"d": 1}}, True),
        ({"a": "x", "b": "y", "c.d": 1}, {"a": "x", "b": "y", "c": {"d": 2}}, False),
        ([{"a": "x"}, {"b": "y"}], {"b": "y"}, True),
        ([{"a": "x"}, {"b": "y"}], {"a": "y", "b": "x"}, False),
        ({"a | b": "x"}, {"b": "x"}, True),
        ({"{a}-{b}": "1-2"}, {"a": 1, "b": 2}, True),
        ({"a.0.b": "x"}, {"a": [{"b": "x"}]}, True),
        ({}, {}, True),
    ],
)
def test_a_condition_holds(condition: object, record: object, expected: bool) -> None:
    assert compile_condition(condition).test(Scope({"record": record})) is expected


@pytest.mark.parametrize(
    "condition",
    [
        [],
        7,
        "a",
        {"a": {}},
        {"a": {"is": 1}},
        {"a": {"present": 1}},
        {"a": {"present": True, "not": 1}},
        {"a": []},
        {"a": [[]]},
        {"a": {"pattern": "("}},
        {"a": {"pattern": 1}},
        {"a": {"not": {}}},
        {"a..b": 1},
    ],
)
def test_a_condition_that_means_nothing_is_refused(condition: object) -> None:
    with pytest.raises(SelectorError):
        compile_condition(condition)


@given(values, values)
def test_a_condition_never_raises(first: object, second: object) -> None:
    condition = compile_condition(
        [{"a": ["x", 1], "b.0": {"not": {"pattern": "^a"}}}, {"a.b": True, "c": {"present": False}}]
    )
    assert condition.test(Scope({"record": {"a": first, "b": second}})) in (True, False)


# What is spelled out as source says the same.

SPELLED_VALUES = [
    "a",
    "a.b",
    "a.b.c",
    "a.0",
    "record.a.b",
    "item.a",
    "item.b.c",
    "item",
    "=x'\\",
    7,
    True,
    "{a}-{item.b}",
    "{a.b}",
    "a | b.c | =x",
    ["a.b", ["b", "c"], "=y"],
    "kept.s",
    "kept.t[a.b]",
    "kept.t[{a}{b}]",
    "{kept.s}/{a | b}",
    {"value": "a", "when": {"b": "x", "c": {"present": True}}},
    {"value": ["a", {"value": "b", "when": [{"a": ["x", "y"]}, {"a.b": True}]}]},
    {"value": "a", "pattern": "([a-z])"},
    {"value": "{a}{b}", "when": {"item.a": {"not": {"pattern": "x"}}, "c": {"not": [1, "x"]}}},
    [[[[[[[[["a"], "b"], "c"], "a.b"], "b.c"], "item.a"], "item.b"], "kept.s"], "=z"],
    ["a.b.c", "a.c", "b.c.a", "item.a.b.c", "item.b.c.a", "a.b.c"],
    {"value": "a", "decode": "json"},
    {"value": "a", "pattern": "x(y?)", "decode": "json", "when": {"b": {"has": ["x", "y"]}}},
    {"value": "a", "when": {"b": [1, "x", True], "c": {"has": "x"}}},
    {"value": "a | b.c | item.b", "when": {"a | b.c | item.b": {"not": ""}, "path.host": "h"}},
    " | ".join(["a.b", "b"] * 20),
    "b.0.a",
    ["a.0", "b.0.c"],
    "c | b.c | a | a.b | item.a.b | item.c",
    "other.a",
]


records = st.dictionaries(keys, values, max_size=4)


def _made(make: Callable[[Code], str]) -> Callable[[Scope], Any]:
    """Return a function of what is written where one item is in hand."""
    code = Code(("item",), frozenset({"s", "t"}))
    with code.loop("item", "[batch.item]"):
        expression = make(code)
        code.line(f"return {expression}")
    read = code.function("record, batch")

    def called(scope: Scope) -> Any:
        names = scope.names
        batch = SimpleNamespace(item=names.get("item"), kept=scope.kept, path={"host": "h"}, file={})
        return read(names["record"], batch)

    return called


@given(records, values)
def test_an_expression_gives_what_the_selector_gives(record: object, item: object) -> None:
    kept = {"s": {"": "s1"}, "t": {"x": "tx", "1": "t1", "true": "tt"}}
    scope = Scope({"record": record, "item": item, "path": {"host": "h"}, "file": {}}, kept)
    for value in SPELLED_VALUES:
        compiled, read = _compiled(json.dumps(value))
        expected = compiled(scope)
        assert repr(read(scope)) == repr((expected, to_text(expected), to_number(expected))), value


def test_a_template_takes_a_bounded_part_of_each_text() -> None:
    scope = Scope({"record": {"a": "x" * 9999}})
    read = _made(lambda code: code.value("<{a}>"))
    assert read(scope) == compile_value("<{a}>")(scope) == f"<{'x' * 4096}>"


@cache
def _compiled(value: str) -> tuple[Any, Any]:
    def make(code: Code) -> str:
        found = json.loads(value)
        # What several ask for is read once.
        code.expect([found, found])
        return f"({code.value(found)}, {code.text(found)}, {code.number(found)})"

    return compile_value(json.loads(value), ("item",), frozenset({"s", "t"})), _made(make)


@given(records, st.sampled_from(["x", "a'b\\n", "{", "1", ""]))
def test_a_condition_spelled_out_holds_where_it_does(record: object, text: str) -> None:
    conditions: list[Any] = [
        {"a": text, "b": [text, "y"], "c": True},
        {"a": {"present": True}, "b": {"not": {"present": False}}},
        [{"a.b": 1}, {"a": {"pattern": "^[a-z]|^$"}}, {"b": {"not": text}, "c": {"has": [text]}}],
        {"a": ["", 1, True]},
        {"a | =0": {"not": [0, "0", text]}},
        {"a": [1, "x", True], "b": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not": 1}}}}}}}}},
        {"a": {"pattern": "x*"}},
        {"a": {"has": text}},
        {},
    ]
    scope = Scope({"record": record})
    for condition in conditions:
        spelled = _made(lambda code, condition=condition: code.condition(condition))(scope)
        assert bool(spelled) is compile_condition(condition).test(scope), condition


# Fields of events.


def test_a_tool_call_has_its_fields() -> None:
    form = mapping(
        """
[[source.event]]
agent = "who"
role = "=builder"
session = "run"
time = "at"
id = "uuid"
call_id = "call"
tool = "tool"
arguments = "args"
meta = {a = "x.y", b = "gone"}
outcome = {error = {failed = true}, refused = {denied = true}}
duration_ms = "took"
tokens = {input = {sum = ["in", "cached"]}, output = "out"}
entities = [{kind = "host", role = "sink", value = "hosts"}, {kind = "path", role = "source", value = "p"}]
seq = "no"
"""
    )
    record = {
        "who": "a/1",
        "run": "r",
        "at": TIME,
        "uuid": "u",
        "call": "c",
        "tool": "Read",
        "args": {"k": 1},
        "x": {"y": "z"},
        "failed": True,
        "took": "12.5",
        "in": 3,
        "cached": "4",
        "out": 5,
        "hosts": ["h1", 7, ""],
        "p": "/p",
        "no": 9,
    }
    rows = read(form, record)
    assert (rows.agent_ids, rows.at_us, rows.event_types) == (["a/1"], [TIME_US], ["file_read"])
    assert (rows.sessions, rows.tool_calls, rows.seqs) == ({0: "r"}, [0], {0: 9})
    facts = rows.facts[0]
    assert (facts.tool, facts.role, facts.call_id, facts.outcome) == ("Read", "builder", "c", "error")
    assert (facts.duration_ms, facts.input_tokens, facts.output_tokens) == (12.5, 7, 5)
    assert facts.entities == (("host", "sink", "h1"), ("host", "sink", "7"), ("path", "source", "/p"))
    (_, digest) = rows.identities[0]
    assert read(form, {**record, "x": {"y": 0}, "at": "x"}).identities[0][1] == digest, "not content"
    assert read(form, {**record, "args": {"k": 2}}).identities[0][1] != digest
    assert read(form, {**record, "tool": "Write"}).identities[0][1] != digest
    assert rows.entropies[0] > 0
    _, trace = form.trace(record, 0, FileContext("/a", 0))
    assert trace.events[0].payload == {"a": "z", "tool": "Read", "args": {"k": 1}}


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"denied": True, "failed": True}, "refused"),
        ({"failed": True}, "error"),
        ({"fine": 1}, "ok"),
        ({}, ""),
    ],
)
def test_an_outcome_is_the_first_whose_condition_holds(record: dict[str, Any], outcome: str) -> None:
    form = mapping(
        """[[source.event]]
tool = "=x"
outcome = {ok = {fine = 1}, error = {failed = true}, refused = {denied = true}}"""
    )
    assert read(form, record).facts[0].outcome == outcome


def test_an_outcome_may_be_told() -> None:
    form = mapping('[[source.event]]\ntool = "=x"\noutcome = "how"')
    told = [read(form, {"how": how}).facts[0].outcome for how in ("refused", "error", "ok", "odd", 7)]
    assert told == ["refused", "error", "ok", "", ""]


def test_a_type_makes_an_event_that_is_no_tool_call() -> None:
    rows = read(mapping('[[source.event]]\ntype = "=error"\ntool = "tool"'), {"tool": "Read"}, {})
    assert (rows.event_types, rows.tool_calls) == (["error", "error"], [])
    assert [rows.facts[row].tool for row in (0, 1)] == ["Read", ""]
    rows = read(mapping('[[source.event]]\ntype = "t"'), {"t": "a\nb"}, {"t": "x" * 200}, {})
    assert rows.event_types[0] == "a\\nb"
    assert len(rows.event_types[1]) == 128
    assert rows.event_types[2] == "other"


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("", TIME, TIME_US),
        ("", "2026-01-02T04:04:05+01:00", TIME_US),
        ("", TIME_US // 1_000_000, TIME_US),
        ("", TIME_US // 1000, TIME_US),
        ("", TIME_US, TIME_US),
        ("", TIME_US * 1000, TIME_US),
        ("", str(TIME_US * 1000), TIME_US),
        ("", [TIME_US // 1_000_000, 1_000_000], TIME_US + 1000),
        ("ms", 1_500, 1_500_000),
        ("s", "1.5", 1_500_000),
        ("ns", 1_500_000, 1_500),
        ("us", 1_500, 1_500),
        ("", "yesterday", None),
        ("", "", None),
        ("", None, None),
        ("", {"a": 1}, None),
        ("", [1], None),
        ("", [1, "x"], None),
        ("", True, None),
        ("", "9" * 40, None),
    ],
)
def test_a_time_is_read(unit: str, value: object, expected: int | None) -> None:
    head = f'time_unit = "{unit}"' if unit else ""
    assert read(mapping('[[source.event]]\ntool = "=x"\ntime = "at"', head), {"at": value}).at_us == [
        expected
    ]


def test_a_duration_may_stand_between_two_times() -> None:
    form = mapping('[[source.event]]\ntool = "=x"\nduration_ms = {from = "a", to = "b"}')
    ends = [{"a": TIME, "b": "2026-01-02T03:04:06.5Z"}, {"a": TIME}, {"a": TIME, "b": "2025-01-01T00:00:00Z"}]
    assert [read(form, end).facts[0].duration_ms for end in ends] == [1500, None, None]
    form = mapping('[[source.event]]\ntool = "=x"\nduration_ms = "d"')
    assert read(form, {"d": {"secs": 1, "nanos": 500_000_000}}).facts[0].duration_ms == 1500


@pytest.mark.parametrize(
    "value",
    [
        10**400,
        -(10**400),
        1e308,
        -1e308,
        {"secs": 10**400, "nanos": 0},
        {"secs": 0, "nanos": 10**400},
        [10**400, 0],
        [0, 10**400],
        [1e308, 1e308],
    ],
)
def test_numbers_beyond_all_measure_are_none(value: object) -> None:
    assert to_number(value) is None
    for factor in (None, 0.001, 1, 1000, 1e6):
        assert to_instant(value, factor) is None


@given(values)
def test_numbers_and_times_never_raise(value: object) -> None:
    number = to_number(value)
    assert number is None or number == number
    assert to_instant(value, None) is None or type(to_instant(value, None)) is int
    assert to_instant(value, 0.001) is None or type(to_instant(value, 0.001)) is int


def test_defaults_hold_where_an_event_says_nothing_else() -> None:
    form = mapping(
        """
[source.defaults]
agent = "who"
time = "part.at"
arguments = "part.args"
[[source.event]]
when = {type = "a"}
tool = "=x"
[[source.event]]
each = {part = "parts"}
when = {type = "b"}
tool = "part.tool"
agent = "=other"
"""
    )
    rows = read(
        form,
        {"type": "a", "who": "w", "part": {"at": TIME}},
        {"type": "b", "who": "w", "parts": [{"at": TIME, "tool": "Read"}]},
    )
    assert rows.agent_ids == ["w", "other"]
    assert rows.at_us == [None, TIME_US], "a default that speaks of an item is for events that have it"


def test_agents_get_ids_that_can_be_ids() -> None:
    form = mapping('[[source.event]]\ntool = "=x"\nagent = "who"')
    odd = read(
        form, {"who": "a b"}, {"who": "a-b"}, {"who": "a b"}, {"who": ""}, {"who": "x" * 500}, {"who": 7}
    )
    first, plain, again, nothing, long, number = odd.agent_ids
    assert first == again == agent_id("a b")
    assert first.startswith("a-b~")
    assert (plain, nothing, number) == ("a-b", "test", "7")
    assert len(long) == 128


@given(st.text(max_size=300), st.text(max_size=300))
def test_different_texts_are_different_agents(first: str, second: str) -> None:
    assert (agent_id(first or "x") == agent_id(second or "x")) == ((first or "x") == (second or "x"))


def test_the_path_gives_named_parts_and_the_file_its_name() -> None:
    form = mapping(
        '[[source.event]]\ntool = "=x"\nagent = "{path.host}.{path.user}"\n'
        'session = "{file.name}-{file.owner}"',
        'glob = ["**/runs/{host}/{user}/*.jsonl"]',
    )
    rows = read(form, {}, path="/data/runs/h1/u1/deep/b.jsonl")
    assert (rows.agent_ids, rows.sessions) == (["h1.u1"], {0: "b.jsonl-1000"})
    assert read(form, {}, path="/data/b.jsonl").agent_ids == ["test"]


def test_the_role_of_the_configuration_comes_first() -> None:
    form = mapping('[[source.event]]\ntool = "=x"\nrole = "=builder"')
    assert read(form, {}).facts[0].role == "builder"
    assert read(form, {}, role="tester").facts[0].role == "tester"


# Which records are which events.

KINDS = 'kind = {record = "type", part = "part.type"}'
PARTS = """
[[source.event]]
each = {part = "message.parts"}
when = {type = "say", "part.type" = "call"}
tool = "part.tool"
session = "run"
[[source.event]]
each = {part = "message.parts"}
when = {type = "say", "part.type" = "text"}
emit = false
note = "words"
[[source.event]]
when = {type = "end"}
emit = false
"""


def test_each_item_of_a_record_is_an_event() -> None:
    form = mapping(PARTS, KINDS)
    call, text, odd = {"type": "call", "tool": "Read"}, {"type": "text"}, {"type": "odd"}
    rows = read(
        form,
        {"type": "say", "run": "r", "message": {"parts": [call, text, call, odd, 7, None]}},
        {"type": "say", "run": "r", "message": {"parts": call}},
        {"type": "say", "message": {"parts": "text"}},
        {"type": "say"},
        {"type": "end"},
        {"type": "new"},
        {},
    )
    assert (rows.offsets, rows.sessions) == ([0, 0, 1], dict.fromkeys(range(3), "r"))
    assert rows.ignored == [2, 3, 4, 5, 6]
    assert rows.unknown == [
        *[(0, "part:odd"), (0, "part:(unnamed)"), (0, "part:(unnamed)")],
        *[(5, "new"), (6, "(unnamed)")],
    ]


def test_items_may_be_nested_and_see_what_is_around_them() -> None:
    form = mapping(
        """
[[source.event]]
each = {resource = "resources", scope = "resource.scopes", span = "scope.spans"}
when = {"scope.name" = "s", "span.kind" = "tool", version = 1}
tool = "span.tool"
agent = "{resource.host}/{scope.name}"
"""
    )
    spans = [{"kind": "tool", "tool": "Read"}, {"kind": "else"}]
    resources = [
        {"host": "h1", "scopes": [{"name": "s", "spans": spans}, {"name": "t", "spans": spans}]},
        {"host": "h2", "scopes": {"name": "s", "spans": spans}},
        {"host": "h3"},
    ]
    assert read(form, {"resources": resources, "version": 1}).agent_ids == ["h1/s", "h2/s"]
    assert len(read(form, {"resources": resources, "version": 2})) == 0


def test_one_record_may_be_several_events() -> None:
    form = mapping(
        """
[[source.event]]
tool = "=Read"
[[source.event]]
when = {cost = {present = true}}
type = "=model_call"
"""
    )
    rows = read(form, {"cost": 1}, {})
    assert (rows.event_types, rows.offsets) == (["file_read", "model_call", "file_read"], [0, 0, 1])


@pytest.mark.parametrize("each", ["", 'each = {part = "parts"}'])
def test_otherwise_counts_where_the_tables_before_it_do_not(each: str) -> None:
    name = "part.n" if each else "n"
    form = mapping(
        f"""
[[source.event]]
{each}
when = {{"{name}" = {{present = true}}}}
type = "=seen"
[[source.event]]
{each}
when = {{"{name}" = 1}}
type = "=one"
[[source.event]]
{each}
otherwise = true
when = {{"{name}" = [1, 2]}}
type = "=two"
[[source.event]]
{each}
otherwise = true
type = "=more"
"""
    )
    numbers = [{"n": number} for number in (1, 2, 3)]
    rows = read(form, {"parts": numbers}) if each else read(form, *numbers)
    assert rows.event_types == ["seen", "one", "seen", "two", "seen", "more"]


def test_what_is_ignored_says_why() -> None:
    form = mapping(PARTS, KINDS)
    record = {"type": "say", "message": {"parts": [{"type": "text"}, {"type": "call", "tool": "Read"}]}}
    rows, trace = form.trace(record, 3, FileContext("/a", 0))
    assert trace.ignored == ["words"]
    assert [event.label for event in trace.events] == ['type = "say", part.type = "call"']
    assert rows.offsets == [3]


def test_records_that_say_nothing_are_passed_over_and_named_all_the_same() -> None:
    form = mapping(
        """
[[source.event]]
when = {type = "call"}
tool = "=Read"
[[source.event]]
when = {type = "said", kind = "text"}
emit = false
note = "what was said"
[[source.event]]
when = {type = "said"}
emit = false
note = "something else"
""",
        'kind = "type"',
    )
    form.check()
    dispatch = form._dispatches[None]
    assert dispatch.walk_of(("said",), is_traced=False) is None
    assert dispatch.walk_of((True,), is_traced=False) is not None
    rows = read(form, {"type": "said", "kind": "text"}, {"type": "call"}, {"type": "else"})
    assert (rows.ignored, rows.unknown, rows.offsets) == ([0, 2], [(2, "else")], [1])
    _, trace = form.trace({"type": "said", "kind": "text"}, 0, FileContext("/logs/a.jsonl", 1000))
    assert trace.ignored == ["what was said", "something else"]


def test_a_record_of_too_many_items_ends_somewhere() -> None:
    form = mapping('[[source.event]]\neach = {a = "l", b = "record.l", c = "record.l"}\ntool = "=x"')
    rows = read(form, {"l": [{}] * 200}, {"l": [{}]})
    assert rows.unknown == [(0, "too many items")]
    assert rows.offsets.count(0) == 20_000
    assert rows.offsets.count(1) == 1


# Embedded values.


def test_embedded_values_are_decoded() -> None:
    form = mapping(
        """
[[source.event]]
when = {"args.kind" = "x"}
decode = {args = "json", "otel.attributes" = "otel", pairs = "pairs"}
tool = "otel.attributes.gen_ai.tool.name"
arguments = "args"
session = "pairs.run"
"""
    )
    attributes = [
        {"key": "gen_ai.tool.name", "value": {"stringValue": "Read"}},
        {"key": "n", "value": {"intValue": "7"}},
        {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": True}]}}},
        {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"doubleValue": 0.5}}]}}},
        {"odd": 1},
    ]
    record = {"args": '{"kind": "x"}', "otel": {"attributes": attributes}, "pairs": [["run", "r"], [1, 2], 3]}
    copy = json.loads(json.dumps(record))
    rows, trace = form.trace(copy, 0, FileContext("/a", 0))
    assert trace.events[0].payload == {"tool": "Read", "args": {"kind": "x"}}
    assert rows.sessions == {0: "r"}
    decoded = copy["otel"]["attributes"]
    assert decoded == {"gen_ai.tool.name": "Read", "n": 7, "l": [True], "m": {"k": 0.5}}
    assert len(read(form, {"args": "{kind", "otel": 7, "pairs": "x"})) == 0


@given(st.text(max_size=4) | values.map(json.dumps).map(lambda text: " " + text))
def test_text_is_decoded_where_it_is_json(text: str) -> None:
    found = decode_value(text)
    assert repr(from_json(text)) == repr(text if found is None else found)


def test_items_are_decoded_before_their_conditions() -> None:
    form = mapping(
        """
[source.defaults]
decode = {"part.args" = "json"}
[[source.event]]
each = {part = "parts"}
when = {"part.args.kind" = "x"}
tool = "=Read"
arguments = "part.args"
"""
    )
    rows = read(form, {"parts": [{"args": '{"kind": "x"}'}, {"args": "[]"}, {"args": '{"kind": "y"}'}]})
    assert len(rows) == 1


@given(values)
def test_decoders_never_raise(value: object) -> None:
    form = mapping(
        '[[source.event]]\ndecode = {a = "json", b = "otel", c = "pairs"}\ntool = "=x"\narguments = "record"'
    )
    rows = form.rows(
        Decoded([{"a": value, "b": [value, {"key": "k", "value": value}], "c": value}], [0], [], []),
        FileContext("/a", 0),
    )[0]
    assert len(rows) == 1


# Memory.

MEMORY = """
[source.defaults]
session = "kept.session"
[[source.event]]
when = {type = "start"}
emit = false
remember.session = ["kept.session", "id"]
[[source.event]]
when = {type = "call"}
tool = "tool"
remember.tool = {key = "id", value = "tool"}
[[source.event]]
when = {type = "fail"}
type = "=error"
tool = "kept.tool[id]"
[[source.event]]
when = {type = "late", "kept.tool[id]" = {present = false}}
tool = "=Read"
"""


def test_what_is_remembered_serves_later_records() -> None:
    rows = read(
        mapping(MEMORY),
        {"type": "call", "tool": "Early", "id": "c0"},
        {"type": "start", "id": "s1"},
        {"type": "call", "tool": "Read", "id": "c1"},
        {"type": "start", "id": "s2"},
        {"type": "fail", "id": "c1"},
        {"type": "fail", "id": "c9"},
        {"type": "late", "id": "c1"},
        {"type": "late", "id": "c9"},
    )
    assert rows.sessions == dict.fromkeys(range(1, 5), "s1"), "the first header counts"
    assert [rows.facts[row].tool for row in range(5)] == ["Early", "Read", "Read", "", "Read"]
    assert rows.event_types == ["tool_call", "file_read", "error", "error", "file_read"]


def test_memory_outlives_a_restart() -> None:
    form, context = mapping(MEMORY), FileContext("/a", 0)
    head = [{"type": "start", "id": "s1"}, {"type": "call", "tool": "Read", "id": "c1"}]
    rows, _ = form.rows(Decoded(head, [0, 10], [], []), context)
    stored = grown(b"", rows.remembered)
    assert stored == dump(context.memory)
    after, _ = form.rows(
        Decoded([{"type": "fail", "id": "c1"}], [20], [], []), FileContext("/a", 0, "", load(stored))
    )
    assert (after.facts[0].tool, after.sessions[0]) == ("Read", "s1")
    # Up to an offset: what stood behind it is not known there.
    assert load(grown(b"", [item for item in rows.remembered if item.offset < 10])) == {"session": {"": "s1"}}


def test_what_stays_the_same_is_not_stored_again() -> None:
    rows = read(mapping(MEMORY), *[{"type": "start", "id": "s1"}] * 5)
    assert len(rows.remembered) == 1


def test_memory_is_bounded() -> None:
    form = mapping(MEMORY)
    calls = [{"type": "call", "tool": "T" * 9999, "id": str(number)} for number in range(MAX_KEYS + 10)]
    context = FileContext("/a", 0)
    long = {"type": "call", "tool": "Read", "id": "k" * (MAX_TEXT + 1)}
    form.rows(Decoded([*calls, long], list(range(len(calls) + 1)), [], []), context)
    tools = context.memory["tool"]
    assert len(tools) == MAX_KEYS
    assert next(iter(tools)) == "10"
    assert max(map(len, tools.values())) == MAX_TEXT


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", "k", "l"]), st.text(max_size=3)), max_size=9
    )
)
def test_memory_is_the_same_in_one_piece_and_in_many(additions: list[tuple[str, str, str]]) -> None:
    form = mapping(
        """
[[source.event]]
when = {type = "r"}
emit = false
remember.a = "a"
remember.b = {key = "key", value = "b"}
remember.c = {key = "key", value = "c"}
"""
    )
    records = [{"type": "r", name: value, "key": key} for name, key, value in additions]
    whole = FileContext("/a", 0)
    form.rows(Decoded([dict(record) for record in records], list(range(len(records))), [], []), whole)
    stored = b""
    for record in records:
        rows, _ = form.rows(Decoded([dict(record)], [0], [], []), FileContext("/a", 0, "", load(stored)))
        stored = grown(stored, rows.remembered)
    assert load(stored) == whole.memory


# Finding the tables of a record.


DISPATCHED = """
kind = {record = "type", part = "part.k"}
[[source.event]]
when = {type = "a", sub = "x"}
type = "=1"
[[source.event]]
when = {type = ["a", "b"]}
type = "=2"
[[source.event]]
otherwise = true
when = {sub = "y"}
type = "=3"
[[source.event]]
when = [{type = "c", sub = "x"}, {type = "c", "sub" = {not = "y"}}]
type = "=4"
[[source.event]]
each = {part = "parts"}
when = [{type = "a", "part.k" = "x"}, {type = "b", "part.k" = "y"}]
type = "=5"
[[source.event]]
each = {part = "parts"}
otherwise = true
when = {type = "b"}
type = "=6"
[[source.event]]
when = {sub = {present = false}}
type = "=7"
"""


EACH_WAY = """
kind = {record = "type", item = "item.k", inner = "inner.k | item.k"}
[source.defaults]
agent = ["item.who", "inner.who", "who"]
session = "run"
time = "at"
decode = {"item.at" = "json", "inner.at" = "otel", "data.at" = "json"}
[[source.event]]
each = {item = "parts"}
when = {"item.k" = "x", "data.at.k" = "x"}
tool = "item.k"
arguments = "item.at"
id = "{run}/{item.k}"
remember.seen = {key = "item.k", value = "item.who | run"}
[[source.event]]
each = {item = "parts"}
otherwise = true
when = {"item.k" = {not = "y"}, "kept.seen[item.k]" = {present = true}}
type = "=again"
tool = "kept.seen[item.k]"
meta = {at = "item.at.k", sub = "sub"}
[[source.event]]
each = {item = "parts"}
when = {"item.k" = {present = false}}
type = "item.who"
duration_ms = {from = "at", to = "item.who"}
tokens = {input = {sum = ["item.who", "sub"]}}
[[source.event]]
each = {item = "parts", inner = "item.parts"}
when = {sub = {not = "y"}}
tool = ["inner.at.k", "inner.k"]
outcome = {error = {"item.k" = "x"}, ok = {"inner.k" = "y"}}
entities = {kind = "path", role = "sink", value = "inner.who"}
[[source.event]]
each = {item = "parts", inner = "item.parts"}
otherwise = true
when = {"inner.k" = {not = ["x", "q"]}, "item.k" = ["x", 1]}
type = "=found"
meta = {deep = "inner.at.a.b", deeper = "inner.at.b.c.a | inner.at.a"}
[[source.event]]
each = {item = "parts", inner = "item.parts"}
otherwise = true
when = {"inner.k" = "x"}
emit = false
[[source.event]]
each = {item = "parts", inner = "item.parts"}
when = {"inner.k" = {not = ["q", "x"]}}
type = "=not"
meta = {deep = "inner.at.a.b", deeper = "inner.at.b.c.a | inner.at.a"}
[[source.event]]
when = {type = "a", "data.at.k" = "x"}
type = "=8"
arguments = "data"
[[source.event]]
when = {type = {pattern = "^a"}, "kept.last" = {present = false}}
type = "=9"
remember.last = "run"
[[source.event]]
when = {type = {not = {pattern = "b"}}, sub = "x"}
type = "=10"
seq = "run"
call_id = "kept.last"
[[source.event]]
when = [{type = {pattern = "c$"}}, {type = {pattern = "d$"}, "sub" = "y"}]
type = "=11"
"""
_records = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["a", "b", "c", "zz", "ac", "ad", "x" * 70 + "c"]) | values,
        "sub": st.sampled_from(["x", "y"]) | values,
        "run": st.sampled_from(["r", "7"]) | values,
        "at": st.sampled_from([TIME, 1e9, "1712031504000", "1767323045000000000", "20260102"]) | values,
        "data": st.sampled_from([{"at": '{"k": "x"}'}, {"at": {"k": "x"}}]) | values,
        "parts": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "k": st.sampled_from(["x", "y"]) | values,
                    "who": st.sampled_from(["w", TIME]) | values,
                    "at": st.sampled_from(['{"k": 1}', [{"key": "k", "value": {"stringValue": "x"}}]])
                    | values,
                    "parts": st.lists(
                        st.fixed_dictionaries(
                            {"k": st.sampled_from(["x", "q", 1]) | values},
                            optional={"at": st.dictionaries(keys, values, max_size=3) | values},
                        ),
                        max_size=2,
                    )
                    | values,
                },
            )
            | values,
            max_size=3,
        )
        | values,
    },
)


@cache
def _two_ways(text: str) -> tuple[Mapping, SlowMapping]:
    source = tomllib.loads(f'[[source]]\nname = "test"\n{text}')["source"][0]
    return Mapping(source, classify), SlowMapping(source, classify)


@given(
    st.lists(_records, max_size=6),
    st.sampled_from([DISPATCHED, EACH_WAY, MEMORY]),
    st.sampled_from(["", "r"]),
)
def test_records_are_read_as_when_every_table_is_tried(
    records: list[dict[str, Any]], text: str, role: str
) -> None:
    compare(*_two_ways(text), records, role)


@pytest.mark.parametrize(
    "attributes",
    [
        [{"key": "gen_ai.tool.name", "value": {"stringValue": "x"}}],
        {"gen_ai.tool.name": "x"},
        {"gen_ai": {"tool": {"name": "x"}}},
        {"gen_ai.tool": {"name": "x"}},
        {"gen_ai": {"tool.name": "x"}, "gen_ai.tool.name": "y"},
        {"gen_ai": {"tool": {}}, "gen_ai.tool.name": "x"},
    ],
)
def test_attributes_are_found_however_they_are_nested(attributes: object) -> None:
    form = mapping(
        """
        [[source.event]]
        each = "spans"
        decode = {"item.attributes" = "otel"}
        when = {"item.attributes.gen_ai.tool.name" = "x"}
        type = "item.attributes.gen_ai.tool.name"
        """
    )
    assert read(form, {"spans": [{"attributes": attributes}]}).event_types == ["x"]
    assert len(read(form, {"spans": [{"attributes": {"gen_ai": "x"}}]})) == 0


@pytest.mark.parametrize(
    ("attributes", "tool"),
    [
        ({"x": {"y": "first"}, "gen_ai.tool.name": "second"}, "first"),
        ({"x.y": "first", "gen_ai": {"tool": {"name": "second"}}}, "first"),
        ({"gen_ai": {"tool": {"name": "second"}}, "tool": "last"}, "second"),
        ({"gen_ai.tool": {"name": "second"}, "x.y": ""}, "second"),
        ({"x.y": None, "tool": "last"}, "last"),
    ],
)
def test_the_first_name_that_is_there_counts_however_it_is_nested(attributes: object, tool: str) -> None:
    form = mapping(
        """
[[source.event]]
decode = {attributes = "otel"}
tool = "attributes.x.y | attributes.gen_ai.tool.name | attributes.tool"
"""
    )
    assert read(form, {"attributes": attributes}).facts[0].tool == tool


def test_of_an_item_that_is_none_of_some_texts_nothing_else_is_known() -> None:
    form = mapping(
        """
        [[source.event]]
        each = "items"
        when = {"item.k" = "x"}
        type = "=x"
        [[source.event]]
        each = "items"
        otherwise = true
        when = {"item.k" = "y"}
        type = "=y"
        [[source.event]]
        each = "items"
        when = {"item.k" = {not = ["x", "q"]}}
        type = "=not"
        [[source.event]]
        each = "items"
        when = {"item.k" = ["x", 1]}
        type = "=one"
        [[source.event]]
        each = "items"
        when = {"item.k" = {not = {present = false}}}
        type = "=there"
        """
    )
    items = [{"k": k} for k in ("x", "y", "q", "r", 1, None, "")]
    found = [read(form, {"items": [item]}).event_types for item in items]
    assert found == [
        *[["x", "one", "there"], ["y", "not", "there"], ["there"], ["not", "there"], ["not", "one", "there"]],
        *[["not"], ["not"]],
    ]


def test_what_is_decoded_is_read_anew() -> None:
    form = mapping(
        """
        [[source.event]]
        when = {"a.b" = {present = false}, "a.c | b.c" = {present = false}}
        type = "a | =nothing"
        [[source.event]]
        decode = {a = "json"}
        when = {"a.b" = "x"}
        type = "=second"
        meta = {c = "a.c | b.c"}
        """
    )
    _, trace = form.trace({"a": '{"b": "x", "c": 1}'}, 0, FileContext("/a", 0))
    assert [event.payload for event in trace.events] == [{}, {"c": 1}]


def test_beyond_the_bound_records_are_read_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentineld.dispatch._MAX_WALKS", 2)
    quick, slow = _two_ways.__wrapped__(DISPATCHED)
    records = [{"type": kind, "sub": sub} for kind in "abcd" for sub in "xyz"]
    compare(quick, slow, [*records, *records])


#: A record's event, and those of its items, with the same fields; of these the agent may change between them.
COMMON = """
glob = "**/-{slug}/*.jsonl"
[source.defaults]
time = "at"
agent = ["{path.slug}/{a}", "kept.home", "home", "a"]
session = "kept.last | s"
role = [{value = "=sub", when = {a = "x"}}, "=main"]
[[source.event]]
name = "model"
when = {type = "both"}
type = "=model_call"
remember.home = "home"
tokens = {input = {sum = ["n", "m", "inner.n"]}}
[[source.event]]
name = "call"
when = {type = ["both", "calls"]}
each = {item = "items"}
tool = "item.tool"
id = "{s}:{item.id}"
remember.last = "item.last"
"""


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["both", "calls", "else"])},
            optional={
                "at": st.sampled_from(["2026-01-02T03:04:05.678Z", 1_700_000_000, "no time", None]),
                "a": st.sampled_from(["x", "y", "", 1, ["x"], {"b": 1}]),
                "home": st.sampled_from(["h1", "h2", "", 5, None]),
                "s": st.sampled_from(["s1", "", 0, "s" * 5000]),
                "n": st.sampled_from([1, 2.5, "3", True, None, -4, 1 << 63]),
                "m": st.sampled_from([1, "x", [1]]),
                "items": st.lists(
                    st.fixed_dictionaries(
                        {"tool": st.sampled_from(["t", "", None])},
                        optional={"id": st.sampled_from(["i", 7]), "last": st.sampled_from(["l1", "l2"])},
                    ),
                    max_size=3,
                ),
                "inner": st.just({"n": 5}),
                "inner.n": st.just(6),
            },
        ),
        max_size=5,
    )
)
def test_what_events_of_a_record_have_in_common_is_what_each_would_read(
    records: list[dict[str, Any]],
) -> None:
    compare(*_two_ways(COMMON), records)


PIVOTS = """
[source.kind]
record = ["payload.type", "type"]
[[source.event]]
when = {type = "a", "payload.type" = "x"}
tool = "=ax"
[[source.event]]
when = {type = "a", "payload.type" = "y"}
tool = "=ay"
[[source.event]]
when = {type = "b", "payload.type" = ["x", "y"]}
tool = "=b"
[[source.event]]
when = {type = "a", "payload.type" = {present = false}}
tool = "=bare"
"""
_kinds: st.SearchStrategy[Any] = st.sampled_from(
    ["a", "b", "x", "y", "", "z", "z" * 300, None, True, False, 1, 1.0, 0, [], ["a"], {}, {"type": "x"}]
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "type": _kinds,
                "payload": st.one_of(_kinds, st.fixed_dictionaries({"type": _kinds})),
                "payload.type": _kinds,
            },
        ),
        max_size=8,
    )
)
def test_the_function_of_a_record_is_found_whatever_stands_for_its_kind(
    records: list[dict[str, Any]],
) -> None:
    compare(*_two_ways(PIVOTS), records)


def test_files_whose_paths_have_other_parts_are_read_in_their_own_way() -> None:
    form = mapping(
        """
        [source.defaults]
        agent = ["{path.user}/{a}", "path.host", "a"]
        [[source.event]]
        tool = "t | path.host | path.user | =none"
        """,
        'glob = ["**/h/{host}/*.jsonl", "**/u/{user}/*.jsonl", "**/b/{host}/{user}/*.jsonl"]',
    )
    for _ in range(2):
        for path, agent, bare, tool in [
            ("/h/one/a.jsonl", "one", "one", "one"),
            ("/u/two/a.jsonl", "two/A", agent_id("test"), "two"),
            ("/b/one/two/a.jsonl", "two/A", "one", "one"),
            ("/elsewhere/a.jsonl", "A", agent_id("test"), "none"),
        ]:
            rows = read(form, {"a": "A"}, {}, {"a": "A", "t": "T"}, path=path)
            assert rows.agent_ids == [agent, bare, agent], path
            assert [rows.facts[number].tool for number in range(3)] == [tool, tool, "T"], path


def test_only_so_many_kinds_of_paths_get_functions_of_their_own() -> None:
    globs = ", ".join(f'"**/{n}/{{p{n}}}/*.jsonl"' for n in range(30))
    agents = ", ".join(f'"path.p{n}"' for n in range(30))
    form = mapping(f"[[source.event]]\ntool = '=x'\nagent = [{agents}]", f"glob = [{globs}]")
    for n in range(30):
        assert read(form, {}, path=f"/{n}/agent-{n}/a.jsonl").agent_ids == [f"agent-{n}"]
    assert len(form._dispatches) <= 9


@pytest.mark.parametrize("length", [4095, 4096, 4097, 9000])
def test_a_template_takes_so_much_of_each_part(length: int) -> None:
    form = mapping('[[source.event]]\ntool = "{a}-{b}"\narguments = "a"')
    rows, trace = form.trace({"a": "x" * length, "b": "end"}, 0, FileContext("/a", 0))
    assert trace.events[0].payload["tool"] == "x" * min(length, 4096) + "-end"
    assert len(rows) == 1


@cache
def _built_in_two_ways(name: str) -> tuple[Mapping, SlowMapping]:
    source = tomllib.loads((resources.files("sentineld") / "formats" / f"{name}.toml").read_text())["source"][
        0
    ]
    taxonomy = Taxonomy().classify
    return Mapping(source, taxonomy), SlowMapping(source, taxonomy)


@pytest.mark.parametrize("name", [form.name for form in built_in(classify)])
@settings(max_examples=12)
@given(data=st.data())
def test_any_change_of_a_sample_is_read_as_when_every_table_is_tried(name: str, data: st.DataObject) -> None:
    files = samples(name)
    records = plain(data.draw(st.sampled_from(files)))[:200]
    chosen = data.draw(st.lists(st.sampled_from(records), min_size=1, max_size=4))
    compare(*_built_in_two_ways(name), [mutated(record, data) for record in chosen])


@pytest.mark.parametrize("name", [form.name for form in built_in(classify)])
def test_built_in_formats_have_no_mistakes(name: str) -> None:
    next(form for form in built_in(classify) if form.name == name).check()


def test_what_a_mapping_says_is_no_code() -> None:
    """Names, texts and patterns with all that ends a literal are read as what they are."""
    odd = ["a'b", 'a"b', "a\\", "a\nb", "{x", "')+boom('", "\u2028", "a#b"]
    for text in odd:
        event = {
            "when": {text: [text, "x"], f"{text}y.{text}z": {"present": False}},
            "type": f"={text}",
            "meta": {text: text} if "{" not in text else {},
            "id": [text if "{" not in text else "=i"],
            "session": f"kept.s[{text}]" if "{" not in text and "[" not in text else "=s",
            "remember": {"s": {"key": text if "{" not in text else "=k", "value": f"={text}"}},
            "note": text,
            "name": text,
        }
        if "{" in text:
            event["when"] = {"a": text}
        quick = Mapping({"name": "test", "event": [event]}, classify)
        record = {text: text, "a": text}
        rows, trace = quick.trace(record, 0, FileContext("/a", 0))
        assert len(rows) == 1, text
        assert trace.events[0].label == text
        assert rows.remembered[0].value == text


# Mistakes.


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ('[[source]]\nnme = "x"', "source[0].nme", "did you mean name?"),
        ('[[source]]\nname = "X y"', "source[0].name", ""),
        ('[[source]]\nname = "x"', "source[0].event", "[[source.event]]"),
        ('[[source]]\nname = "x"\nframing = "json"\n[[source.event]]\ntool = "a"', "source[0].framing", ""),
        ('[[source]]\nname = "x"\nglob = ["{a}{a}"]\n[[source.event]]\ntool = "a"', "source[0].glob", ""),
        ('[[source]]\nname = "x"\nmatch = {a = {}}\n[[source.event]]\ntool = "a"', "source[0].match", ""),
        (
            '[[source]]\nname = "x"\nkind = {part = "a"}\n[[source.event]]\ntool = "a"',
            "source[0].kind.part",
            "",
        ),
        (
            '[[source]]\nname = "x"\n[source.defaults]\nagnt = "a"\n[[source.event]]\ntool = "a"',
            "source[0].defaults.agnt",
            "did you mean agent?",
        ),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntol = "a"',
            "source[0].event[0].tol",
            "did you mean tool?",
        ),
        ('[[source]]\nname = "x"\n[[source.event]]\nsession = "a"', "source[0].event[0]", "type ="),
        ('[[source]]\nname = "x"\n[[source.event]]\ntool = "a..b"', "source[0].event[0].tool", ""),
        ('[[source]]\nname = "x"\n[[source.event]]\ntool = "kept.a"', "source[0].event[0].tool", ""),
        ('[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\nwhen = 7', "source[0].event[0].when", ""),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\nwhen = {a = {patern = "x"}}',
            "source[0].event[0].when",
            "",
        ),
        ('[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\nemit = "no"', "source[0].event[0].emit", ""),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\notherwise = true',
            "source[0].event[0].otherwise",
            "",
        ),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\ndecode = {a = "yaml"}',
            "source[0].event[0].decode.a",
            "",
        ),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\neach = {record = "b"}',
            "source[0].event[0].each",
            "",
        ),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\noutcome = {failed = {a = 1}}',
            "source[0].event[0].outcome",
            "",
        ),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\ntokens = {inputs = "a"}',
            "source[0].event[0].tokens",
            "",
        ),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\nentities = {kind = "url", role = "sink"}',
            "source[0].event[0].entities",
            "",
        ),
        (
            '[[source]]\nname = "x"\n[[source.event]]\ntool = "a"\nremember.s = {key = "a"}',
            "source[0].event[0].remember.s",
            "",
        ),
        (
            '[[source]]\nname = "x"\ntime_unit = "min"\n[[source.event]]\ntool = "a"',
            "source[0].time_unit",
            "",
        ),
        ('[[sources]]\nname = "x"', "sources", "[[source]]"),
        ('[source]\nname = "x"', "source", ""),
        ("source = 7", "source", ""),
        ("[[source", "TOML", ""),
        ('[[source]]\nname = "wordpress"\n[[source.event]]\ntool = "a"', "source[0].name", ""),
        ('[[source]]\nname = "native"\n[[source.event]]\ntool = "a"', "source[0].name", ""),
    ],
)
def test_a_mistake_names_file_key_and_what_is_right(text: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mappings(text.encode(), "my.toml", classify)
    assert str(caught.value).startswith("my.toml: ")
    assert key in str(caught.value)
    assert hint in str(caught.value.hint)


def test_a_mapping_alone_names_the_key() -> None:
    # Built-in formats have no mistakes: their tables are compiled when the first record is read.
    form = Mapping(
        {"name": "x", "event": [{"tool": "a", "when": {"b": {"pattern": "("}}}]}, classify, "source"
    )
    with pytest.raises(MappingError) as caught:
        form.check()
    assert caught.value.key == "source.event[0].when"


# Paths.


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("**/a/{x}/*.jsonl", "/r/a/b/c.jsonl", {"x": "b"}),
        ("**/a/{x}/*.jsonl", "/a/b/c/d.jsonl", {"x": "b"}),
        ("a/{x}.jsonl", "/r/s/a/c.jsonl", {"x": "c"}),
        ("a/{x}.jsonl", "/r/sa/c.jsonl", None),
        ("/a/?.json", "/a/b.json", {}),
        ("/a/?.json", "/x/a/b.json", None),
        ("*.json", "/x/a/b.json", {}),
        ("*.json", "/x/a/b.jsonl", None),
        ("**/{x}-{y}.log", "/r/a-b-c.log", {"x": "a", "y": "b-c"}),
        ("a.c", "/r/abc", None),
    ],
)
def test_a_glob_matches(glob: str, path: str, expected: dict[str, str] | None) -> None:
    found = compile_glob(glob).fullmatch(path)
    assert (None if found is None else found.groupdict()) == expected


# Whatever agents write.


def _elapsed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@pytest.mark.parametrize("glob", ["**/a/{x}/*.jsonl", "*a*b*c*.json", "**/{a}/{b}/{c}/*.jsonl"])
@pytest.mark.parametrize("part", ["/a", "a/", "/a/b", "ab", "/"])
def test_a_path_cannot_make_a_glob_slow(glob: str, part: str) -> None:
    compiled = compile_glob(glob)
    assert _elapsed(lambda: compiled.fullmatch(part * (4000 // len(part)))) < 0.5


@pytest.fixture(scope="module")
def formats() -> list[Mapping]:
    return built_in(classify)


HOSTILE = [
    "aborted by user " * 4000,
    "failed " * 8000,
    "Error: " * 8000,
    "x" * 50_000,
    "[" * 50_000,
    '{"a":' * 10_000,
    "Permission to " + "a " * 20_000 + "denied",
    "PreToolUse:" + "a" * 50_000,
    "\n" * 50_000,
    "Wall time: " * 5000,
    "<cwd>" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12].replace("\n", "N"))
def test_no_text_makes_a_format_slow(formats: list[Mapping], text: str) -> None:
    """Patterns look at a bounded part of a text, and none of them tries every way to split it."""
    records = [
        {
            "type": "user",
            "message": {"content": [{"type": "tool_result", "is_error": True, "content": text}]},
        },
        {
            "type": "response_item",
            "payload": {"type": "function_call_output", "output": text, "call_id": text},
        },
        {"type": "message", "role": "user", "content": [{"text": text}]},
        {"type": "message", "message": {"role": "toolResult", "isError": True, "content": text}},
        {
            "type": "tool.execution_complete",
            "data": {"success": False, "error": {"message": text, "code": text}},
        },
        {"hook_event_name": "PostToolUseFailure", "session_id": text, "error": text},
        {"type": text, "timestamp": text, "id": text},
    ]
    for form in formats:
        # It is compiled at its first record.
        form.rows(Decoded([{}], [0], [], []), FileContext("/a", 0))
        copies = json.loads(json.dumps(records))
        decoded = Decoded(copies, list(range(len(copies))), [], [])
        assert _elapsed(lambda d=decoded, f=form: f.rows(d, FileContext("/a", 0))) < 0.5, form.name


@given(st.dictionaries(st.sampled_from(["type", "message", "payload", "data", "id", "timestamp"]), values))
def test_no_record_makes_a_format_raise(record: dict[str, Any]) -> None:
    for form in _FORMATS:
        form.matches(record)
        rows, _ = form.rows(Decoded([json.loads(json.dumps(record))], [7], [], []), FileContext("/a", 0))
        assert len(rows) or rows.ignored == [7]


_FORMATS = built_in(classify)


# What several formats of one kind share.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", True),
        (["a", "x"], True),
        (["a", ["x"]], False),
        ([], False),
        ("xy", False),
        (None, False),
        (1, False),
    ],
)
def test_has_looks_into_arrays(value: object, expected: bool) -> None:
    for wanted in ("x", ["x", "y"]):
        condition = compile_condition({"a": {"has": wanted}})
        assert condition.test(Scope({"record": {"a": value}})) is expected
    with pytest.raises(SelectorError, match="a text or a list of texts"):
        compile_condition({"a": {"has": [1]}})


def test_a_value_that_stands_as_text() -> None:
    record = {"a": '{"b": [1]}', "c": "no json"}
    assert select({"value": "a", "decode": "json"}, record) == {"b": [1]}
    assert select({"value": "c", "decode": "json"}, record) == "no json"
    assert select([{"value": "x", "decode": "json"}, "c"], record) == "no json"
    with pytest.raises(SelectorError, match="'yaml' is none of json"):
        select({"value": "a", "decode": "yaml"}, record)


def test_definitions_stand_wherever_their_name_does() -> None:
    form = mapping(
        """
        [source.define]
        name = "item.name | item.title"
        whole = "{item.x}/{<name>}"
        [source.each]
        item = {item = "items"}
        [[source.event]]
        each = "item"
        when = {"<name>" = {present = true}, "kept.told[<whole>]" = {present = false}}
        tool = "<name>"
        meta = {pattern = "=<other>"}
        remember.told = {key = "<whole>", value = "=1"}
        [[source.event]]
        each = "item"
        otherwise = true
        emit = false
        """
    )
    rows = read(form, {"items": [{"x": 1, "name": "a"}, {"x": 1, "title": "a"}, {"x": 2, "title": "b"}, {}]})
    assert [facts.tool for facts in rows.facts.values()] == ["a", "b"]
    assert rows.unknown == []


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('define = {"a b" = "x"}', "a name with a text"),
        ("define = {a = 1}", "a name with a text"),
        ("define = 1", "a table was expected"),
        ("each = 1", "a table was expected"),
    ],
)
def test_definitions_that_mean_nothing(head: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mapping('[[source.event]]\ntype = "=x"', head)


def test_of_a_list_of_defaults_an_event_takes_what_it_can_use() -> None:
    form = mapping(
        """
        [source.defaults]
        agent = ["span.by", "log.by", "by"]
        decode = {"span.at" = "json", "log.at" = "json"}
        [[source.event]]
        each = {span = "spans"}
        type = "=s"
        meta = {at = "span.at.x"}
        [[source.event]]
        each = {log = "logs"}
        type = "=l"
        [[source.event]]
        type = "=r"
        """
    )
    rows = read(form, {"by": "c", "spans": [{"by": "a", "at": '{"x": 1}'}, {}], "logs": [{"by": "b"}]})
    assert list(zip(rows.event_types, rows.agent_ids, strict=True)) == [
        ("s", "a"),
        ("s", "c"),
        ("l", "b"),
        ("r", "c"),
    ]


def test_what_has_none_of_the_items_is_unknown_where_nothing_else_is_asked() -> None:
    form = mapping('kind = "type"\n[[source.event]]\neach = "items"\ntype = "=x"')
    assert read(form, {"type": "t"}).unknown == [(0, "t")]
    assert read(form, {"type": "t", "items": []}).unknown == []
    form = mapping('kind = "type"\n[[source.event]]\neach = "items"\nwhen = {type = "t"}\ntype = "=x"')
    assert read(form, {"type": "t"}).unknown == []


def test_tables_that_ask_for_one_value_of_an_item_keep_their_order() -> None:
    form = mapping(
        """
        kind = {item = "item.op"}
        [[source.event]]
        each = "items"
        when = {"item.op" = ["a", "b"], "item.x" = 1}
        type = "=first"
        [[source.event]]
        each = "items"
        otherwise = true
        when = [{"item.op" = "a"}, {"item.op" = {present = false}}]
        type = "=second"
        [[source.event]]
        each = "items"
        otherwise = true
        when = {"item.y" = 1}
        type = "=third"
        """
    )
    items = [
        {"op": "a", "x": 1},
        {"op": "a"},
        {},
        {"op": "b", "y": 1},
        {"op": "c", "y": 1},
        {"op": 7, "y": 1},
        {"op": "c"},
    ]
    rows = read(form, {"items": items})
    assert rows.event_types == ["first", "second", "second", "third", "third", "third"]
    assert rows.unknown == [(0, "item:c")]


_names = st.sampled_from(["a", "b", "a.b", "b.c", "a.b.c", "b.c.d", "c.d", "c", "d"])
_nested = st.recursive(
    st.none() | st.just("") | st.integers(0, 3),
    lambda inner: st.dictionaries(_names, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@given(_nested, st.lists(st.sampled_from(["a", "b", "c", "d", "0"]), min_size=1, max_size=4))
def test_every_path_finds_what_the_rule_says(record: Any, names: list[str]) -> None:
    def rule(value: Any, left: list[str]) -> Any:
        if not left:
            return value
        if isinstance(value, list):
            return rule(value[0], left[1:]) if left[0] == "0" and value else None
        if not isinstance(value, dict):
            return None
        found = rule(value.get(left[0]), left[1:])
        if found is not None:
            return found
        for count in range(len(left), 1, -1):
            if ".".join(left[:count]) in value:
                return rule(value[".".join(left[:count])], left[count:])
        return None

    expected = rule(record, names)
    assert select(".".join(names), record) == (None if expected == "" else expected)
    assert select("item." + ".".join(names), {}, item=record) == (None if expected == "" else expected)


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "key": st.text(max_size=3) | values,
                "value": st.none()
                | values
                | st.sampled_from(
                    ["stringValue", "intValue", "doubleValue", "boolValue", "arrayValue"]
                ).flatmap(
                    lambda kind: st.fixed_dictionaries(
                        {kind: st.sampled_from(["7", "-7", "²", "٣", "x", "", "9" * 30]) | values}
                    )
                ),
            },
        )
        | values,
        max_size=5,
    )
)
def test_attributes_of_telemetry_are_decoded_as_the_protocol_says(attributes: list[Any]) -> None:
    expected = {}
    for item in attributes:
        if isinstance(item, dict) and isinstance(item.get("key"), str):
            value = item.get("value")
            if isinstance(value, dict) and len(value) == 1:
                ((kind, inner),) = value.items()
                number = to_number(inner)
                if kind == "arrayValue":
                    listed = inner.get("values", []) if isinstance(inner, dict) else inner
                    inner = listed if isinstance(listed, list) or not isinstance(inner, dict) else None
                value = inner if kind != "intValue" or number is None else number
            expected[item["key"]] = value
    assert repr(from_otel(attributes)) == repr(expected)
