"""How much of an agent's telemetry was understood: unread is not normal."""

import json
from pathlib import Path

import pytest
from schemas import check

MAPPING = """
name = "bot"
role = "bot"
source = ["bot*.jsonl"]
"""


@pytest.fixture
def seen(place, telemetry):
    """Read what is there; return what status says of each agent, and its text."""

    def read():
        place.once()
        document = place.json("status")
        check("status", document)
        return document, place.command("status").stdout

    return read


def test_an_agent_of_which_everything_is_read_is_understood(seen, telemetry):
    telemetry.append("biller.jsonl", *telemetry.normal("biller", 20), b"\n", b"  \n")
    document, text = seen()
    found = document["agents"]["biller"]["coverage"]

    assert found["share"] == 1.0
    assert (found["records"], found["files"], found["shared_files"], found["note"]) == (20, 1, 0, "")
    assert "understood" in text
    assert "only" not in text


def test_lines_that_cannot_be_read_count_against_the_writer_of_their_file_and_nobody_else(seen, telemetry):
    telemetry.append("biller.jsonl", *telemetry.normal("biller", 20))
    telemetry.append("mailer.jsonl", *telemetry.normal("mailer", 20), *[b'{"type": \n'] * 5)
    document, text = seen()
    agents = document["agents"]

    assert agents["biller"]["coverage"]["share"] == 1.0
    assert agents["mailer"]["coverage"]["share"] == 0.8
    assert "80 % of 25 records" in agents["mailer"]["coverage"]["note"]
    assert "What is not read is not normal" in " ".join(text.split())
    assert "mailer: only 80 %" in text
    assert "biller: only" not in text


def test_blank_lines_make_nothing_better(seen, telemetry):
    telemetry.append("mailer.jsonl", *telemetry.normal("mailer", 2), b"{\n", b"{\n", b"\n" * 500)
    found = seen()[0]["agents"]["mailer"]["coverage"]

    assert (found["records"], found["share"]) == (4, 0.5)


def test_in_a_shared_file_what_is_not_read_may_be_anybodys(seen, telemetry):
    telemetry.append(
        "all.jsonl", *telemetry.normal("biller", 10), *telemetry.normal("mailer", 5), *[b"{\n"] * 5
    )
    telemetry.append("biller.jsonl", *telemetry.normal("biller", 20))
    agents = seen()[0]["agents"]

    assert agents["mailer"]["coverage"]["share"] == 0.75
    assert agents["biller"]["coverage"]["share"] == 0.875
    assert [agents[name]["coverage"]["shared_files"] for name in ("biller", "mailer")] == [1, 1]
    assert "1 of its 2 files have other writers too" in agents["biller"]["coverage"]["note"]


def test_records_of_unknown_kinds_are_not_understood_and_named_and_known_ones_without_events_are(
    place, seen, telemetry
):
    sample = Path(__file__).parent / "data" / "formats"
    lines = next(sample.rglob("*claude_code*/**/*.jsonl")).read_bytes().splitlines(keepends=True)
    odd = json.loads(next(line for line in lines if b'"user"' in line)) | {"type": "hologram"}
    telemetry.append("p/0a1b2c3d-0000-4000-8000-000000000000.jsonl", *lines, odd, odd)
    document, _ = seen()
    (entry,) = document["agents"].values()

    assert entry["coverage"]["unknown"] == 2
    assert any("hologram" in name for name in entry["coverage"]["unknown_kinds"])
    assert entry["coverage"]["share"] == pytest.approx(1 - 2 / entry["coverage"]["records"], abs=1e-6)


def test_a_file_that_gave_no_event_at_all_is_told_though_nobody_answers_for_it(seen, telemetry):
    telemetry.append("biller.jsonl", *telemetry.normal("biller", 3))
    telemetry.append("odd.jsonl", *[b"not json\n"] * 4)
    document, text = seen()

    assert document["totals"]["unread_files"] == {"files": 1, "records": 4, "unknown": 0, "rejects": 4}
    assert "1 files gave no event at all" in text
    assert document["agents"]["biller"]["coverage"]["share"] == 1.0


def test_why_says_it_too(place, seen, telemetry):
    telemetry.append("mailer.jsonl", *telemetry.normal("mailer", 2), b"{\n")
    seen()

    assert place.json("why", "mailer")["coverage"]["share"] == pytest.approx(2 / 3, abs=1e-6)
    assert "only 66.6 % of 3 records" in place.command("why", "mailer").stdout
