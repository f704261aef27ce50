# ruff: noqa: ISC004 (quoted source keeps its lines)
"""Records that sentineld itself fails on: planted, in a copy of it that raises over certain texts.

Everything else must be as in a run with a malformed line of the same length in the place of each such record.
"""

import json
import time

import pytest
from mutants import Mutant, build

RAISE = 'raise RecursionError("planted")'
#: Where it raises: over a text in the bytes of a line, in a decoded record, in facts, in an event's type.
PLANTED = Mutant(
    "raises_over_records",
    (
        (
            "decode.py",
            '    lines = data.split(b"\\n")\n    lines.pop()\n    offsets',
            f'    if b"raise-in-decode" in data:\n        {RAISE}\n'
            '    lines = data.split(b"\\n")\n    lines.pop()\n    offsets',
        ),
        (
            "native.py",
            "        found = decode_uniform(data, base, _common",
            f'        if b"raise-in-decode" in data:\n            {RAISE}\n'
            "        found = decode_uniform(data, base, _common",
        ),
        (
            "native.py",
            "        rows = self._rows_of_common(decoded, role)\n",
            '        if any("raise-in-mapping" in record.get("type", "") for record in decoded.records):\n'
            f"            {RAISE}\n        rows = self._rows_of_common(decoded, role)\n",
        ),
        (
            "native.py",
            "        event_types = [record.type for record in records]\n",
            "        event_types = [record.type for record in records]\n"
            f'        if "raise-in-mapping" in event_types:\n            {RAISE}\n',
        ),
        (
            "step.py",
            "    state.retired_us = None\n    state.events += len(run)\n",
            "    state.retired_us = None\n    state.events += len(run)\n"
            f'    if any(item[3] == "raise-in-step" for item in run):\n        {RAISE}\n',
        ),
        (
            "store.py",
            "        named: dict[str, int] = {}\n        for name, events in counts.items():\n",
            "        named: dict[str, int] = {}\n        for name, events in counts.items():\n"
            f'            if name == "raise-in-commit":\n                {RAISE}\n',
        ),
        (
            "quarantine.py",
            "            self._rest()\n            return error\n",
            "            self._rest()\n            import os, time\n"
            '            self.failures = getattr(self, "failures", 0) + 1\n'
            '            while self.failures > 2 and os.path.exists(os.environ.get("HOLD", "")):\n'
            '                open(os.environ["HOLD"] + ".held", "w").close()\n'
            "                time.sleep(0.01)\n"
            "            return error\n",
        ),
    ),
    (),
)
KINDS = ("raise-in-decode", "raise-in-mapping", "raise-in-step", "raise-in-commit")


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Return the environment in which that copy runs."""
    return {"PYTHONPATH": str(build(PLANTED, tmp_path_factory.mktemp("planted")))}


def poisoned(telemetry, kinds, end):
    """Return what one agent did, with records that cannot be judged in the middle of it."""
    records = telemetry.flood(count=240, end=end)
    for number, kind in enumerate(kinds):
        at = 100 + 10 * number
        records[at:at] = [telemetry.record("scraper", kind, end - 14 + number, note="x")]
    return records


def write(telemetry, kinds, end, *, is_sound=False):
    """Write it to two lines files, whose times overlap, and to a document; honest agents write too."""
    t = telemetry
    files = {"scraper-a.jsonl": poisoned(t, kinds, end), "scraper-b.jsonl": poisoned(t, kinds, end - 3)}
    files["calm.jsonl"] = t.normal("calm", end=end)
    for name, records in files.items():
        lines = [json.dumps(record).encode() for record in records]
        if is_sound:
            lines = [b"x" * len(line) if b"raise-in" in line else line for line in lines]
        t.append(name, *[line + b"\n" for line in lines])
    elements = poisoned(t, kinds[1:], end - 1)
    if is_sound:
        elements = [1 if "raise-in" in json.dumps(item) else item for item in elements]
    (t.directory / "array.json").write_text(json.dumps(elements))


def told(place):
    """Return what a daemon made of it, without what tells refused lines apart."""
    status = place.json("status", code=None)
    return {
        "decisions": place.decisions(),
        "agents": {name: agent["events"] for name, agent in status["agents"].items()},
        "totals": {k: status["totals"][k] for k in ("accepted", "rejects", "duplicates", "events")},
    }


@pytest.mark.usefixtures("by_activity")
def test_history_with_records_that_cannot_be_judged_counts_all_others(place, planted):
    end = time.time() - 60
    place.telemetry.rng.seed(1)
    write(place.telemetry, KINDS, end, is_sound=True)
    place.once()
    sound = told(place)
    for path in [*place.telemetry.directory.iterdir()]:
        path.unlink()
    place.telemetry.rng.seed(1)
    place.base = place.base / "planted"
    place.base.mkdir()
    write(place.telemetry, KINDS, end)
    place.env = planted
    done = place.once()
    plain = place.json("replay", place.telemetry.directory)
    as_observed = place.json("replay", "--as-observed", place.telemetry.directory)
    # Another version, which does not fail, goes by what is on record.
    place.env = {}
    later = place.json("replay", "--as-observed", place.telemetry.directory)

    assert told(place) == sound
    assert [decision["to_tier"] for decision in sound["decisions"]] == [2, 3]
    logs = [json.loads(line) for line in done.stderr.splitlines()]
    failures = [item for item in logs if item["event"] == "internal_error"]
    assert {item["cause"].partition(" ")[0] for item in failures} == {"RecursionError"}
    assert len(failures) == 3
    assert all(item["level"] == "error" and "planted" in item["exception"] for item in failures)
    kept = (place.state_dir / "rejects" / "rejects.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in kept} == {"internal_error"}
    assert sum("raise-in-step" in line for line in kept) == 2

    assert [d["decided_at"] for d in plain["decisions"]] == [d["decided_at"] for d in sound["decisions"]]
    assert (plain["totals"]["accepted"], plain["totals"]["rejects"]) == (760, 11)
    for again in (as_observed, later):
        assert (again["decisions"], again["missing"]) == (sound["decisions"], [])
        assert again["totals"]["rejects"] == 11


@pytest.mark.usefixtures("by_activity")
def test_a_kill_while_a_record_is_looked_for_changes_nothing(place, planted, wait_for):
    t, hold = place.telemetry, place.base / "hold"
    t.append("calm.jsonl", *t.normal("calm"))
    place.env = {**planted, "HOLD": str(hold)}
    daemon = place.start()
    hold.touch()
    t.append("scraper.jsonl", *poisoned(t, ("raise-in-step", "raise-in-commit"), time.time()))
    wait_for((place.base / "hold.held").exists, "the third attempt that fails")
    daemon.kill()
    hold.unlink()
    place.start(wait=False)
    place.env = {}
    wait_for(lambda: place.tier("scraper") == 3, "demotion after the kill")
    t.append("calm.jsonl", *t.normal("calm", 5, every=0.01))
    wait_for(lambda: place.json("status")["agents"]["calm"]["events"] == 45, "others are read on")

    status = place.json("status")
    assert status["agents"]["scraper"]["events"] == 240
    assert status["agents"]["scraper"]["coverage"]["rejects"] == 2
    assert (status["state"]["status"], status["state"]["faults"]) == ("degraded", ["internal_error"])
    assert status["totals"]["incidents"] == {"internal_error": 2}
    assert place.daemons[-1].stop() == 0
    again = place.json("replay", "--as-observed", t.directory)
    assert (again["decisions"], again["missing"]) == (place.decisions(), [])
