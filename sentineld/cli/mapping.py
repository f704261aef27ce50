"""``sentineld mapping``: what a file's records become, and which formats there are."""

import difflib
import json
import os
import stat
import textwrap
from collections import Counter
from collections.abc import Iterator
from shlex import quote
from typing import Any

import click

from sentineld.claims import Claims
from sentineld.cli.app import common, configuration, print_json
from sentineld.config import Config
from sentineld.errors import AccessError, ConfigError, UsageError
from sentineld.explain import printable_path
from sentineld.mapping import Mapping
from sentineld.mapping_files import read_mappings
from sentineld.masking import mask
from sentineld.native import NATIVE
from sentineld.places import find_places
from sentineld.recognition import Formats
from sentineld.trial import DUPLICATE, EVENTS, IGNORED, REJECTED, UNKNOWN, Trial
from sentineld.visible import visible

_WIDTH = 80
_SHOWN = 20
#: Names of one kind that the summary shows.
_SHOWN_NAMES = 8
_FRAMINGS = {
    "lines": "one record a line",
    "stream": "values one behind the other",
    "document": "one document, read whole",
    "compressed": "one record a line, compressed",
}


@click.group(epilog="Example: sentineld mapping try session.jsonl")
def mapping() -> None:
    """See what a file's records become, and which formats there are (docs/mapping.md)."""


@mapping.command("try", epilog="Example: sentineld mapping try session.jsonl --mapping mine.toml")
@click.argument("file", metavar="FILE")
@click.option(
    "--mapping",
    "mapping_path",
    metavar="FILE",
    help="Mappings to try beside the configured and built-in ones.",
)
@click.option("--format", "format_name", metavar="NAME", help="Format to use, whatever is recognised.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=_SHOWN,
    show_default=True,
    help="Records that are shown one by one, 0: all. All are counted.",
)
@common
def try_(
    file: str,
    mapping_path: str | None,
    format_name: str | None,
    limit: int,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Show what each record of FILE becomes, and why. Also what is ignored, unknown or rejected.

    It reads the file alone and changes nothing. Secrets are masked. Exits 0 whatever it shows.
    """
    overrides = {} if format_name is None else {"telemetry.format": format_name}
    # A format that only --mapping declares is unknown to the configuration.
    config = configuration(config_path, state_dir, {} if mapping_path is not None else overrides)
    path = _readable(file)
    formats, own = config.formats(), ""
    if mapping_path is not None:
        formats, own = _with_own(config, formats, mapping_path, format_name, path)
    trust = config.trust()
    claims = Claims(formats, trust, os.environ, os.geteuid())
    trial = Trial(path, formats, trust, claims, line_bytes=config.limits.line_bytes, own=own, limit=limit)
    if as_json:
        _print_document(trial, mapping_path)
        return
    click.echo(visible(printable_path(path)))
    for number, told in enumerate(trial.read()):
        if number == 0:
            _print_head(trial)
        for line in _record_lines(told):
            click.echo(line)
    if trial.summary.records == 0:
        _print_head(trial)
    for line in _summary_lines(trial, mapping_path):
        click.echo(line)


@mapping.command("list", epilog="Example: sentineld mapping list --json")
@common
def list_(config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """List the formats that are known, and where they are looked for."""
    config = configuration(config_path, state_dir)
    document = {"formats": _formats_document(config)}
    if as_json:
        print_json(document)
        return
    for entry in document["formats"]:
        origin = "" if entry["file"] is None else f" ({visible(entry['file'])})"
        click.echo(f"{entry['name']}{origin}")
        _say(entry["description"] or "no description", "  ")
        for place in entry["places"]:
            there = "there" if place in entry["found"] else "not there"
            _say(f"{place}: {there}", "  ")


def _readable(file: str) -> str:
    path = os.path.abspath(file)
    if os.path.isdir(path):
        raise UsageError(
            f"{file} is a directory",
            hint=f"one of its files, or for all of them: sentineld replay {quote(file)}",
        )
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"{file} is no regular file", hint="sentineld mapping try FILE")
        with open(path, "rb"):
            return path
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {file}", hint="sentineld mapping try FILE") from error
    except OSError as error:
        raise AccessError(f"cannot read {file}: {error.strerror}", hint=f"ls -l {quote(file)}") from error


def _with_own(
    config: Config, known: Formats, mapping_path: str, format_name: str | None, path: str
) -> tuple[Formats, str]:
    """Return all formats, those of a file first, and which of those to use whatever is recognised."""
    taxonomy = config.classes()
    own = read_mappings(mapping_path, taxonomy.classify)
    names = [item.name for item in own]
    mappings: list[Mapping] = [*own, *(item for item in known.mappings if item.name not in names)]
    formats = Formats(mappings, "", taxonomy)
    if format_name is not None:
        if format_name not in formats.names:
            near = difflib.get_close_matches(format_name, formats.names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(formats.names)}"
            raise ConfigError(f"--format: unknown format {format_name!r}", hint=hint)
        return formats.force(format_name), ""
    by_path = [item.name for item in own if item.parts(path) is not None]
    return formats, (by_path or names)[0]


# JSON.


def _print_document(trial: Trial, mapping_path: str | None) -> None:
    # Written as it is read: a file may be larger than memory.
    click.echo('{\n  "records": [', nl=False)
    separator = "\n"
    for told in trial.read():
        click.echo(separator + textwrap.indent(json.dumps(told, indent=2), "    "), nl=False)
        separator = ",\n"
    rest = json.dumps(
        {"file": _file_document(trial), "summary": _summary_document(trial, mapping_path)}, indent=2
    )
    click.echo("\n  ]," + rest.removeprefix("{"))


def _file_document(trial: Trial) -> dict[str, Any]:
    return {
        "path": printable_path(trial.path),
        "format": trial.format,
        "why": trial.why,
        "recognised": trial.recognised,
        "framing": trial.framing,
        "unread_bytes": trial.unread_bytes,
        "troubles": [{"kind": item.kind, "detail": item.detail} for item in trial.troubles],
    }


def _summary_document(trial: Trial, mapping_path: str | None) -> dict[str, Any]:
    summary = trial.summary
    return {
        "records": summary.records,
        "fates": dict(summary.fates),
        "events": summary.events,
        "tool_calls": summary.tool_calls,
        "by_class": dict(summary.by_class.most_common()),
        "by_type": dict(summary.by_type.most_common()),
        "agents": dict(summary.agents.most_common()),
        "outcomes": dict(summary.outcomes.most_common()),
        "duplicates": summary.duplicates,
        "id_conflicts": summary.conflicts,
        "timeless": summary.timeless,
        "ignored": dict(summary.ignored.most_common()),
        "unknown": dict(summary.unknown.most_common()),
        "rejected": dict(summary.rejected.most_common()),
        "next": list(_next_steps(trial, mapping_path)),
    }


def _formats_document(config: Config) -> list[dict[str, Any]]:
    formats = config.formats()
    files = {}
    for path in reversed(config.telemetry.mappings):
        files.update({item.name: path for item in read_mappings(path, config.classes().classify)})
    places = find_places(formats, os.environ, os.geteuid())
    entries: list[dict[str, Any]] = [
        {
            "name": NATIVE,
            "description": "sentineld's own format: type, source, timestamp and data",
            "file": None,
            "globs": [],
            "places": [],
            "found": [],
        }
    ]
    for item in formats.mappings:
        found = [place.path for place in places.found if place.format == item.name]
        missing = [place.path for place in (*places.missing, *places.foreign) if place.format == item.name]
        entries.append(
            {
                "name": item.name,
                "description": item.description,
                "file": files.get(item.name),
                "globs": list(item.globs),
                "places": [printable_path(path) for path in (*found, *missing)],
                "found": [printable_path(path) for path in found],
            }
        )
    return entries


# Text.


def _print_head(trial: Trial) -> None:
    _say(f"format: {trial.format}: {trial.why}" if trial.format else f"format: not recognised: {trial.why}")
    if trial.recognised != trial.format:
        name = trial.recognised or "none"
        _say(f"recognised without --mapping: {name}: {trial.recognised_why}")
    if trial.framing:
        _say(f"framing: {_FRAMINGS[trial.framing]}")


def _record_lines(told: dict[str, Any]) -> Iterator[str]:
    where = (
        f"element {told['offset']}" if told["line"] is None else f"line {told['line']}, byte {told['offset']}"
    )
    fate = told["fate"]
    yield ""
    if fate == REJECTED:
        yield from _wrapped(f"{where}: rejected, {told['reason']}: {told['detail']}")
        yield from _wrapped(told["text"], "  ")
        return
    if fate == IGNORED:
        yield from _wrapped(f"{where}: ignored: {'; '.join(told['notes'])}")
        return
    if fate == UNKNOWN:
        yield from _wrapped(f"{where}: unknown: {', '.join(told['unknown'])}")
        return
    yield from _wrapped(f"{where}: {_plural(len(told['events']), 'event')}")
    for event in told["events"]:
        yield from _event_lines(event)
    for name in told["unknown"]:
        yield from _wrapped(f"unknown: {name}", "  ")


def _event_lines(event: dict[str, Any]) -> Iterator[str]:
    kind = event["type"] if event["type"] == event["class"] else f"{event['type']} (class {event['class']})"
    tool = f"{'tool call' if event['is_tool_call'] else 'tool'} {event['tool']}" if event["tool"] else ""
    duration = "" if event["duration_ms"] is None else f"{event['duration_ms']:g} ms"
    state = {"": "", DUPLICATE: "a duplicate, does not count"}.get(
        event["state"], "another record has its id and other content"
    )
    yield from _wrapped(", ".join(filter(None, (kind, tool, event["outcome"], duration, state))), "  ")
    claimed = f"claims to be {event['claimed']}" if event["claimed"] else ""
    who = [
        f"agent {event['agent']}",
        claimed,
        event["role"] and f"role {event['role']}",
        event["session"] and f"session {event['session']}",
    ]
    when = [
        f"time {event['time']}" if event["time"] else "no time of its own: the file's counts",
        event["id"] and f"id {event['id']}",
        event["call_id"] and event["call_id"] != event["id"] and f"call {event['call_id']}",
    ]
    tokens = [
        f"{event[name]} tokens {word}"
        for name, word in (("input_tokens", "in"), ("output_tokens", "out"))
        if event[name] is not None
    ]
    entities = [f"{item['kind']} {item['role']} {item['value']}" for item in event["entities"]]
    asked = [] if event["asked"] is None else [f"a user's prompt; names kept as hashes: {event['asked']}"]
    for parts in (who, when, tokens, entities, asked):
        text = ", ".join(str(part) for part in parts if part)
        if text:
            yield from _wrapped(text, "    ")
    if event["payload"] != "{}":
        yield from _wrapped(event["payload"], "    ")


def _summary_lines(trial: Trial, mapping_path: str | None) -> Iterator[str]:
    summary = trial.summary
    yield ""
    fates = [
        f"{summary.fates[fate]} {text}"
        for fate, text in (
            (EVENTS, f"became {_plural(summary.events, 'event')}"),
            (IGNORED, "ignored"),
            (UNKNOWN, "unknown"),
            (REJECTED, "rejected"),
            (DUPLICATE, "duplicate"),
        )
        if summary.fates[fate]
    ]
    if trial.limit and summary.records > trial.limit:
        yield from _wrapped(
            f"Shown above: {trial.limit} of {summary.records} (--limit 0: all). In the whole file:"
        )
    yield from _wrapped(
        f"{_plural(summary.records, 'record')}: {', '.join(fates) or 'there is nothing in it'}"
    )
    yield from _wrapped(f"tool calls: {summary.tool_calls}; events by class: {_names(summary.by_class)}")
    for title, counts in (
        ("agents", summary.agents),
        ("outcomes", summary.outcomes),
        ("ignored", summary.ignored),
        ("unknown", summary.unknown),
        ("rejected", summary.rejected),
    ):
        if counts:
            yield from _wrapped(f"{title}: {_names(counts, '; ' if counts is summary.ignored else ', ')}")
    for count, text in (
        (summary.duplicates, "events are duplicates within the file, by their id"),
        (
            summary.conflicts,
            "events have the id of another one and other content: evidence against the owner",
        ),
        (summary.timeless, "events have no time of their own: the file's counts, flagged"),
        (trial.unread_bytes, "bytes at the end are not read: their line or value is not finished"),
    ):
        if count:
            yield from _wrapped(f"{count} {text}")
    for trouble in trial.troubles:
        yield from _wrapped(f"{trouble.kind}: {trouble.detail}")
    for step in _next_steps(trial, mapping_path):
        # Commands are to be copied: what is long in them is a path.
        yield from _wrapped(f"next: {step}", breaks=False)


def _next_steps(trial: Trial, mapping_path: str | None) -> Iterator[str]:
    summary = trial.summary
    if not summary.records:
        return
    if not trial.format:
        yield "declare its format in a mapping (docs/mapping.md), or give --format (sentineld mapping list)"
        return
    if summary.unknown:
        yield "declare the unknown records: an event, or emit = false with a note (docs/mapping.md)"
    if summary.rejected:
        yield "docs/telemetry.md has the reasons for which records are rejected"
    if mapping_path is not None:
        if trial.recognised != trial.format:
            yield (
                "give the format a glob or a match that holds for this file, or name the format in "
                "[[telemetry.sources]]: sentineld would not recognise it"
            )
        yield f'configure it: [telemetry] mappings = ["{os.path.abspath(mapping_path)}"]'
    elif not summary.unknown and not summary.rejected and summary.events:
        yield f"sentineld replay {printable_path(trial.path)}"


def _names(counts: Counter[str], separator: str = ", ") -> str:
    shown = [f"{count} {mask(name)}" for name, count in counts.most_common(_SHOWN_NAMES)]
    more = len(counts) - _SHOWN_NAMES
    return separator.join([*shown, *([f"and {more} more kinds"] if more > 0 else [])]) or "none"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _say(text: str, indent: str = "") -> None:
    for line in _wrapped(text, indent):
        click.echo(line)


def _wrapped(text: str, indent: str = "", *, breaks: bool = True) -> list[str]:
    return textwrap.wrap(
        visible(text, 4000),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_on_hyphens=False,
        break_long_words=breaks,
    )
