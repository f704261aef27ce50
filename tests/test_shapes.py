"""Shapes: items whose objects have the same names are read by functions of their own, as all others are."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_mapping import SlowMapping, compare

from sentineld import shapes
from sentineld.condition import compile_condition, compile_value
from sentineld.decode import Decoded
from sentineld.expression import Code
from sentineld.mapping import FileContext, Mapping
from sentineld.selector import RECORD, Scope, to_text
from sentineld.shapes import OuterShapes, Quota, Shapes, Variants, names_of
from sentineld.values import to_number


def classify(_tool: str, _arguments: object) -> SimpleNamespace:
    return SimpleNamespace(event_class="tool_call", entities=(), features=())


SOURCE: dict[str, Any] = {
    "name": "test",
    "each": {"call": {"group": "groups", "call": "group.calls"}},
    "kind": {"call": "call.attributes.other"},
    "defaults": {
        "decode": {"group.attributes": "otel", "call.attributes": "otel", "call.attributes.args": "json"}
    },
    "event": [
        {
            "each": "call",
            "when": {"call.attributes.op | call.op": "use", "kept.seen[call.attributes.id]": "1"},
            "emit": False,
        },
        {
            "each": "call",
            "otherwise": True,
            "when": {
                "call.attributes.op | call.op": ["use", "run"],
                "call.attributes.a.b": {"present": False},
            },
            "tool": ["call.attributes.tool.name | call.attributes.tool", "{group.attributes.tool}-{call.no}"],
            "arguments": "call.attributes.args",
            "agent": "call.attributes.who | group.attributes.who | group.who",
            "id": ["call.attributes.id", "{call.no}'{call.attributes.a.c}"],
            "call_id": "call.attributes.id",
            "outcome": {
                "error": {"call.attributes.a.c": {"not": 1}},
                "ok": {"call.attributes.who": {"has": "x"}},
            },
            "duration_ms": {"from": "call.at", "to": "call.attributes.end"},
            "tokens": {"input": {"sum": ["call.attributes.in", "call.in"]}, "output": "call.attributes.out"},
            "remember": {"seen": {"key": "{call.attributes.seen}", "value": "=1"}},
        },
        {
            "each": "call",
            "otherwise": True,
            "when": [{"call.attributes.a.b": {"pattern": "^x"}}, {"call.attributes.op": {"present": False}}],
            "type": ["call.attributes.a.b", "=other"],
            "session": "group.attributes.a.b | call.a.b",
            "meta": {"c": "call.attributes.a.c", "no": "call.no"},
        },
    ],
}
NAMES = [
    "op",
    "id",
    "a.b",
    "a.c",
    "a",
    "tool",
    "tool.name",
    "who",
    "args",
    "in",
    "out",
    "end",
    "other",
    "a.b.c",
    "seen",
]
KINDS = [
    {"stringValue": "use"},
    {"stringValue": "x1"},
    {"stringValue": ""},
    {"intValue": "7"},
    {"boolValue": True},
]
KINDS += [
    {"kvlistValue": {"values": [{"key": "b", "value": {"stringValue": "x2"}}]}},
    {"stringValue": '{"k": 1}'},
]
pairs = st.lists(
    st.fixed_dictionaries({"key": st.sampled_from(NAMES), "value": st.sampled_from(KINDS)}), max_size=8
)
odd = st.sampled_from(
    [None, "text", 7, [], {}, [["key", "value"]], [{"key": 1}], {"a": {"b": "x3"}, "a.b": 1}]
)
call = st.fixed_dictionaries(
    {},
    optional={
        "attributes": pairs | odd,
        "no": st.integers(0, 2),
        "op": st.sampled_from(["use", "run", "", None]),
        "at": st.just("2026-01-02T03:04:05Z"),
        "in": st.integers(0, 9),
        "call.attributes": odd,
        "attributes.op": st.just("use"),
        "a": odd,
    },
)
group = st.fixed_dictionaries(
    {"calls": st.lists(call | odd, max_size=4)}, optional={"attributes": pairs | odd, "who": odd}
)


@contextmanager
def soon(most: int = shapes.MAX_MADE) -> Iterator[None]:
    """Every shape gets a function at once, up to ``most`` of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "EVERY", 1)
        patch.setattr(shapes, "MIN_SEEN", 1)
        patch.setattr(shapes, "MAX_MADE", most)
        yield


@cache
def two_ways(*, is_asked: bool = False) -> tuple[Mapping, SlowMapping]:
    """Return the mapping; ``is_asked``: something is asked of the record too."""
    source = json.loads(json.dumps(SOURCE))
    if is_asked:
        source["event"][1]["when"]["mode"] = {"pattern": "^on"}
    with soon(100_000):
        form = Mapping(source, classify)
        form.check()
        return form, SlowMapping(source, classify)


@settings(max_examples=60)
@example([{"calls": [{"op": "run", "attributes": [{"key": "seen", "value": {"stringValue": "k"}}]}]}])
@given(st.lists(group | odd, max_size=3))
def test_items_of_a_shape_are_read_as_all_others_are(groups: list[Any]) -> None:
    with soon():
        compare(*two_ways(), [{"groups": groups}, {"groups": groups}])
        compare(*two_ways(is_asked=True), [{"groups": groups, "mode": mode} for mode in ("off", "on")])


def read(form: Mapping, *calls: dict[str, Any]) -> Any:
    record = {"groups": [{"calls": json.loads(json.dumps(calls))}]}
    return form.rows(Decoded([record], [0], [], []), FileContext("/a.jsonl", 1000))[0]


def attributes(**values: str) -> dict[str, Any]:
    return {"attributes": [{"key": key, "value": {"stringValue": text}} for key, text in values.items()]}


def made(monkeypatch: pytest.MonkeyPatch) -> list[shapes.Shape]:
    """Return a list that grows with every function that is made for a shape."""
    found: list[shapes.Shape] = []
    variant = Variants.variant

    def watched(self: Variants, shape: Any) -> Any:
        before = self._quota.left
        result = variant(self, shape)
        if self._quota.left < before:
            found.append(shape)
        return result

    monkeypatch.setattr(Variants, "variant", watched)
    return found


def test_a_shape_gets_a_function_when_it_has_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(monkeypatch)
    form = Mapping(SOURCE, classify)
    often = shapes.EVERY * shapes.MIN_SEEN
    for _ in range(often - 1):
        assert len(read(form, attributes(op="run", tool="t"))) == 1
    assert not found
    assert len(read(form, attributes(op="run", tool="t"))) == 1
    assert len(found) == 1
    # Names that the mapping does not speak of, and their order, make no other shape.
    for number in range(2 * often):
        assert len(read(form, attributes(tool="t", op="run", **{f"x{number}": ""}))) == 1
    assert len(found) == 1


def test_whoever_writes_ever_new_shapes_gets_no_more_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(monkeypatch)
    with soon(most=3):
        form = Mapping(SOURCE, classify)
        for number in range(200):
            names = {name: "x" for place, name in enumerate(NAMES[1:]) if number >> place & 1}
            read(form, attributes(op="run", **names, **{f"n{number}": ""}))
    assert len(found) == 3


def test_what_is_kept_of_shapes_is_bounded() -> None:
    with soon():
        place = (RECORD, ())
        variants = Variants([place, place], [frozenset("a"), frozenset("b")], lambda _: print, Quota())
        outer = OuterShapes(variants)
        for number in range(300):
            inner = outer[f"o{number}",]
            assert inner[f"i{number}", "b"] is print
        assert len(outer) <= 64
        inner = Shapes(variants, variants.names(("o",)))
        for number in range(2000):
            assert inner[f"i{number}",] is print
        assert len(inner) <= 512
        inner.clear()
        assert inner[("x" * 9999,)] is inner[tuple(map(str, range(999)))] is print
        assert not inner
        assert len(variants._made) <= 2


keys = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c", "0"])
values = st.recursive(
    st.none() | st.booleans() | st.just("x") | st.just("") | st.integers(0, 2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
SPELLED: list[Any] = [
    *(
        "a",
        "a.b",
        "a.b.c",
        "a.0",
        "a.b.0",
        "0",
        "c.b.a",
        "a | b.c | =x",
        "{a}-{b.c}",
        "kept.t[a.b]",
        "kept.s",
    ),
    *(["a.b", ["b", "c"], "=y"], ["=x", "a"], {"value": "a", "when": {"b": "x", "c": {"present": True}}}),
    *({"value": "=k", "when": {"b": {"present": False}}}, {"value": "a.b", "pattern": "x*"}),
]
CONDITIONS: list[Any] = [
    {"a": "x", "b": ["x", 1]},
    {"a.b": {"present": False}, "c": {"not": "x"}},
    [{"a.b.c": True}, {"b | c": {"pattern": "x"}}, [{"a": {"has": "x"}}]],
    {"{a}{b}": {"not": {"present": True}}},
]


@settings(max_examples=60)
@example({"a": {"b": None, "c": 1}, "a.b": {"c": 2}, "a.b.c": 3})
@example({"a": {"b": ""}, "a.b": "x"})
@example({"a": {"b.c": 1, "b": {"x": 0}}, "b": {"c": "x"}})
@given(st.dictionaries(keys, values, max_size=4))
def test_what_names_answer_is_left_out_and_the_rest_says_the_same(record: dict[str, Any]) -> None:
    inner = record.get("a")
    places = {(RECORD, ()): record, (RECORD, ("a",)): inner if isinstance(inner, dict) else {}}
    code = Code(
        (), frozenset({"s", "t"}), shapes={place: frozenset(found) for place, found in places.items()}
    )
    found = [f"({code.value(one)}, {code.text(one)}, {code.number(one)})" for one in SPELLED]
    found += [code.condition(one) for one in CONDITIONS]
    code.line(f"return [{', '.join(found)}]")

    batch = SimpleNamespace(kept={"s": {"": "s1"}, "t": {"x": "tx"}})
    scope = Scope({RECORD: record}, batch.kept)
    expected: list[Any] = []
    for one in SPELLED:
        value = compile_value(one, (), frozenset({"s", "t"}))(scope)
        expected.append((value, to_text(value), to_number(value)))
    expected += [compile_condition(one).test(scope) for one in CONDITIONS]
    assert repr(code.function("record, batch")(record, batch)) == repr(expected)


def test_names_of_an_object_are_those_that_paths_ask_for() -> None:
    paths = [(RECORD, ("a", "b", "c")), (RECORD, ("d",)), ("item", ("a", "x"))]
    assert names_of((RECORD, ()), paths) == {"a", "a.b", "a.b.c", "d"}
    assert names_of((RECORD, ("a",)), paths) == {"b", "b.c"}
    assert names_of(("item", ("a",)), paths) == {"x"}
