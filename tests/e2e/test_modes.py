"""From the activity score to habits: who was restricted stays it, and a replay follows the change."""


def test_who_was_restricted_by_the_score_waits_for_a_human_where_habits_decide(place):
    place.telemetry.fill()
    place.detection_mode = "activity"
    place.once()
    assert place.tier("scraper") == 3

    place.detection_mode = ""
    place.telemetry.append("biller.jsonl", *place.telemetry.flood("biller", every=0.01))
    place.once()
    assert (place.tier("scraper"), place.tier("biller")) == (3, 1), "much is not bad where habits decide"
    assert place.json("why", "scraper")["lifted_by"] == ["sentineld pardon scraper --reason WHY"]
    place.json("pardon", "scraper", "--reason", "it was busy")
    place.once()
    assert place.tier("scraper") == 1

    again = place.json("replay", "--as-observed", place.telemetry.directory)
    assert again["missing"] == []
    assert again["decisions"] == place.decisions()
