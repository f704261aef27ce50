"""Views: what is said of agents, files and the state, as documents and as lines of text."""

import json

import pytest

from sentineld.config import Config
from sentineld.decision import Decision
from sentineld.errors import NoDatabaseError
from sentineld.identity import Source
from sentineld.statedir import Paths
from sentineld.store import Store
from sentineld.views import (
    decision_line,
    empty_status_document,
    files_document,
    look_at_state,
    prior_in_force,
    why_document,
)


def source(path, **more):
    given = {"id": 1, "path": path, "last_path": path, "kind": "lines", "dev": 1, "ino": 1, "generation": 0}
    return Source(**{**given, "owner": 0, "look_us": 0, **more})


def test_files_that_had_one_name_are_added_up_and_the_newest_gives_the_offset():
    old = source("/t/a.jsonl", lines=5, accepted=3, ignored=1, rejected=1, pos=500)
    new = source("/t/a.jsonl", lines=2, accepted=1, duplicates=1, pos=80)

    (entry,) = files_document([old, new]).values()

    assert (entry["lines"], entry["accepted"], entry["ignored"], entry["rejects"], entry["duplicates"]) == (
        7,
        4,
        1,
        1,
        1,
    )
    assert entry["offset"] == 80


def test_a_document_has_no_offset():
    assert files_document([source("/t/a.json", kind="document", pos=4)])["/t/a.json"]["offset"] == -1


def test_a_file_name_that_is_no_text_is_shown_escaped():
    assert list(files_document([source("/t/\udcff.jsonl")])) == ["/t/\\xff.jsonl"]


def test_a_line_of_text_stays_one_line_whatever_an_operator_wrote():
    decision = Decision(
        7,
        "d-000007",
        "a",
        3,
        1,
        0.9,
        "2026-11-23T00:00:00.123Z",
        "pardoned",
        "p",
        actor="o",
        note="x\nerror:\x1b[2J",
    )

    line = decision_line(decision)

    assert line == "2026-11-23T00:00:00Z  d-000007  3 -> 1  pardoned    0.90  a  by o: x\\nerror:\\x1b[2J"


def test_a_missing_state_file_is_not_fresh_and_says_so(tmp_path):
    paths = Paths(str(tmp_path), str(tmp_path / "state.json"))

    report = look_at_state(Config(), paths, {})
    document = empty_status_document(Config(), report, paths, NoDatabaseError("none"))

    assert (report.fresh, document["agents"], document["totals"]["events"]) == (False, {}, 0)
    assert "missing" in document["state"]["reason"]
    assert list(tmp_path.iterdir()) == []


def test_agents_are_explained_by_the_thresholds_that_judged_them(place):
    place.telemetry.fill()
    place.once(
        "--config",
        place.config("[detection]\nfile_weight = 1.0\nnetwork_weight = 0.0\nentropy_weight = 0.0\n"),
    )

    with Store.open_readonly(str(place.state_dir / "sentineld.db")) as store:
        assert prior_in_force(store, Config()).monitor.file_weight == 1.0


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize(
    ("config", "ways"),
    [
        (
            "",
            ["900 s in which its score calls for less: then tier 2", "sentineld pardon scraper --reason WHY"],
        ),
        ('[recovery]\ntier3 = "pardon"\n', ["sentineld pardon scraper --reason WHY"]),
        (
            '[recovery]\nquiet_time = "30s"\n',
            ["30 s in which its score calls for less: then tier 2", "sentineld pardon scraper --reason WHY"],
        ),
    ],
)
def test_why_says_what_lifts_a_tier(place, config, ways):
    place.telemetry.fill()
    place.once("--config", place.config(config))

    assert place.json("why", "scraper")["lifted_by"] == ways
    assert place.json("why", "biller")["lifted_by"] == []


def test_why_tells_of_a_pin_and_its_end(place):
    place.telemetry.fill()
    place.once()
    place.json("pin", "biller", 2, "--reason", "x", "--until", "2099-01-01T00:00:00Z")
    place.once()

    with Store.open_readonly(str(place.state_dir / "sentineld.db")) as store:
        report = look_at_state(Config(), Paths(str(place.state_dir), str(place.state_file)), {})
        document = why_document(store, Config(), report, store.agent_named("biller"))

    assert document["lifted_by"] == [
        "the end of the pin at 2099-01-01T00:00:00Z, or sentineld unpin biller --reason WHY"
    ]
    assert (document["decision"]["cause"], document["demotion"]["cause"]) == ("pinned", "pinned")
    json.dumps(document)
