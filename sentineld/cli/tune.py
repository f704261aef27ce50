"""``sentineld tune``: settings for a wished rate of false alarms, from history."""

import textwrap
from collections import Counter
from typing import Any

import click

from sentineld.cli.app import FORMAT_HELP, common, configuration, print_json, spare_the_collector
from sentineld.errors import UsageError
from sentineld.explain import printable_path
from sentineld.instant import iso
from sentineld.options import DetectionOptions
from sentineld.replay import Replayed
from sentineld.replay import replay as run_replay
from sentineld.step import load_state
from sentineld.teaching import load_roles
from sentineld.tuning import (
    RATES,
    THRESHOLDS,
    WEEK_RATES,
    History,
    Judged,
    Row,
    Wish,
    activity_rows,
    best,
    learned_rows,
    parse_wish,
    stricter,
    tier3_rows,
    weeks_for,
)
from sentineld.visible import visible

_TIER3 = "detection.false_alarms_per_week"
_LEARNED, _ACTIVITY = "detection.false_alarms_per_session", "detection.suspicious_threshold"
#: The most unusual sessions that are told.
_MAX_TOLD = 50
_WIDTH = 22


@click.command(epilog="Example: sentineld tune /var/log/agents --false-alarms 2/month")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--false-alarms", default="1/week", show_default=True, metavar="RATE", help="1/week, 2/month, 0.5/day."
)
@click.option(
    "--per",
    type=click.Choice(["agent", "all"]),
    default="agent",
    show_default=True,
    help="Whether RATE is of each agent, or of all of them together.",
)
@click.option(
    "--tier3",
    default="3/year",
    show_default=True,
    metavar="RATE",
    help="The same for tier 3 (detection.mode learned).",
)
@click.option("--mode", type=click.Choice(["learned", "activity"]), help="Tune this detection.mode.")
@click.option("--format", "format_name", metavar="NAME", help=FORMAT_HELP)
@common
def tune(
    paths: tuple[str, ...],
    false_alarms: str,
    per: str,
    tier3: str,
    mode: str | None,
    format_name: str | None,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Propose thresholds that keep false alarms at a wished rate, from history; changes nothing."""
    wish, wish3 = _wish("--false-alarms", false_alarms), _wish("--tier3", tier3)
    overrides = {} if format_name is None else {"telemetry.format": format_name}
    config = configuration(
        config_path, state_dir, overrides | ({} if mode is None else {"detection.mode": mode})
    )
    spare_the_collector()
    result = run_replay(paths, config)
    history = _history(result, config.detection.mode)
    if not history.sessions:
        raise UsageError(
            f"no session of any agent was found in {', '.join(paths)}", hint="sentineld mapping try FILE"
        )
    document = _document(history, config.detection, wish, wish3, per)
    if as_json:
        print_json(document)
    else:
        _print(document)
    for trouble in result.troubles:
        click.echo(f"warning: {visible(printable_path(trouble.path))}: {visible(trouble.detail)}", err=True)


def _wish(option: str, text: str) -> Wish:
    try:
        return parse_wish(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint=f"{option} 1/week") from error


def _history(result: Replayed, mode: str) -> History:
    seen = result.sessions
    history = History([], {}, seen.first_us, seen.last_us)
    roles, _ = load_roles(result.store.roles())
    for row in result.store.agents():
        key = (row.owner, row.agent_id)
        if key not in seen.weeks:
            continue
        history.weeks[row.name] = len(seen.weeks[key])
        if mode == "activity":
            history.sessions += [
                Judged(row.name, name, peak.max_score, tier=peak.max_tier)
                for name, peak in seen.peaks.get(key, {}).items()
            ]
            continue
        agent = load_state(row.state).learned
        role = None if agent is None else roles.get((row.owner, agent.role))
        history.known[row.name] = 0 if role is None else role.calibration.own
        history.sessions += [
            Judged(
                row.name,
                name,
                one.score,
                one.p,
                one.known,
                one.tier,
                rule=one.rule,
                rank=one.rank,
                began_us=began_us,
            )
            for (name, began_us), one in seen.stretches.get(key, {}).items()
        ]
    return history


def _document(
    history: History, options: DetectionOptions, wish: Wish, wish3: Wish, per: str
) -> dict[str, Any]:
    among = len(history.weeks) if per == "all" else 1
    wished = wish.per_week / among
    tier3 = None
    if options.mode == "learned":
        option, now = _LEARNED, options.false_alarms_per_session
        rows = learned_rows(history, wished, (*RATES, now))
        tier3 = _tier3(history, options, wish3, wish3.per_week / among, per)
    else:
        option, now = _ACTIVITY, options.suspicious_threshold
        rows = activity_rows(history, wished, (*THRESHOLDS, now))
    chosen, is_kept = best(rows)
    settings = _settings(options, rows, chosen, tier3)
    told = sorted(history.sessions, key=lambda one: (not one.rule, one.p or 1.0, -one.score))
    return {
        "mode": options.mode,
        "wish": _wish_document(wish, wished, per),
        "history": {
            "first": iso(history.first_us),
            "last": iso(history.last_us),
            "sessions": len(history.sessions),
            "agent_weeks": history.agent_weeks,
            "sessions_per_agent_week": round(history.sessions_per_week, 3),
            "agents": {
                name: {
                    "sessions": history.by_agent.get(name, 0),
                    "weeks": weeks,
                    "known": history.known.get(name),
                }
                for name, weeks in sorted(history.weeks.items())
            },
            "by_rule": dict(Counter(one.rule for one in history.sessions if one.rule).most_common()),
            "tier3": sum(one.tier == 3 for one in history.sessions),
        },
        "option": option,
        "rows": [_row(row, is_now=row.value == now) for row in rows],
        "tier3": tier3,
        "unusual": [
            {
                "agent": one.agent,
                "session": one.name,
                "score": round(one.score, 6),
                "p": one.p,
                "tier": one.tier,
                "rule": one.rule,
            }
            for one in told[:_MAX_TOLD]
            if one.tier > 1 or (one.p is not None and one.p <= chosen.value)
        ],
        "proposal": {
            "is_kept": is_kept,
            "value": chosen.value,
            "settings": settings,
            "rests_on": _rests_on(history, options, chosen, wished),
            "toml": _toml(settings),
        },
    }


def _wish_document(wish: Wish, wished: float, per: str) -> dict[str, Any]:
    return {"alarms": wish.alarms, "unit": wish.unit, "per": per, "per_agent_week": round(wished, 6)}


def _tier3(
    history: History, options: DetectionOptions, wish: Wish, wished: float, per: str
) -> dict[str, Any]:
    now = options.false_alarms_per_week
    gap_us = options.session_gap.us
    rows = tier3_rows(history, wished, options.sessions_per_week, gap_us, (*WEEK_RATES, now))
    chosen, is_kept = best(rows)
    return {
        "wish": _wish_document(wish, wished, per),
        "option": _TIER3,
        "rows": [_row(row, is_now=row.value == now) for row in rows],
        "is_kept": is_kept,
        "value": chosen.value,
    }


def _settings(
    options: DetectionOptions, rows: list[Row], chosen: Row, tier3: dict[str, Any] | None
) -> dict[str, Any]:
    if tier3 is None:
        upper = max(options.anomalous_threshold, stricter(rows, chosen), chosen.value)
        return {"mode": "activity", "suspicious_threshold": chosen.value, "anomalous_threshold": upper}
    return {
        "mode": "learned",
        "false_alarms_per_session": chosen.value,
        "false_alarms_per_week": tier3["value"],
    }


def _rests_on(history: History, options: DetectionOptions, chosen: Row, wished: float) -> list[str]:
    """Return in sentences what a proposal rests on, and what it does not."""
    mode = options.mode
    judged = ", and each was judged by what came before it" if mode == "learned" else ""
    text = (
        f"{len(history.sessions)} sessions of {len(history.weeks)} agents in {history.agent_weeks} "
        f"agent-weeks; all of them are taken for honest{judged}"
    )
    sentences = [text]
    if mode == "learned":
        if chosen.ranked < len(history.sessions):
            sentences.append(
                f"a bound of {_percent(chosen.value)} needs {chosen.needed} sessions to rank by: "
                f"{chosen.ranked} of {len(history.sessions)} had them, the others were judged by an estimate"
            )
        if not chosen.is_attainable:
            short = sum(known < chosen.needed for known in history.known.values())
            sentences.append(
                f"EXTRAPOLATED for {short} of {len(history.weeks)} agents: their roles still know too few "
                "sessions, and what is beyond them is estimated"
            )
        fixed = sum(bool(one.rule) for one in history.sessions)
        if fixed:
            rules = Counter(one.rule for one in history.sessions if one.rule)
            named = ", ".join(f"{count} by the rule {name}" for name, count in rules.most_common())
            sentences.append(
                f"{fixed} sessions reach tier 3 whatever this rate is" + (f": {named}" if named else "")
            )
        agent, pace = history.busiest
        if pace > options.sessions_per_week:
            sentences.append(
                f"tier 3 goes by each agent's own pace: {agent} has {pace:.0f} sessions a week, so that one "
                "alone must be as much rarer"
            )
        sentences.append(
            "habits do not learn from suspicious sessions, so another rate changes a little what they know: "
            "run this again with the settings in force"
        )
    if chosen.high > wished:
        text = (
            f"the true rate may be up to {chosen.high:.2g} alarms an agent-week (95 %), which is more than "
            "was wished"
        )
        if not chosen.alarms:
            text += f": {weeks_for(wished)} agent-weeks without an alarm would make sure"
        sentences.append(text)
    return sentences


def _row(row: Row, *, is_now: bool) -> dict[str, Any]:
    return {
        "value": row.value,
        "is_now": is_now,
        "sessions": row.alarms,
        "share": round(row.share, 6),
        "per_agent_week": round(row.per_week, 6),
        "low": round(row.low, 6),
        "high": round(row.high, 6),
        "allowed_per_agent_week": None if row.expected is None else round(row.expected, 6),
        "agents": row.agents,
        "needed": row.needed,
        "ranked": row.ranked,
        "is_attainable": row.is_attainable,
        "is_kept": row.is_kept,
    }


def _toml(settings: dict[str, Any]) -> str:
    lines = [f"{name} = {_value(value)}\n" for name, value in settings.items()]
    return "[detection]\n" + "".join(lines)


def _value(value: str | float) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if value % 1 else f"{value:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _print(document: dict[str, Any]) -> None:
    wish, history, proposal = document["wish"], document["history"], document["proposal"]
    is_learned = document["mode"] == "learned"
    option = document["option"].partition(".")[2]
    chosen = next(row for row in document["rows"] if row["value"] == proposal["value"])
    whose = "for each agent" if wish["per"] == "agent" else "for all agents together"
    wanted = f"{wish['alarms']:g} a {wish['unit']} {whose}"
    if proposal["is_kept"]:
        _say(f"Wished: at most {wanted}. {option} = {proposal['value']:g} keeps that here.")
    else:
        _say(f"Wished: at most {wanted}. No setting keeps that here; {proposal['value']:g} comes nearest.")
    among = ", ".join(visible(name)[:_WIDTH] for name in list(chosen["agents"])[:3])
    more = f" and {len(chosen['agents']) - 3} more" if len(chosen["agents"]) > 3 else ""
    _say(
        f"With it {chosen['sessions']} of {history['sessions']} sessions would have been suspicious"
        + (f" ({among}{more})" if among else "")
        + f"; {history['tier3']} reach tier 3 as configured now."
    )
    _say(
        f"History: {history['first'][:10]} to {history['last'][:10]}, {len(history['agents'])} agents, "
        f"{history['agent_weeks']} agent-weeks, {history['sessions_per_agent_week']:.1f} sessions in each."
    )
    click.echo()
    head = f"{'RATE' if is_learned else 'ABOVE':>7}  {'SESSIONS':<13}  {'A WEEK AND AGENT (95 %)':<23}"
    click.echo(f"{head}  ALLOWED  BOUND" if is_learned else head.rstrip())
    for row in document["rows"]:
        value = _percent(row["value"]) if is_learned else f"{row['value']:g}"
        mark = "*" if row["value"] == proposal["value"] else " "
        sessions = f"{row['sessions']:>4} ({100 * row['share']:.1f} %)"
        rate = f"{row['per_agent_week']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        text = f"{mark}{value:>6}  {sessions:<13}  {rate:<23}"
        if is_learned:
            kept = "kept" if row["is_attainable"] else f"needs {row['needed']} sessions"
            text += f"  {row['allowed_per_agent_week']:>7.2f}  {kept}"
        click.echo(text.rstrip() + (", now" if row["is_now"] else ""))
    if document["tier3"] is not None:
        _print_tier3(document["tier3"])
    click.echo("\nWhat this rests on:")
    for sentence in proposal["rests_on"]:
        _say(f"* {sentence}")
    click.echo(f"\nTo use it:\n\n{proposal['toml']}")


def _print_tier3(tier3: dict[str, Any]) -> None:
    wish = tier3["wish"]
    option = tier3["option"].partition(".")[2]
    kept = "keeps that here" if tier3["is_kept"] else "comes nearest"
    click.echo()
    _say(
        f"Tier 3, wished: at most {wish['alarms']:g} a {wish['unit']}. {option} = {tier3['value']:g} {kept}."
    )
    click.echo(f"\n{'RATE':>7}  {'SESSIONS':<13}  {'A WEEK AND AGENT (95 %)':<23}  ALLOWED  ALONE FROM")
    for row in tier3["rows"]:
        mark = "*" if row["value"] == tier3["value"] else " "
        sessions = f"{row['sessions']:>4} ({100 * row['share']:.1f} %)"
        rate = f"{row['per_agent_week']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        click.echo(
            f"{mark}{_percent(row['value']):>6}  {sessions:<13}  {rate:<23}"
            f"  {row['allowed_per_agent_week']:>7.3f}  {row['needed']}{', now' if row['is_now'] else ''}"
        )


def _say(sentence: str) -> None:
    click.echo(textwrap.fill(sentence, 80, subsequent_indent="  ", break_on_hyphens=False))
