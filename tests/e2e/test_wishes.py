"""Operators' wishes with the real process: pardon, pin, unpin, while it runs and while it does not."""

import getpass
import json
import time

import pytest

from sentineld.instant import parse_iso

#: A flood is misbehaviour by the activity score alone.
pytestmark = pytest.mark.usefixtures("by_activity")

FLOODING = "scraper"


def running(place, wait_for, config=""):
    place.telemetry.fill()
    daemon = place.start("--config", place.config(config))
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
    return daemon


def test_a_pardon_is_carried_out_at_once_and_goes_on_record(place, wait_for):
    running(place, wait_for)

    answer = place.json("pardon", FLOODING, "--reason", "month-end export")

    assert (answer["status"], answer["kind"]) == ("applied", "pardon")
    decision = answer["decision"]
    assert (decision["from_tier"], decision["to_tier"], decision["cause"]) == (3, 1, "pardoned")
    assert (decision["actor"], decision["note"]) == (getpass.getuser(), "month-end export")
    assert place.tier(FLOODING) == 1
    assert place.decisions()[-1] == decision
    logged = [json.loads(line) for line in (place.state_dir / "decisions.jsonl").read_text().splitlines()]
    assert logged[-1] == decision
    assert "by " + getpass.getuser() in place.command("log").stdout
    told = wait_for(lambda: place.daemons[0].logs("agent_pardoned"))[0]
    assert told["given"] == {"agent": FLOODING, "actor": getpass.getuser(), "reason": "month-end export"}


def test_forgiven_events_never_demote_again_and_grace_holds_off_new_ones(place, wait_for):
    running(place, wait_for)

    def flood():
        place.telemetry.append("scraper.jsonl", *place.telemetry.flood(count=60, every=0.01))

    place.json("pardon", FLOODING, "--reason", "tested", "--for", "1h")
    before = place.json("status")["agents"][FLOODING]["events"]
    flood()
    wait_for(lambda: place.json("status")["agents"][FLOODING]["events"] == before + 60, "events")
    assert place.json("why", FLOODING)["score"] > 0.7
    assert place.tier(FLOODING) == 1
    assert [d["cause"] for d in place.decisions()] == ["detected", "detected", "pardoned"]

    place.json("pardon", FLOODING, "--reason", "tested", "--for", "1s")
    wait_for(lambda: flood() or place.tier(FLOODING) == 3, "demotion after the grace")
    pardon, *detected = place.decisions()[3:]
    assert pardon["cause"] == "pardoned"
    assert {d["cause"] for d in detected} == {"detected"}
    assert parse_iso(detected[0]["decided_at"]) - parse_iso(pardon["decided_at"]) >= 1_000_000


def test_without_grace_new_events_demote_at_once(place, wait_for):
    running(place, wait_for)
    place.json("pardon", FLOODING, "--reason", "tested", "--for", "0")

    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(count=100, every=0.001))

    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")


def test_an_attack_is_confirmed_in_the_decision(place, wait_for):
    running(place, wait_for)

    decision = place.json("pardon", FLOODING, "--reason", "key was stolen", "--attack")["decision"]

    assert decision["attack"] is True
    assert decision["evidence"], "the records stay with the decision"


def test_a_pin_holds_until_its_end(place, wait_for):
    running(place, wait_for)

    answer = place.json("pin", "biller", 3, "--reason", "key rotation", "--until", "1h")

    assert answer["decision"]["to_tier"] == 3
    assert place.tier("biller") == 3
    assert place.state()["agents"]["biller"]["until"] is not None
    assert place.json("status")["agents"]["biller"]["pinned"] is True
    place.json("pin", "biller", 3, "--reason", "key rotation", "--until", "1s")
    wait_for(lambda: place.tier("biller") == 1, "end of the pin")
    assert place.decisions()[-1]["cause"] == "expired"


def test_unpin_gives_the_tier_back_to_behaviour(place, wait_for):
    running(place, wait_for)
    place.json("pin", FLOODING, 1, "--reason", "we know")
    assert place.tier(FLOODING) == 1

    answer = place.json("unpin", FLOODING, "--reason", "we were wrong")

    assert (answer["decision"]["cause"], answer["decision"]["to_tier"]) == ("unpinned", 3)
    assert place.tier(FLOODING) == 3
    again = place.json("unpin", FLOODING, "--reason", "once more")
    assert (again["status"], again["decision"]) == ("unchanged", None)


def test_a_wish_waits_for_the_next_start_and_comes_before_new_input(place, wait_for):
    place.telemetry.fill()
    place.once()

    answer = place.json("pardon", FLOODING, "--reason", "while it was down", "--for", "0")
    assert (answer["status"], answer["decision"]) == ("pending", None)
    assert place.tier(FLOODING) == 3
    # What comes after the pardon is judged: had it been read before, it would have been forgiven.
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(count=100, every=0.001))
    place.once()

    assert place.tier(FLOODING) == 3
    assert [d["cause"] for d in place.decisions()] == [
        "detected",
        "detected",
        "pardoned",
        "detected",
        "detected",
    ]
    assert list((place.state_dir / "requests").iterdir()) == []


def test_a_daemon_carries_out_what_waited_for_it(place, wait_for):
    place.telemetry.fill()
    place.once()
    place.json("pin", "biller", 2, "--reason", "audit", "--until", "1h")

    place.start()

    wait_for(lambda: place.tier("biller") == 2, "pin")


def test_a_request_that_makes_no_sense_is_refused_and_told(place, wait_for):
    daemon = running(place, wait_for)
    requests = place.state_dir / "requests"
    (requests / "junk.json").write_text("{")
    (requests / "nobody.json").write_text('{"kind": "pardon", "agent": "nobody", "reason": "x"}')

    wait_for(lambda: len(daemon.logs("request_refused")) >= 2, "refusals")

    wait_for(lambda: list(requests.iterdir()) == [], "refused requests are removed")
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller", 1, end=time.time()))
    wait_for(lambda: place.json("status")["agents"]["biller"]["events"] == 41, "it works on")


def test_a_time_that_has_passed_or_cannot_be_read_is_a_usage_error(place):
    place.telemetry.fill()
    place.once()

    for until in ("2001-01-01T00:00:00Z", "soon", "-1h"):
        done = place.command("pin", "biller", 2, "--reason", "x", f"--until={until}")
        assert (done.returncode, done.stderr.count("error: --until"), done.stderr.count("try: ")) == (2, 1, 1)
    assert place.command("pardon", "biller", "--reason", "x", "--for", "soon").returncode == 2
    assert place.command("pardon", "biller", "--reason", "").returncode == 2
    assert place.command("pardon", "biller").returncode == 2
