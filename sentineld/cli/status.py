"""``sentineld status``: what is, now."""

import os
from typing import Any

import click

from sentineld.catch_up import size_text, span_text
from sentineld.cli.app import common, configuration, daemon_paths, print_json, same_place
from sentineld.cli.names import complete_agent, nearest, role_label, starter_line
from sentineld.cli.prose import counted, filled
from sentineld.clock import now_us
from sentineld.config import Config
from sentineld.errors import AccessError, NoDatabaseError
from sentineld.instant import SECOND_US, parse_iso
from sentineld.store import Store
from sentineld.tier import Tier
from sentineld.views import empty_status_document, look_at_state, status_document
from sentineld.visible import visible

#: Characters of an agent's id in the table: what 80 columns leave.
_NAME_WIDTH = 22
#: Agents that are told to be understood in part only.
_MAX_UNCLEAR = 5
#: Roles that are told to be learning.
_MAX_ROLES = 3
#: Forecasts that are told.
_MAX_FORECASTS = 10


@click.command(epilog="Example: sentineld status --state-dir ./state")
@click.argument("agent", required=False, shell_complete=complete_agent)
@click.option("--all", "with_retired", is_flag=True, help="Show retired agents too.")
@common
def status(
    agent: str | None, with_retired: bool, config_path: str | None, state_dir: str | None, as_json: bool
) -> int:
    """Show every agent's tier and score, and how the daemon is. Exit 3: state missing or stale."""
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)
    report = look_at_state(config, paths, os.environ)
    try:
        with Store.open_readonly(paths.database) as store:
            with_retired = with_retired or agent is not None
            document = status_document(store, config, report, paths, with_retired=with_retired)
            if agent is not None:
                if agent not in document["agents"]:
                    raise nearest(store, agent)
                document["agents"] = {agent: document["agents"][agent]}
            if config.prognostics.enabled:
                from sentineld.forecasts import forecast_into

                forecast_into(document, store, config)
    except (NoDatabaseError, AccessError) as error:
        # What routers go by is told all the same.
        document = empty_status_document(config, report, paths, error)
    if as_json:
        print_json(document)
    else:
        _print(document, config, same_place(config_path, state_dir))
    return 0 if document["state"]["fresh"] else 3


def _print(document: dict[str, Any], config: Config, place: str) -> None:
    state, totals = document["state"], document["totals"]
    if state["fresh"]:
        _say(f"{state['status']}, mode {state['mode']}, isolation {state['isolation']}")
        if state["status"] == "shutdown":
            _say(f"the daemon was stopped: routers use tier 3 for every agent from {state['valid_until']} on")
        if state["unlisted_tier"] > 1:
            _say(f"agents that are not known have tier {state['unlisted_tier']}")
        signed = "signature verified" if state["verified"] else "signature not checked"
        _say(f"published {_ago(state['generated_at'])}, number {state['seq']}, {signed}")
    else:
        _say(f"NOT FRESH: {state['reason']}")
        but = "" if state["override"] is None else ", but for the override,"
        _say(f"routers use tier 3 for every agent{but} until a daemon publishes again: sentineld run")
    _print_progress(state)
    if waited_for := totals["troubles"].get("missing_directory", 0):
        known = [path for path in config.telemetry.directories if not os.path.exists(path)]
        what = "a telemetry directory" if waited_for == 1 else f"{waited_for} telemetry directories"
        what = ", ".join(known) if len(known) == waited_for else what
        _say(f"waiting for {what}, which the daemon has not found (its log: telemetry_missing)")
    if state["faults"]:
        _say(f"what does not work: {', '.join(state['faults'])} (docs/operations.md)")
    for warning in state["warnings"]:
        _say(f"warning: {warning}")
    storage = document["storage"]
    if storage["memory_lost_at"] is not None:
        effect = (
            "nobody is restricted, for it observes"
            if state["mode"] == "observe"
            else "every agent is restricted"
        )
        _say(f"memory was lost ({storage['memory_lost_why']}): {effect} for now")
    if not storage["readable"]:
        _say(f"{storage['reason']}: nothing more can be said")
        _say("an agent's tier: sentineld tier AGENT; everything else: as root or the daemon's user")
        return
    _say(
        f"{counted(totals['events'], 'event')} in {counted(totals['files'], 'file')}; "
        f"{counted(totals['rejects'], 'line')} rejected, {counted(totals['duplicates'], 'duplicate')}; "
        f"{counted(totals['decisions'], 'decision')}"
    )
    for name, kinds in totals["unknown_records"].items():
        shown = sorted(kinds, key=lambda kind: -kinds[kind])[:3]
        more = f" and {len(kinds) - 3} more kinds" if len(kinds) > 3 else ""
        _say(
            f"{sum(kinds.values())} records of format {name} are of kinds that it does not know: "
            f"{', '.join(shown)}{more} (sentineld mapping try FILE)"
        )
    unread = totals["unread_files"]
    if unread["files"]:
        _say(
            f"{unread['files']} files gave no event at all, of {unread['records']} records: "
            "nobody answers for these (sentineld mapping try FILE)"
        )
    agents = sorted(
        document["agents"].items(), key=lambda item: (-item[1]["would"], -item[1]["score"], item[0])
    )
    click.echo()
    if not agents:
        click.echo("no agent has been seen yet")
        return
    if not state["fresh"]:
        click.echo("What the database says, for when it is published again:")
    width = min(_NAME_WIDTH, max(5, *(len(name) for name, _ in agents)))
    click.echo(f"{'AGENT':<{width}}  {'TIER':<14} SCORE  {'EVENTS':>7} {'FILE':>5} {'NETWORK':>7}  LAST SEEN")
    for name, entry in agents:
        shown = name if len(name) <= width else name[: width - 3] + "..."
        click.echo(
            f"{visible(shown):<{width}}  {_tier(entry):<14} {entry['score']:>5.2f}  {entry['events']:>7} "
            f"{entry['file_ops']:>5} {entry['network_ops']:>7}  {_ago(entry['last_activity'])}"
        )
    click.echo("\nFILE and NETWORK are operations in the window of the last five minutes.")
    _print_coverage([(name, entry["coverage"]) for name, entry in agents])
    _print_learning([entry["learned"] for _, entry in agents if entry["learned"] is not None])
    told = [(name, entry["forecast"]) for name, entry in agents if entry["forecast"] is not None]
    # Of many agents those that are heading somewhere.
    _print_forecasts([item for item in told if len(agents) == 1 or item[1]["demotion_in_s"] is not None])
    if document["prognostics"]["reason"]:
        _say(f"forecasts: {document['prognostics']['reason']}")
    if agents[0][1]["would"] > 1:
        click.echo(f"next: sentineld why {agents[0][0]}{place}")


def _print_progress(state: dict[str, Any]) -> None:
    progress, throttle = state["catching_up"], state["throttle"]
    if progress is not None and progress["bytes_left"] is not None:
        text = f"catching up: {size_text(progress['bytes_left'])} left"
        if progress["bytes_per_s"]:
            text += f", {size_text(progress['bytes_per_s'])}/s"
        if progress["eta_s"] is not None:
            text += f", done in {span_text(progress['eta_s'])}"
        _say(text)
    if throttle is not None and throttle["step"] != "none":
        readings = ", ".join(f"{name} {throttle['pressure'].get(name, 0):g} %" for name in throttle["causes"])
        _say(f"stepping back under pressure ({readings}): {throttle['step']} (docs/operations.md)")


def _print_coverage(agents: list[tuple[str, dict[str, Any]]]) -> None:
    unclear = [item for item in agents if item[1]["note"]]
    for name, coverage in sorted(unclear, key=lambda item: item[1]["share"])[:_MAX_UNCLEAR]:
        kinds = f" ({', '.join(coverage['unknown_kinds'][:3])})" if coverage["unknown_kinds"] else ""
        _say(f"{name}: {coverage['note']}{kinds}.")
    if len(unclear) > _MAX_UNCLEAR:
        _say(f"{len(unclear) - _MAX_UNCLEAR} more agents are understood in part only (--json: coverage).")
    if len(agents) == 1 and not unclear and agents[0][1]["records"]:
        coverage = agents[0][1]
        _say(f"{100 * coverage['share']:.4g} % of {coverage['records']} records in its files are understood.")


def _print_learning(agents: list[dict[str, Any]]) -> None:
    roles = {item["role"]: item for item in agents if item["learning"]}
    for name, item in sorted(roles.items())[:_MAX_ROLES]:
        text = f"{role_label(name)} is learning: {item['learning']}"
        _say(f"{text}; {starter_line(item['starter'])}." if item["starter"] else f"{text}.")
    if len(roles) > _MAX_ROLES:
        _say(f"{len(roles) - _MAX_ROLES} more roles are learning (sentineld baseline list).")


def _print_forecasts(forecasts: list[tuple[str, dict[str, Any]]]) -> None:
    for name, told in forecasts[:_MAX_FORECASTS]:
        text = (
            f"{name}: score {told['score']:.2f} expected {_span(told['horizon_s'])} after its last event "
            f"({told['low']:.2f} to {told['high']:.2f}, 80 %)"
        )
        if told["demotion_in_s"]:
            text += f"; if it goes on like this, a stricter tier {_span(told['demotion_in_s'])} after it"
        _say(f"{text}.")


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _say(sentence: str) -> None:
    click.echo(filled(visible(sentence), columns=80))


def _tier(entry: dict[str, Any]) -> str:
    if entry["tier"] != entry["would"]:
        return f"{entry['tier']} (would be {entry['would']})"
    return f"{entry['tier']} pinned" if entry["pinned"] else f"{entry['tier']} {Tier(entry['tier']).label}"


def _ago(at: str) -> str:
    seconds = max(0, now_us() - parse_iso(at)) // SECOND_US
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
