"""Trust: which agent a record speaks of, by globs, owners and bindings; and what is told of false claims."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentineld.batch import Part, split_rows
from sentineld.rows import Rows, is_agent_id
from sentineld.trust import OWNER, PATH, UNNAMED_ID, Rule, RuleError, Trust, forged

A, B = 1001, 1002
BASE = "/var/log/agents"


def agent(path: str, *rules: Rule, owner: int = A, **more: object) -> str:
    return Trust(rules, [BASE], **more).belief(path, owner).agent  # type: ignore[arg-type]


def rows(*claims: str) -> Rows:
    return Rows(
        at_us=[100 + n for n in range(len(claims))],
        agent_ids=list(claims),
        kinds=[0] * len(claims),
        entropies=[0] * len(claims),
        event_types=["plan"] * len(claims),
        offsets=[n * 10 for n in range(len(claims))],
    )


def applied(trust: Trust, path: str, owner: int, *claims: str) -> tuple[list[str], dict[int, str]]:
    found = rows(*claims)
    trust.apply(found, path, owner)
    return found.agent_ids, found.forged


@pytest.mark.parametrize(
    ("glob", "template", "path", "expected"),
    [
        ("agents/*/**", "{1}", "agents/a/x.jsonl", "a"),
        ("agents/*/**", "{1}", "agents/a/b/c/x.jsonl", "a"),
        ("agents/*/**", "{1}", "agents/x.jsonl", ""),
        ("agents/{agent}/**", "", "agents/a/x.jsonl", "a"),
        ("{agent}.jsonl", "", "a.jsonl", "a"),
        ("{agent}.jsonl", "", "a.jsonl.1", "a"),
        ("{agent}.jsonl", "", "a.jsonl-20260101", "a"),
        ("{agent}.jsonl", "", "a.jsonl.zst", "a"),
        ("{agent}.json", "", "a.json.1", "a"),
        ("{agent}.ndjson", "", "a.ndjson-20260101", "a"),
        ("{agent}.jsonl", "", "a.jsonl.old", ""),
        ("{agent}.jsonl", "", "deep/a.jsonl", ""),
        ("**/{agent}.jsonl", "", "a.jsonl", "a"),
        ("**/{agent}.jsonl", "", "very/deep/a.jsonl", "a"),
        ("{team}/**/{agent}.jsonl", "{team}/{2}/{agent}", "t/u/v/a.jsonl", "t/u/v/a"),
        ("*-{agent}-?.jsonl", "{agent}", "x-y-a-1.jsonl", "y-a"),
        ("team-{agent}/*.json", "bot.{agent}", "team-7/x.json", "bot.7"),
        ("**", "{1}", "a/b.jsonl", "a/b.jsonl"),
        ("a.b/{agent}", "", "axb/c", ""),
        ("[ab]/{agent}", "", "a/c", ""),
        ("[ab]/{agent}", "", "[ab]/c", "c"),
        (f"{BASE}/{{agent}}.jsonl", "", "a.jsonl", "a"),
        ("/elsewhere/{agent}.jsonl", "", "a.jsonl", ""),
    ],
)
def test_a_glob_says_which_files_and_its_wildcards_which_agent(glob, template, path, expected):
    assert agent(f"{BASE}/{path}", Rule(glob, PATH, template)) == expected


def test_a_relative_glob_belongs_to_the_telemetry_directories_and_to_no_other_place():
    rule = Rule("{agent}.jsonl", PATH)
    assert agent("/var/log/other/a.jsonl", rule) == ""
    assert agent("/var/log/agents2/a.jsonl", rule) == ""
    assert Trust([rule], ["/x.jsonl"]).belief("/x.jsonl", A).agent == "x"
    assert Trust([rule], ["/"]).belief("/x.jsonl", A).agent == "x"


def test_the_first_rule_that_matches_counts():
    first, second = Rule("a/**", PATH, "first-{1}"), Rule("**", PATH, "second-{1}")
    assert agent(f"{BASE}/a/x", first, second) == "first-x"
    assert agent(f"{BASE}/a/x", second, first) == "second-a/x"


@pytest.mark.parametrize(
    ("template", "owner", "expected"),
    [("", A, "anna"), ("{user}", B, "1002"), ("u{uid}", A, "u1001"), ("{user}-bot", A, "anna-bot")],
)
def test_an_owner_makes_an_agent_by_name_or_by_number(template, owner, expected):
    assert agent(f"{BASE}/x.jsonl", Rule("**", OWNER, template), owner=owner, users={A: "anna"}) == expected


def test_what_a_path_says_counts_and_another_claim_is_kept_as_forged():
    trust = Trust([Rule("agents/{agent}/**", PATH)], [BASE])
    found = applied(trust, f"{BASE}/agents/a/x.jsonl", A, "a", "b", "a", "c")

    assert found == (["a"] * 4, {1: "b", 3: "c"})


def test_a_file_of_somebody_else_is_not_the_agents():
    trust = Trust([Rule("agents/{agent}/**", PATH, owner=B)], [BASE])

    assert applied(trust, f"{BASE}/agents/b/x.jsonl", B, "b") == (["b"], {})
    assert applied(trust, f"{BASE}/agents/b/y.jsonl", A, "b", "a") == ([UNNAMED_ID] * 2, {0: "b", 1: "a"})


def test_only_listed_ids_may_be_claimed():
    trust = Trust([Rule("shared/**", agents=("a", "b"))], [BASE])

    assert applied(trust, f"{BASE}/shared/x.jsonl", A, "a", "c", "b") == (["a", UNNAMED_ID, "b"], {1: "c"})
    assert applied(trust, f"{BASE}/x.jsonl", A, "a", "c", "b") == (["a", "c", "b"], {})


@pytest.mark.parametrize("rule", [None, Rule("**", PATH, "{1}"), Rule("**", OWNER, "{user}")])
def test_a_bound_id_is_its_owners_whatever_gives_the_id(rule):
    trust = Trust([rule] if rule else [], [BASE], {"b": B}, {A: "b", B: "b"})

    assert applied(trust, f"{BASE}/b", B, "b") == (["b"], {})
    assert applied(trust, f"{BASE}/b", A, "b") == ([UNNAMED_ID], {0: "b"})


def test_a_path_that_cannot_be_an_id_accuses_nobody():
    trust = Trust([Rule("{agent}/**", PATH)], [BASE])

    assert applied(trust, f"{BASE}/my agent/x.jsonl", A, "a") == ([UNNAMED_ID], {})
    assert trust.belief(f"{BASE}/my agent/x.jsonl", A).is_unusable


def test_nothing_configured_changes_nothing():
    assert not Trust()
    assert applied(Trust(), f"{BASE}/x.jsonl", A, "a", "b") == (["a", "b"], {})
    assert Trust().to_plain() == {}


def test_rules_survive_the_database():
    trust = Trust(
        [Rule("{agent}/**", PATH, owner=B), Rule("x", agents=("a",))], [BASE], {"b": B}, {A: "anna"}
    )
    again = Trust.from_plain(trust.to_plain())

    assert again.to_plain() == trust.to_plain()
    assert again.rules == trust.rules
    assert again.belief(f"{BASE}/a/x", B) == trust.belief(f"{BASE}/a/x", B)


@pytest.mark.parametrize(
    ("rule", "key", "words"),
    [
        (Rule(""), "path", "matches no file"),
        (Rule("a//b"), "path", "matches no file"),
        (Rule("a/"), "path", "matches no file"),
        (Rule("../a"), "path", "matches no file"),
        (Rule("a**"), "path", "stand alone"),
        (Rule("**/**"), "path", "follows"),
        (Rule("{a"), "path", "brace"),
        (Rule("a}"), "path", "brace"),
        (Rule("{}"), "path", "no new name"),
        (Rule("{a}/{a}"), "path", "no new name"),
        (Rule("{A b}"), "path", "no new name"),
        (Rule("{1}"), "path", "no new name"),
        (Rule("a", agent="x"), "agent", 'identity = "path"'),
        (Rule("{agent}", PATH, agents=("a",)), "agents", "record"),
        (Rule("a", agents=("a b",)), "agents", "cannot be"),
        (Rule("a", agents=("<other>",)), "agents", "cannot be"),
        (Rule("*", PATH), "agent", "there is no {agent}"),
        (Rule("*", PATH, "{2}"), "agent", "there is no {2}"),
        (Rule("*", PATH, "{user}"), "agent", "there is no {user}"),
        (Rule("*", PATH, "same"), "agent", "every file"),
        (Rule("*", OWNER, "{1}"), "agent", "there is no {1}"),
        (Rule("*", PATH, "a b{1}"), "agent", "cannot make"),
        (Rule("*", PATH, "{1}#1001"), "agent", "cannot make"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_key_and_what_to_write(rule, key, words):
    with pytest.raises(RuleError) as caught:
        rule.check()

    assert caught.value.key == key
    assert words in str(caught.value)
    assert caught.value.hint


names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12)
segments = st.one_of(
    st.sampled_from(["*", "**", "?", "{agent}", "a*", "*.jsonl", "x-*-{agent}", "{n}?*"]),
    st.text("ab.?*{}[]^$", min_size=1, max_size=6),
)


@given(st.lists(segments, min_size=1, max_size=5), st.lists(names, min_size=1, max_size=6), names)
@example(["*a*a*a*a*b"], ["a" * 255], "x")
def test_every_glob_is_refused_or_answers_and_an_answer_is_an_id(parts, path, claim):
    rule = Rule("/".join(parts), PATH, "{1}")
    try:
        rule.check()
    except RuleError:
        return
    trust = Trust([rule], [BASE])
    found = rows(claim, "a")
    trust.apply(found, f"{BASE}/{'/'.join(path)}", A)

    assert len(found.agent_ids) == 2
    if trust.belief(f"{BASE}/{'/'.join(path)}", A).agent:
        assert is_agent_id(found.agent_ids[0]) or found.agent_ids == [UNNAMED_ID] * 2


@given(st.lists(st.sampled_from("ab-"), min_size=1, max_size=8).map("".join), st.data())
def test_a_star_matches_exactly_what_it_stands_for(name, data):
    cut = data.draw(st.integers(0, len(name)))
    glob = name[:cut] + "*" + name[data.draw(st.integers(cut, len(name))) :]
    found = agent(f"{BASE}/{name}", Rule(glob, PATH, "x{1}"))

    assert found
    assert name == glob.replace("*", found[1:], 1)


@pytest.mark.parametrize("glob", ["*a" * 40 + "b", "**/a/**/b/**/c", "{x}" + "a*" * 30 + "b"])
def test_names_that_agents_choose_cannot_make_a_glob_slow(glob):
    path = f"{BASE}/{'/'.join(['a' * 200] * 4 + ['a'] * 60)}"
    trust = Trust([Rule(glob, PATH, "{1}")], [BASE])
    start = time.process_time()
    trust.belief(path, A)

    assert time.process_time() - start < 0.5


def part(source_id: int, found: Rows, owner: int = A) -> Part:
    return Part(source_id, owner, 0, len(found) * 10, 0, 1_000, 0, False, found)


def test_one_incident_a_file_counts_all_false_claims_and_shows_some():
    trust = Trust([Rule("{agent}/**", PATH)], [BASE])
    parts = [part(7, rows("b", "c", "a", "d")), part(8, rows("a")), part(7, rows("a", "e", "b"))]
    for item in parts:
        trust.apply(item.rows, f"{BASE}/a/x.jsonl", A)
    (incident,) = forged(parts, {7: "/seven", 8: "/eight"}.__getitem__)

    assert (incident.kind, incident.owner, incident.source_id) == ("forged_id", A, 7)
    assert (incident.path, incident.count) == ("/seven", 5)
    assert (incident.start, incident.end, incident.at_us) == (0, 40, 103)
    assert incident.detail == "claimed b, c, d and 1 more ids"


def test_a_part_that_is_split_keeps_each_claim_with_its_row():
    found = rows("a", "b", "a", "c")
    Trust([Rule("{agent}/**", PATH)], [BASE]).apply(found, f"{BASE}/a/x.jsonl", A)
    first, rest = split_rows(found, 2)

    assert (first.forged, rest.forged) == ({1: "b"}, {1: "c"})
