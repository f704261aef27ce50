"""Baseline: habits as a document; what is damaged, foreign or too large is refused."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemas import check as check_schema

from sentineld import baseline
from sentineld.baseline import Told
from sentineld.habits import Role
from sentineld.learned import Finished, Own
from sentineld.requests import Request

TOLD = Told("worker", 1_763_858_410_000_000, "sentineld/x", 1, 2, ["codex"])


def finished(n):
    return Finished(
        n,
        "worker",
        f"s{n}",
        n / 7,
        3,
        {"first_use": n / 3},
        {"arg.path": {2**63 + n: 1, 5: 1}, "out.host": {n: 1}},
        ["Read", f"Bash {n % 3}", "Read"],
        {"arg.path": 1},
        {"rate": n % 4 - 1},
    )


@pytest.fixture
def role():
    made, own = Role(), Own()
    made.merge([finished(n) for n in range(60)], [own] * 60)
    return made


def test_a_role_comes_back_as_it_was_but_for_its_version(role):
    document = baseline.of_role(role, TOLD)
    check_schema("baseline", json.loads(baseline.encode(document)))
    again = baseline.role_of(baseline.read(baseline.encode(document)))

    assert role.version > 0 == again.version
    again.version = role.version
    assert again.dump() == role.dump()


def test_an_agents_own_habits_come_back_as_they_were():
    own = Own(3, 2.85, {"arg.path": 1.5}, {"rate": {-1: 2, 3: 1}})
    document = baseline.of_agent(own, TOLD)
    check_schema("baseline", json.loads(baseline.encode(document)))

    assert baseline.own_of(baseline.read(baseline.encode(document))) == own


def test_values_stand_in_it_as_hashes(role):
    text = baseline.encode(baseline.of_role(role, TOLD)).decode()

    assert f"{2**63 + 7:016x}" in text
    assert all(len(key) == 16 for key in json.loads(text)["role"]["known"])


def changed(document, path, value):
    plain = json.loads(baseline.encode(document))
    place = plain
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return json.dumps(plain).encode()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["sessions"], 61, "changed by hand"),
        (["role", "scores"], [], "changed by hand"),
        (["digest"], "0" * 64, "changed by hand"),
        (["sentineld_baseline"], 2, "this program reads format 1"),
        (["habits_version"], 99, "this program reads format 1"),
        (["kind"], "agent", "holds the habits of that kind alone"),
        (["extra"], 1, "unknown field"),
        (["role", "known", "zz"], 1, "regex"),
        (["role", "weight"], -1, ">= 0"),
        (["role", "weight"], True, "Expected `float`"),
        (["role", "order", "x"], {}, "length >= 1"),
        (["role", "uses", "x"], [3, 0, 0], ">= 1"),
        (["role", "scores"], [0.0] * 3000, "length <="),
    ],
)
def test_a_document_that_was_changed_is_refused_and_it_is_said_why(role, path, value, words):
    with pytest.raises(ValueError, match=words):
        baseline.read(changed(baseline.of_role(role, TOLD), path, value))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no baseline"),
        (b'{"kind": "role"}', "no baseline"),
        (b" " * (baseline.MAX_BYTES + 1), "more than 8 MiB"),
        (b'{"sentineld_baseline": 1e999, "habits_version": 1}', "no JSON|reads format"),
    ],
    ids=range(7),
)
def test_a_foreign_file_is_refused_and_it_is_said_why(data, words):
    with pytest.raises(ValueError, match=words):
        baseline.read(data)


@given(st.data())
def test_a_document_cut_or_changed_anywhere_is_refused_or_the_same(data):
    role, own = Role(), Own()
    role.merge([finished(n) for n in range(3)], [own] * 3)
    document = baseline.of_role(role, TOLD)
    text = bytearray(baseline.encode(document))
    place = data.draw(st.integers(0, len(text) - 1))
    if data.draw(st.booleans()):
        text[place] = data.draw(st.integers(0, 255))
    else:
        del text[place:]
    with contextlib.suppress(ValueError):
        assert baseline.read(bytes(text)) == document


def test_a_request_carries_it_and_checks_it_again(role):
    document = baseline.of_role(role, TOLD)
    request = Request("import", "", "why", role="worker", owner=1000, baseline=document)

    assert Request.of_document("", json.loads(json.dumps(request.document()))) == request
    with pytest.raises(ValueError, match="kind role"):
        Request("import", "a", "why", baseline=document)
    with pytest.raises(ValueError, match="is what is imported"):
        Request("import", "a", "why")
