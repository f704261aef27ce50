"""What formats and rules say of a path: whether it is read, and how it is framed."""

from types import SimpleNamespace

import pytest

from sentineld.claims import Claims
from sentineld.mapping_files import parse_mappings
from sentineld.recognition import Formats
from sentineld.trust import Rule, Trust

EVENT = "[[source.event]]\ntype = '=plan'\n"
FORMATS = f"""
[[source]]
name = "query"
glob = ["*/query.results.log", "*/chat/{{id}}/session-*.json"]
places = ["${{QUERY_HOME:-~/.query}}/log"]
{EVENT}
[[source]]
name = "pretty"
glob = ["*.pretty", "*/pretty/*.jsonl"]
framing = "stream"
{EVENT}
[[source]]
name = "whole"
glob = ["*/whole.data"]
framing = "document"
{EVENT}
"""


def claims(forced="", rules=(), env=None):
    call = SimpleNamespace(event_class="plan", entities=(), features=())
    formats = Formats(parse_mappings(FORMATS.encode(), "x.toml", lambda *_: call), forced)
    return Claims(formats, Trust(rules, ["/var/log"]), env or {"HOME": "/home/u"}, 1000)


@pytest.mark.parametrize(
    ("path", "claimed"),
    [
        # The name and the content tell.
        ("/var/log/x.jsonl", None),
        ("/var/log/x.json", None),
        ("/var/log/x.txt", None),
        ("/var/log/chat/7/session-1.json", None),
        # A glob makes telemetry of any name, and a mapping says how it is framed.
        ("/var/log/query.results.log", "lines"),
        ("/var/log/x.pretty", "stream"),
        ("/var/log/pretty/x.jsonl", "stream"),
        ("/var/log/whole.data", "document"),
        ("/var/log/query.results.log.gz", None),
        # Below a format's place, in whoever's home, other documents are none.
        ("/home/u/.query/log/index.json", ""),
        ("/home/other/.query/log/index.json", ""),
        ("/home/u/.query/log/index.json.1", ""),
        ("/home/u/.query/log/chat/7/session-1.json", None),
        ("/home/u/.query/log/x.jsonl", None),
        ("/home/u/.query/index.json", None),
    ],
)
def test_a_path_is_claimed_by_globs_and_places(path, claimed):
    assert claims()(path) == claimed


def test_a_place_that_the_environment_moved_counts_too():
    moved = claims(env={"HOME": "/home/u", "QUERY_HOME": "/srv/q"})

    assert moved("/srv/q/log/index.json") == ""
    assert claims()("/srv/q/log/index.json") is None


def test_a_rule_that_names_a_format_claims_its_files():
    ruled = claims(rules=[Rule("special/*", format="pretty"), Rule("mine/*", format="wordpress")])

    assert ruled("/var/log/special/x.log") == "stream"
    assert ruled("/var/log/special/x.json") == "stream"
    assert ruled("/var/log/mine/x.log") == "lines"
    assert ruled("/var/log/mine/x.json") is None


def test_a_forced_format_frames_everything_and_claims_no_more_than_its_globs():
    forced = claims("pretty")

    assert forced("/var/log/x.jsonl") == "stream"
    assert forced("/var/log/x.pretty") == "stream"
    assert forced("/var/log/query.results.log") is None
    assert forced("/home/u/.query/log/index.json") == ""
    assert claims("wordpress")("/home/u/.query/log/index.json") is None


def test_without_a_home_only_names_below_homes_are_known():
    homeless = claims(env={"HOME": ""})

    assert homeless("/home/u/.query/log/index.json") == ""
