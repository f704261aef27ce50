"""``sentineld why AGENT``: the reasons behind an agent's tier, with the records."""

import os
import shlex
import textwrap
from itertools import groupby
from typing import Any

import click

from sentineld.cli.app import common, configuration, daemon_paths, print_json, same_place
from sentineld.cli.names import HELD, complete_agent, feature_label, nearest, starter_line, unusual
from sentineld.cli.prose import counted
from sentineld.explain import INTEGRITY
from sentineld.store import Store
from sentineld.tier import Tier
from sentineld.views import look_at_state, why_document
from sentineld.visible import visible

#: Incidents shown; the document has more.
_SHOWN_INCIDENTS = 5


@click.command(epilog="Example: sentineld why scraper --state-dir ./state")
@click.argument("agent", shell_complete=complete_agent)
@common
def why(agent: str, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Explain an agent's tier: what was seen, what would have been normal, which records, what lifts it."""
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)
    report = look_at_state(config, paths, os.environ)
    with Store.open_readonly(paths.database) as store:
        row = store.agent_named(agent)
        if row is None:
            raise nearest(store, agent)
        document = why_document(store, config, report, row)
    if as_json:
        print_json(document)
    else:
        tell(document, same_place(config_path, state_dir))


def tell(document: dict[str, Any], place: str = "") -> None:
    """Print the document of ``why --json`` in words; ``place`` are options for commands that are told."""
    name, tier, would = document["agent"], document["tier"], document["would"]
    learned = document["learned"]
    click.echo(f"{name}: tier {tier} ({Tier(tier).label})")
    if would != tier:
        click.echo(f"It would be at tier {would} ({Tier(would).label}): {HELD[document['held_by']]}.")
    if learned is None:
        parts = " + ".join(f"{part} {value:.2f}" for part, value in document["contributions"].items())
        click.echo(f"score now {document['score']:.2f} = {parts}; highest ever {document['max_score']:.2f}")
    else:
        _print_learned(learned, document)
    if document["coverage"]["note"]:
        click.echo(textwrap.fill(f"{document['coverage']['note']}.", 80, break_on_hyphens=False))
    decision, demotion = document["decision"], document["demotion"]
    if decision is None:
        click.echo("\nIt was never demoted.")
        return
    if demotion is None or demotion["decision_no"] != decision["decision_no"]:
        _print_change(decision)
    if demotion is not None and not demotion["actor"]:
        if demotion["decision_no"] != decision["decision_no"]:
            click.echo("\nThe last demotion before that:")
        _print_change(demotion)
        if demotion["reasons"] and demotion["reasons"][0]["detector"] == INTEGRITY:
            _print_incident(demotion["evidence"][-1])
        elif demotion["p"] is not None:
            _print_findings(demotion)
        elif demotion["reasons"]:
            _print_reasons(demotion)
            _print_records(demotion["evidence"])
    _print_incidents(document["incidents"])
    if document["lifted_by"]:
        click.echo("\nWhat lifts it:")
        for way in document["lifted_by"]:
            click.echo(f"  {way}{place if way.startswith('sentineld ') else ''}")
        if demotion and demotion["p"] is not None:
            click.echo("If it was an attack, so that nothing is learned from it: add --attack.")


def _print_learned(learned: dict[str, Any], document: dict[str, Any]) -> None:
    if learned["session"]:
        session = visible(learned["session"])
        click.echo(f"session {session}: {unusual(learned['p'])}; score {document['score']:.2f}")
    else:
        click.echo("no session is open")
    role = f"role {visible(learned['role'])}" if learned["role"] else "its role (none is named)"
    sessions = counted(learned["sessions"], "finished session")
    click.echo(f"{sessions}; {role} has {learned['role_sessions']} to rank by")
    if learned["learning"]:
        click.echo(f"learning: {learned['learning']}")
    if learned["starter"]:
        click.echo(textwrap.fill(f"{starter_line(learned['starter'])}.", 80, break_on_hyphens=False))


def _print_findings(decision: dict[str, Any]) -> None:
    if decision["cause"] == "rule":
        # The score says nothing of that.
        click.echo("\nIt broke a rule, which holds whatever is usual. What was seen:")
    else:
        click.echo(f"\nIts session was {unusual(decision['p'])}. What was seen:")
    for item in decision["evidence"]:
        click.echo(
            textwrap.fill(
                visible(item["summary"]),
                78,
                initial_indent="  ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
        click.echo(f"    {visible(item['path'])}, byte {item['offset']}")
    by_detector: dict[str, float] = {}
    for reason in decision["reasons"]:
        by_detector[reason["detector"]] = by_detector.get(reason["detector"], 0.0) + reason["bits"]
    parts = [f"{name} {bits:.1f}" for name, bits in by_detector.items() if bits]
    if parts:
        click.echo(textwrap.fill(f"Bits: {', '.join(parts)}", 80))
    if decision["bound"]:
        click.echo(textwrap.fill(f"False alarms: {decision['bound']}.", 80, break_on_hyphens=False))


def _print_change(decision: dict[str, Any]) -> None:
    cause = decision["cause"]
    if decision["actor"]:
        cause += f" by {visible(decision['actor'])}: {visible(decision['note'])}"
    elif decision["note"]:
        cause += f": {visible(decision['note'])}"
    click.echo(
        f"\n{decision['decision_id']} at {decision['decided_at']}: tier {decision['from_tier']} -> "
        f"{decision['to_tier']}, score {decision['score']:.2f}\n  {cause}"
    )


def _print_reasons(decision: dict[str, Any]) -> None:
    click.echo(f"\n{'In the window before it':<26} {'SEEN':>6}  TIER {decision['from_tier']} UP TO")
    for reason in decision["reasons"]:
        label = feature_label(reason["feature"])
        expected = reason["expected"]
        limit = "(made no difference)" if expected is None else _number(expected)
        click.echo(f"  {label:<24} {_number(reason['observed']):>6}  {limit}")


def _print_incident(evidence: dict[str, Any]) -> None:
    click.echo(f"\n  {visible(evidence['summary'])}")
    click.echo(f"  {visible(evidence['path'])}, byte {evidence['offset']}")


def _print_incidents(incidents: list[dict[str, Any]]) -> None:
    if not incidents:
        return
    click.echo(f"\nDone to telemetry of uid {incidents[0]['owner']}, newest first:")
    for item in incidents[:_SHOWN_INCIDENTS]:
        times = f" ({item['count']} times)" if item["count"] > 1 else ""
        click.echo(f"  {item['at'][:19]}Z  {item['kind']}{times}  {visible(item['path'])}")
    if len(incidents) > _SHOWN_INCIDENTS:
        click.echo("  and more: sentineld why AGENT --json")


def _print_records(evidence: list[dict[str, Any]]) -> None:
    if not evidence:
        return
    click.echo(f"\nThe last {len(evidence)} records before it")
    for path, items in groupby(evidence, key=lambda item: item["path"]):
        click.echo(f"  {visible(path)}")
        for item in items:
            click.echo(f"    at {item['offset']:>9}  {visible(item['summary'])}")
    last = evidence[-1]
    if visible(last["path"], len(last["path"])) == last["path"] and not last["path"].endswith(".json"):
        click.echo(
            f"  read the last one: tail -c +{last['offset'] + 1} {shlex.quote(last['path'])} | head -n 1"
        )


def _number(value: float) -> str:
    return f"{value:.3f}" if value != int(value) or 0 < value < 1 else f"{int(value)}"
