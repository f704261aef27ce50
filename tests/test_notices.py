"""Which decisions are told, in which messages, to whom and when: nothing is lost, nothing is told twice."""

import math
import re
from pathlib import Path

import markdown
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentineld import decision as decisions
from sentineld.integrity import KINDS
from sentineld.markup import inert
from sentineld.notices import (
    MAX_NOTICES,
    RECENT,
    Outbox,
    Outcome,
    State,
    Terms,
    decision_key,
    notice,
)
from sentineld.rules import RULES
from sentineld.telling import ABOUT, BROKEN, CAUSES

S = 1_000_000
START = 1_800_000_000 * S


def decision(number, agent="mailer", tiers=(1, 3), cause="rule", **more):
    return {
        "decision_no": number, "agent_id": agent, "from_tier": tiers[0], "to_tier": tiers[1], "score": 0.9,
        "decided_at": "2026-11-23T14:57:25Z", "cause": cause,
        "reasons": [{"detector": "rule", "feature": "credential_sent"}], "evidence": [{"summary": "secret"}],
        "actor": "", "note": "", "role": None, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"from_tier": math.inf},
        {"to_tier": 7},
        {"to_tier": "3"},
        {"score": math.nan},
        {"score": "high"},
        {"decision_no": math.inf},
    ],
    ids=str,
)
def test_a_line_that_is_no_decision_is_refused_as_one(wrong):
    assert notice(decision(1)).to_tier == 3
    with pytest.raises((ValueError, TypeError, OverflowError)):
        notice(decision(1) | wrong)


def outbox(*targets, **terms):
    made = Outbox(State(), Terms(**{"digest_us": 5 * S, "cooldown_us": 60 * S, **terms}))
    made.set_targets(targets or ["hook"])
    return made


def take(box, now, *decisions):
    for one in decisions:
        box.take(notice(one), now)


def numbers(messages):
    return [[item.decision_no for item in message.decisions] for message in messages]


def test_decisions_within_a_digest_become_one_message_under_the_last_key():
    box = outbox()
    take(box, START, decision(1, "a"))
    take(box, START + 4 * S, decision(2, "b"))
    assert box.compose(START + 4 * S) == []

    (message,) = box.compose(START + 5 * S)
    assert numbers([message]) == [[1, 2]]
    assert message.key == decision_key(decision(2, "b"))
    assert message.subject == "sentineld: 2 decisions about 2 agents, 2 of them now at tier 3"
    assert "secret" not in str(message.document()), "what agents wrote is told to nobody"


def test_a_message_about_one_decision_says_all_in_its_subject():
    box = outbox(host="web-1", mode="observe")
    take(box, START, decision(1))
    (message,) = box.compose(START, is_closing=True)

    assert message.subject == (
        "sentineld on web-1: agent mailer would move from tier 1 to tier 3 (anomalous)"
        " (observe mode: nothing is restricted)"
    )
    assert message.text.splitlines() == [
        (
            "2026-11-23T14:57:25Z agent mailer would move from tier 1 to tier 3 (anomalous): "
            "it broke a rule that holds for every agent."
        ),
        "What was seen: it read credentials, and then something went where nothing of its kind ever went.",
        "How sure: This was seen, not estimated.",
        'What to do: To see the evidence, type on that machine: "sentineld why mailer".',
        ABOUT,
    ]


def test_an_agent_that_was_told_of_waits_for_its_cool_down_unless_it_became_worse():
    box = outbox()
    take(box, START, decision(1, tiers=(1, 2)))
    assert numbers(box.compose(START + 5 * S)) == [[1]]
    take(box, START + 6 * S, decision(2, tiers=(2, 1)), decision(3, "other"))
    assert numbers(box.compose(START + 11 * S)) == [[3]]
    assert numbers(box.compose(START + 65 * S)) == [[2]]

    take(box, START + 66 * S, decision(4, tiers=(1, 1), cause="pinned"), decision(5, tiers=(1, 3)))
    assert numbers(box.compose(START + 71 * S)) == [[5]], "it became worse"
    take(box, START + 72 * S, decision(6, tiers=(3, 2)))
    take(box, START + 73 * S, decision(7, tiers=(2, 3)))
    assert box.compose(START + 90 * S) == [], "as bad as was told is no news"
    assert numbers(box.compose(START + 200 * S)) == [[6, 7]]


def test_what_is_told_of_an_agent_is_told_whole_and_in_its_order():
    box = outbox()
    take(box, START, decision(1, tiers=(1, 2)))
    box.compose(START + 5 * S)
    take(box, START + 6 * S, decision(2, tiers=(2, 1)), decision(3, tiers=(1, 3)))

    assert numbers(box.compose(START + 11 * S)) == [[2, 3]]


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({}, [1, 2, 3]),
        ({"lowest_tier": 3}, [1, 3]),
        ({"lowest_tier": 1}, [1, 2, 3, 4]),
        ({"causes": frozenset({"recovered"})}, [3]),
        ({"agents": ("mail*", "x")}, [1, 3]),
    ],
)
def test_filters_choose_by_tier_cause_and_agent(terms, told):
    box = outbox(**terms)
    take(
        box, START, decision(1), decision(2, "biller", (1, 2)), decision(3, tiers=(3, 1), cause="recovered"),
        decision(4, "", (1, 1), cause="frozen", role="builder"),
    )  # fmt: skip
    messages = box.compose(START, is_closing=True)

    assert [number for message in numbers(messages) for number in message] == told
    assert (box.state.matched, box.state.passed_over) == (len(told), 4 - len(told))
    assert box.state.cursor == 4


def test_a_number_is_taken_once_and_a_gap_is_counted():
    box = outbox()
    take(box, START, decision(1), decision(1), decision(2), decision(5), decision(4))

    assert numbers(box.compose(START, is_closing=True)) == [[1, 2, 5]]
    assert box.state.missed == 2


def test_a_storm_becomes_messages_of_a_bounded_size():
    box = outbox()
    take(box, START, *(decision(n, f"a{n}") for n in range(1, 1202)))
    messages = box.compose(START, is_closing=True)

    assert [len(message.decisions) for message in messages] == [MAX_NOTICES, MAX_NOTICES, 201]
    assert all(len(message.text.splitlines()) == 23 for message in messages)
    assert messages[0].text.splitlines()[20] == 'And 480 more: "sentineld log" lists them.'


def fail(box, now, outcome, name="hook"):
    message = box.next_delivery(name, now)
    box.note(name, message.key, outcome, now, 1.0)


def test_a_target_that_fails_is_tried_again_after_doubling_pauses():
    box = outbox(first_pause_us=S, last_pause_us=4 * S)
    take(box, START, decision(1))
    box.compose(START, is_closing=True)
    now, pauses = START, []
    for _ in range(5):
        fail(box, now, Outcome("no answer"))
        pauses.append((box.state.targets["hook"].until_us - now) // S)
        assert box.next_delivery("hook", box.state.targets["hook"].until_us - 1) is None
        now = box.state.targets["hook"].until_us
    assert pauses == [1, 2, 4, 4, 4]

    box.note("hook", box.next_delivery("hook", now).key, Outcome(), now, 0.0)
    assert box.is_idle()
    assert not box.state.messages, "what nobody waits for is not kept"
    assert box.state.targets["hook"].failures == 0


def test_a_receiver_that_asks_for_a_pause_gets_it_up_to_an_hour():
    box = outbox()
    take(box, START, decision(1))
    box.compose(START, is_closing=True)
    fail(box, START, Outcome("HTTP 429", retry_after_us=30 * S))
    assert box.state.targets["hook"].until_us == START + 30 * S
    fail(box, START + 30 * S, Outcome("HTTP 429", retry_after_us=86_400 * S))
    assert box.state.targets["hook"].until_us == START + 3630 * S


def test_a_message_that_is_refused_holds_up_no_other():
    box = outbox()
    take(box, START, decision(1, "a"))
    box.compose(START, is_closing=True)
    take(box, START, decision(2, "b"))
    box.compose(START, is_closing=True)
    fail(box, START, Outcome("HTTP 400", is_refused=True))

    assert numbers([box.next_delivery("hook", START)]) == [[2]]


def test_a_dead_target_holds_up_no_other_and_what_is_too_much_or_too_old_is_given_up_and_counted():
    box = outbox("dead", "well", queue=3, cooldown_us=0)
    for number in range(1, 6):
        take(box, START, decision(number, f"a{number}"))
        box.compose(START, is_closing=True)
        fail(box, START, Outcome(), "well")
    assert box.state.targets["well"].delivered == 5
    assert [item.decisions for item in box.given_up] == [1, 1]
    assert box.state.targets["dead"].given_up == 2

    box.next_delivery("dead", START + 86_401 * S)
    assert box.state.targets["dead"].given_up == 5
    assert {item.target for item in box.given_up} == {"dead"}
    assert box.is_idle()


def test_what_waits_for_a_target_that_is_configured_no_more_is_given_up():
    box = outbox("a", "b")
    take(box, START, decision(1))
    box.compose(START, is_closing=True)
    box.set_targets(["b", "c"])

    assert [(item.target, item.decisions) for item in box.given_up] == [("a", 1)]
    assert box.next_delivery("b", START)
    assert box.next_delivery("c", START) is None


def test_a_clock_that_was_set_back_holds_nothing_up():
    box = outbox()
    take(box, START, decision(1))
    box.compose(START + 5 * S)
    fail(box, START + 5 * S, Outcome("no answer"))
    take(box, START + 5 * S, decision(2), decision(3, "b"))
    long_ago = START - 86_400 * S

    assert box.next_delivery("hook", long_ago)
    assert numbers(box.compose(long_ago)) == [[2, 3]]


def log_of(*decisions):
    return [(one["decision_no"], decision_key(one)) for one in decisions]


def test_a_log_that_began_anew_is_known_by_its_numbers_or_its_content():
    def meets(*decisions):
        box = outbox()
        take(box, START, *(decision(n) for n in range(1, 601)))
        return box.meet(log_of(*decisions)), box.state.cursor

    assert meets(*(decision(n) for n in range(300, 601))) == (False, 600)
    assert meets(*(decision(n) for n in range(300, 599))) == (False, 600), "a power cut took its end"
    assert meets(decision(700), decision(701)) == (False, 600), "what came between is missed, not begun anew"
    assert meets() == (False, 600)
    assert meets(decision(1, "new"), decision(2, "new")) == (True, 0)
    assert meets(*(decision(n, "new") for n in range(1, 700))) == (True, 0)
    assert len(outbox().state.recent) == 0


def test_numbers_that_began_anew_have_other_keys():
    assert decision_key(decision(7)) != decision_key(decision(7, decided_at="2026-11-24T00:00:00Z"))
    assert decision_key(decision(7)).startswith("7-")


def test_the_memory_of_keys_is_bounded():
    box = outbox()
    take(box, START, *(decision(n) for n in range(1, 1001)))

    assert len(box.state.recent) == RECENT
    assert box.is_recent(1000)
    assert not box.is_recent(1000 - RECENT)


def one_message(*decisions, **terms):
    box = outbox(**terms)
    take(box, START, *decisions)
    (message,) = box.compose(START, is_closing=True)
    return message


def test_the_page_shows_what_is_told():
    page = (Path(__file__).parents[1] / "docs" / "notify.md").read_text()
    message = one_message(decision(1), host="web-1")

    assert f"```text\n{message.subject}\n\n{message.text}\n```" in page


def test_what_is_to_be_done_follows_from_the_tier():
    def advice(*decisions, **terms):
        return one_message(*decisions, **terms).text.splitlines()[-2]

    assert '"sentineld pardon --reason WHY mailer"; if it was an attack, with --attack' in advice(decision(1))
    assert "comes back to tier 1 by itself" in advice(decision(1, tiers=(1, 2)))
    pinned = advice(decision(1, tiers=(1, 2), cause="pinned"))
    assert pinned.endswith('behaviour decide again: "sentineld unpin --reason WHY mailer".')
    assert "by itself" in advice(decision(1, tiers=(1, 2), cause="pinned"), decision(2, "b", tiers=(1, 2)))
    assert advice(decision(1, tiers=(2, 1))).endswith('"sentineld why mailer".')
    assert '"sentineld why -- -x"' in advice(decision(1, "-x"))
    assert '"sentineld why b"' in advice(decision(1, "a", tiers=(1, 2)), decision(2, "b"))
    assert '"sentineld why AGENT" ("sentineld status" lists the names)' in advice(decision(1, "@everyone"))


@pytest.mark.parametrize(
    ("changes", "sure"),
    [
        ({"cause": "detected", "p": 0.004, "bound": "at most 1.00%"},
         "Of honest sessions of its kind about 1 in 250 would look as unusual. False alarms: at most 1.00%."),
        ({"cause": "detected", "p": 1e-9, "bound": ""},
         "Of honest sessions of its kind less than 1 in 10,000 would look as unusual."),
        ({"cause": "detected", "p": None},
         "It is a count of its activity and no more: a busy honest agent looks the same."),
        ({"cause": "pinned", "actor": "anna"}, ""),
        ({"cause": "recovered", "reasons": []}, ""),
    ],
)  # fmt: skip
def test_how_sure_it_is_is_told(changes, sure):
    assert notice(decision(1, **changes)).how_sure == sure


def test_everything_that_can_be_told_has_words():
    assert set(CAUSES) == set(decisions.CAUSES)
    assert set(BROKEN) == set(RULES)
    for kind in KINDS:
        told = notice(decision(1, reasons=[{"detector": "integrity", "feature": kind}]))
        assert told.seen == [KINDS[kind].sentence]


HOSTILE = [
    "a\x1b[2J", "a\nb", "\u202eabc", "\u05d0\u05d1", "@everyone", "<!channel>", "<@U012>",
    "x](http://evil.example)", "https://evil.example/a", "www.evil.com", "setup.py", "a@b.com", "&lt;b&gt;",
    "<img src=x onerror=alert(1)>",
    "`rm`", "**b**", "_i_", "~s~", ":skull:", "# h", "| a | b |", "javascript:alert(1)", "\u3164", "a\\*b",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_agents_wrote_means_anything_to_a_reader(text):
    reasons = [{"detector": text, "feature": text}, {"detector": "argument", "feature": f"arg:{text}.{text}"}]
    message = one_message(
        decision(1, text, cause=text, role=text, reasons=reasons), decision(2, "", role=text)
    )
    for shown in (message.subject, message.text, *message.decisions[0].reasons, *message.decisions[0].seen):
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert text not in shown
        assert not re.search(
            r"[@<>&`*~#|!$\[\]{}^]|://|\w\.[a-z]{2}|(?<!\w)_|_(?!\w)|:\w+:", shown.replace("T14:57:25", "")
        )
    assert len(message.text.splitlines()) == message.text.count("\n") + 1 == 7
    html = markdown.markdown(message.text)
    assert set(re.findall(r"<[^>]*>", html)) == {"<p>", "</p>"}
    assert len(message.text) < 20_000


@given(st.text(), st.text())
def test_texts_that_differ_are_told_apart_and_plain_ones_as_they_are(one, other):
    assert (inert(one) == inert(other)) == (one == other)
    assert inert(inert(one)).count("\\") == inert(inert(one)).count("\\x5c")
    for plain in ("mailer-7", "/home/u/api", "credential_sent", "\u7814\u7a76", "a, b = 10%"):
        assert inert(plain) == plain


steps = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.sampled_from("abc"), st.integers(1, 3), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.integers(0, 200 * S)),
        st.tuples(st.just("back"), st.integers(0, 200 * S)),
        st.tuples(
            st.just("attempt"), st.sampled_from(["x", "y"]), st.sampled_from(["ok", "lost", "out", "refused"])
        ),
        st.tuples(st.just("reread"), st.integers(0, 10)),
    ),
    max_size=40,
)


@settings(max_examples=settings().max_examples // 2)
@given(steps)
def test_whatever_fails_every_decision_is_told_once_in_its_order_and_is_never_lost(plan):
    box, now, log = outbox("x", "y"), START, []
    got = {"x": {}, "y": {}}
    seen = {"x": [], "y": []}

    def attempt(name, how):
        message = box.next_delivery(name, now)
        if message is None:
            return False
        if how in ("ok", "lost"):
            if message.key not in got[name]:
                seen[name] += message.decisions
            # What came twice came with the same content.
            assert got[name].setdefault(message.key, message) == message
        if how != "lost":
            outcome = {"ok": Outcome(), "out": Outcome("down"), "refused": Outcome("no", is_refused=True)}[
                how
            ]
            box.note(name, message.key, outcome, now, 0.5)
        return True

    for step in [*plan, ("wait", 5 * S)]:
        if step[0] == "decide":
            log.append(decision(len(log) + 1, step[1], step[2:]))
            take(box, now, log[-1])
        elif step[0] == "wait":
            now += step[1]
        elif step[0] == "back":
            now -= step[1]
        elif step[0] == "attempt":
            attempt(*step[1:])
        else:
            # Killed and started again: what is saved goes on, and the log is read from further back.
            box.state = msgspec.json.decode(msgspec.json.encode(box.state), type=State)
            take(box, now, *log[-step[1] :])
        box.compose(now)
    for _ in range(200):
        now += 61 * S
        box.compose(now)
        while attempt("x", "ok") or attempt("y", "ok"):
            pass
    wanted = [one["decision_no"] for one in log if max(one["from_tier"], one["to_tier"]) >= 2]

    assert box.is_idle()
    assert not box.state.waiting
    assert not box.given_up
    for name, told in seen.items():
        assert sorted(item.decision_no for item in told) == wanted, name
        if not any(step[-1] in ("refused", "lost") for step in plan):
            for agent in "abc":
                in_order = [item.decision_no for item in told if item.agent_id == agent]
                assert in_order == sorted(in_order)
