"""Shipping logs: the configurations of docs/log-shipping.md, run where that can be, else looked at."""

import datetime as dt
import json
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from journals import numbered
from receivers import receiver

from sentineld.decision import CAUSES, Evidence
from sentineld.journal import Journal

PAGE = (Path(__file__).parents[1] / "docs" / "log-shipping.md").read_text()
#: Labels of which there are few values, whatever agents do.
FEW = {"job", "cause", "to_tier", "level", "event"}
#: What an agent could have written, to be told as two records, or as something else than text.
HOSTILE = 'say "hi" $(echo x) ${HOST} \\\n{"decision_no": 7}\r\x1b[2J\u2028\u202e {{ level }} %{x}'
needs_syslog_ng = pytest.mark.skipif(
    shutil.which("syslog-ng") is None,
    reason="syslog-ng is not installed (Debian: apt-get install syslog-ng-core syslog-ng-mod-http)",
)


def block(name):
    """Return the configuration that the page has for a file of this name."""
    found = re.search(rf"```\w+\n(?://|#) \S*/{re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)
    return found[1]


DECISIONS = [
    replace(
        numbered(number, "@everyone", tiers=(1, number % 3 + 1), cause=CAUSES[number % len(CAUSES)]),
        decided_at=f"2026-11-23T14:57:25{('', '.120', '.123456')[number % 3]}Z",
        evidence=[Evidence("/a b", number, "e", HOSTILE)],
    )
    for number in range(1, 10)
]


def nanoseconds(text):
    moment = dt.datetime.fromisoformat(text)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + moment.microsecond * 1000


class SyslogNg:
    """A syslog-ng with the page's configuration, of which files and addresses are replaced."""

    def __init__(self, directory, log, port):
        self.directory = directory
        text = "@version: 3.38\n" + "".join(
            block(f"sentineld-{name}.conf") for name in ("loki", "elasticsearch")
        )
        text = text.replace("/var/lib/sentineld/decisions.jsonl", log).replace(
            "follow-freq(1)", "follow-freq(0.05)"
        )
        text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", text).replace("(1000)", "(50)")
        (directory / "syslog-ng.conf").write_text(text)
        self.start()

    def start(self):
        files = [f"--{name}={self.directory / name}" for name in ("persist-file", "pidfile", "control")]
        command = ["syslog-ng", "-F", "--no-caps", "-f", str(self.directory / "syslog-ng.conf"), *files]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@needs_syslog_ng
def test_syslog_ng_posts_each_decision_once_at_its_time_under_few_labels(tmp_path, wait_for):
    log = Journal(str(tmp_path / "decisions.jsonl"), kept_files=9)
    log.append(DECISIONS[:3])
    with receiver() as hook:
        shipper = SyslogNg(tmp_path, log.path, hook.url.split(":")[2].split("/")[0])

        def pushed():
            posts = [post.document for post in hook.posts if post.path == "/loki/api/v1/push"]
            return [
                (stream["stream"], *value)
                for post in posts
                for stream in post["streams"]
                for value in stream["values"]
            ]

        def indexed():
            bodies = [post.body.decode() for post in hook.posts if post.path == "/_bulk"]
            assert all(body.endswith("\n") for body in bodies)
            lines = [json.loads(line) for body in bodies for line in body.splitlines()]
            return list(zip(lines[::2], lines[1::2], strict=True))

        def wait(count):
            wait_for(lambda: len(pushed()) >= count and len(indexed()) >= count, f"{count} decisions")

        try:
            wait(3)
            log.append(DECISIONS[3:5])
            log.rotate()
            # What a crash leaves of a line, and the whole one.
            with open(log.path, "ab") as file:
                file.write(b'{"decision_no": 6, "deci\n')
            log.append(DECISIONS[5:7])
            wait(7)
            shipper.stop()
            log.append(DECISIONS[7:])
            shipper.start()
            wait(9)
        finally:
            shipper.stop()

    told = [decision.to_dict() for decision in DECISIONS]
    by_number = sorted(pushed(), key=lambda item: json.loads(item[2])["decision_no"])
    assert [json.loads(line) for _, _, line in by_number] == told
    for (labels, at, line), decision in zip(by_number, told, strict=True):
        assert labels == {"job": "sentineld", "cause": decision["cause"], "to_tier": str(decision["to_tier"])}
        assert at == str(nanoseconds(decision["decided_at"]))
        assert len(line.splitlines()) == 1
    documents = sorted(indexed(), key=lambda item: item[1]["decision_no"])
    assert [{**decision, "@timestamp": decision["decided_at"]} for decision in told] == [
        document for _, document in documents
    ]
    assert len({action["create"]["_id"] for action, _ in documents}) == len(told)


def record():
    """Return a decision as the log has it."""
    return json.loads(json.dumps(DECISIONS[0].to_dict()))


@pytest.fixture
def process_record(place):
    """Return a record of the daemon's own log."""
    done = place.once()
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert lines
    return lines[0]


def test_a_record_is_one_line(tmp_path):
    log = Journal(str(tmp_path / "decisions.jsonl"))
    log.append(DECISIONS)
    text = (tmp_path / "decisions.jsonl").read_bytes()

    assert len(text.decode().splitlines()) == len(DECISIONS) == text.count(b"\n")
    assert text.decode().isprintable() or set(filter(lambda char: not char.isprintable(), text.decode())) == {
        "\n"
    }


def test_alloy_extracts_what_is_there_reads_its_time_and_sets_few_labels(process_record):
    text = block("sentineld.alloy")
    stages = re.findall(r'loki\.process "(\w+)" \{(.*?)\n\}', text, re.DOTALL)
    for name, body in stages:
        line = {"decisions": record(), "log": process_record}[name]
        expressions = re.findall(r'"(\w+)" = ""', re.search(r"expressions\s*= \{(.*?)\}", body)[1])
        labels = re.findall(r'"(\w+)" = ""', re.search(r"values = \{(.*?)\}", body)[1])
        time = re.search(r'source = "(\w+)"\s+format = "RFC3339Nano"', body)[1]
        assert set(expressions) == {*labels, time}
        assert set(expressions) <= line.keys()
        assert set(labels) <= FEW
        assert dt.datetime.fromisoformat(line[time]).tzinfo == dt.UTC
    assert len(stages) == 2
    assert "multiline" not in text
    names = re.findall(r'^([\w.]+) "(\w+)"', text, re.MULTILINE)
    for reference in re.findall(r"(loki\.\w+)\.(\w+)\.receiver", text):
        assert reference in names, "what is forwarded to exists"


def go_layout(layout):
    """Return a layout of Go's as a pattern; .999 are so many decimals at most, or none."""
    pattern = (
        re.escape(layout)
        .replace("2006", r"\d{4}")
        .replace(r"01\-02", r"\d\d\-\d\d")
        .replace("15:04:05", r"\d\d:\d\d:\d\d")
    )
    return re.sub(r"\\\.(9+)", lambda found: rf"(\.\d{{1,{len(found[1])}}})?", pattern)


def test_filebeat_parses_lines_reads_their_time_and_knows_them_again(process_record):
    told = yaml.safe_load(block("filebeat.yml"))
    decisions, journal = told["filebeat.inputs"]
    for source, line, name in ((decisions, record(), "decided_at"), (journal, process_record, "timestamp")):
        (parser,) = source["parsers"]
        target = parser["ndjson"]["target"]
        (time,) = [item["timestamp"] for item in source["processors"] if "timestamp" in item]
        assert time["field"] == f"{target}.{name}"
        for moment in (line[name], *(decision.decided_at for decision in DECISIONS)):
            assert any(re.fullmatch(go_layout(layout), moment) for layout in time["layouts"]), moment
    (mark,) = [item["fingerprint"] for item in decisions["processors"] if "fingerprint" in item]
    assert {name.removeprefix("sentineld.") for name in mark["fields"]} <= record().keys()
    assert "decisions.jsonl" in decisions["paths"][0]
    assert "decisions.*.jsonl" in decisions["paths"][1]


def test_the_index_takes_no_field_that_is_not_named():
    template = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])["template"]["mappings"]

    assert template["dynamic"] is False
    assert set(template["properties"]) - {"@timestamp"} <= record().keys()


def test_vector_reads_the_time_and_sets_few_labels(process_record):
    told = tomllib.loads(block("sentineld.toml"))
    (remap,) = told["transforms"].values()
    (sink,) = told["sinks"].values()

    assert set(remap["inputs"]) <= told["sources"].keys()
    assert set(sink["inputs"]) <= told["transforms"].keys()
    assert set(re.findall(r"record\.(\w+)", remap["source"])) == {"timestamp"}
    assert set(sink["labels"]) <= FEW
    for template in re.findall(r"\{\{ (\w+) \}\}", " ".join(sink["labels"].values())):
        assert template in process_record
