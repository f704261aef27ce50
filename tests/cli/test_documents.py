"""Every ``--json`` document, from the real command, against its published schema."""

import json
import re

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from schemas import SCHEMAS, check

from sentineld.cli import main


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_every_schema_is_a_schema(path):
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:sentineld:schema:{path.name.removesuffix('.schema.json')}"


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_a_schema_that_is_printed_needs_no_other(capsys, path):
    assert main(["schema", path.name.removesuffix(".schema.json")]) == 0
    printed = json.loads(capsys.readouterr().out)

    # Whoever has this one alone can look up all that it refers to.
    resource = Resource.from_contents(printed)
    resolver = Registry().resolver_with_root(resource)
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(printed))):
        resolver.lookup(reference)
    assert {key: value for key, value in printed.items() if key != "$defs"} == {
        key: value for key, value in json.loads(path.read_text()).items() if key != "$defs"
    }


@pytest.mark.usefixtures("by_activity")
def test_documents_are_as_their_schemas_say(place):
    telemetry = place.telemetry
    telemetry.fill()
    telemetry.append("bad.jsonl", b"{\n", b"\n")
    (telemetry.directory / "one.json").write_text(json.dumps(telemetry.normal("biller", 2)))
    check("status", json.loads(place.once("--json").stdout))
    check("state", place.state())
    check("status", place.json("status"))
    check("status", place.json("status", "scraper"))
    check("why", place.json("why", "scraper"))
    check("why", place.json("why", "biller"))
    check("log", place.json("log"))
    check("tier", place.json("tier", "scraper", code=1))
    check("replay", place.json("replay", telemetry.directory))
    check("replay", place.json("replay", "--as-observed", telemetry.directory))
    for wish in (["pardon", "scraper"], ["pin", "biller", 2, "--until", "1h"], ["unpin", "mailer"]):
        check("wish", place.json(*wish, "--reason", "a test"))
    place.once("--mode", "observe")
    check("state", place.state())
    check("status", place.json("status"))
    check("backup", place.json("backup", "backup.db"))
    check("restore", place.json("restore", "backup.db"))
    check("status", place.json("status"))
    for line in (place.state_dir / "decisions.jsonl").read_text().splitlines():
        check("decision", json.loads(line))


def test_a_signed_state_file_is_as_its_schema_says(place):
    check("keygen", place.json("keygen", "k"))
    place.telemetry.fill()
    place.once("--config", place.config('[state]\nkey_file = "k"\n'))

    state = place.state()
    check("state", state)
    assert state["signature"]
    config = ["--config", place.base / "sentineld.toml"]
    given = place.json("break-glass", "--tier", 2, "--agent", "biller", "--reason", "a test", *config)
    check("break-glass", given)
    check("override", json.loads((place.state_dir / "state.json.override").read_text()))
    check("status", place.json("status", *config))
    check("tier", place.json("tier", "biller", *config, code=1))
    check("break-glass", place.json("break-glass", "--end", "--reason", "a test", *config))
    check("override", json.loads((place.state_dir / "state.json.override").read_text()))


def test_documents_of_the_configuration_are_as_their_schemas_say(place):
    check("init", place.json("init", "--print"))
    written = place.json("init", "--config", "new.toml", "--telemetry", place.telemetry.directory)
    check("init", written)
    assert (place.base / "new.toml").read_text() == written["text"]
    check("check", place.json("check", "--config", "new.toml"))
    check("check", place.json("check", code=1))
    place.config('[notify]\nwebhook = "https://a.example/s3cret"\n')
    document = place.json("check", "--config", "sentineld.toml", code=None)
    check("check", document)
    assert document["effective"]["notify"]["webhook"] == "***"
    place.config("[nonsense]\n")
    check("check", place.json("check", "--config", "sentineld.toml", code=78))


def test_status_without_a_database_is_a_document_that_knows_nothing(place):
    document = place.json("status", code=3)

    check("status", document)
    assert document["agents"] == document["files"] == {}
    assert document["state"]["fresh"] is False
    assert document["state"]["reason"]
    assert not place.state_dir.exists(), "looking changes nothing"


def test_a_schema_refuses_what_it_should(place):
    place.telemetry.fill()
    document = json.loads(place.once("--json").stdout)
    document["agents"]["scraper"]["tier"] = 4

    with pytest.raises(Exception, match="4 is greater than the maximum of 3"):
        check("status", document)
