"""``sentineld demo``: a minute with six made-up agents and a real daemon."""

import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

import click

from sentineld.cli.app import common, print_json
from sentineld.cli.prose import filled, width
from sentineld.decision import Decision
from sentineld.demo.agents import AGENTS, DAYS
from sentineld.demo.stage import Change, Stage
from sentineld.demo.story import IS_BUSY, LENGTH_S, LOOPS, STEALS, Beat, story
from sentineld.errors import AccessError
from sentineld.tier import Tier
from sentineld.visible import visible

#: Columns of the whole story, and of the time and the agent's name, in front of what happens.
_WIDTH, _INDENT = 80, 19
#: Columns in front of what follows a line that a narrow terminal broke.
_NARROW_INDENT = 4
_COLORS = {1: "green", 2: "yellow", 3: "red"}
#: What a router makes of a change of so strict a tier.
_ACTIONS = {1: "merged", 2: "merged, and watched", 3: "waits for a human"}
_NUMBER = re.compile(r": \d+$")
#: How many times its usual work the busy agent must have done.
_MUCH = 5
#: Detectors whose findings are hard to tell in a few words.
_OBSCURE = ("order", "argument")


@click.command(epilog="Example: sentineld demo --keep")
@click.option("--keep", is_flag=True, help="Keep the directory, for a look with why, log and status.")
@click.option("--fast", is_flag=True, help="Without pauses: some seconds, for scripts.")
@common
def demo(
    keep: bool,
    fast: bool,
    config_path: str | None,  # noqa: ARG001 (every command takes it)
    state_dir: str | None,  # noqa: ARG001
    as_json: bool,
) -> int:
    """Show in a minute what sentineld does. Exit 1: it was not seen to do it.

    Six made-up agents write telemetry into a temporary directory and a daemon watches: one agent falls into a
    loop, one is talked into stealing keys, and one does ten times as much as usual and is left alone.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, _leave)
    teller = Teller(is_silent=as_json)
    try:
        document = _play(teller, fast=fast, keep=keep)
    except OSError as error:
        if error.filename is None:
            raise
        raise AccessError(
            f"the demo cannot use {error.filename}: {error.strerror}", hint="TMPDIR=DIR sentineld demo"
        ) from error
    if as_json:
        print_json(document)
    else:
        teller.end(document)
    return 0 if document["ok"] else 1


def _play(teller: "Teller", *, fast: bool, keep: bool) -> dict[str, Any]:
    """Let it happen, and tell of it; returns the document of what was seen."""
    changes: list[Change] = []
    began = time.monotonic()
    with Stage(fast=fast, keep=keep) as stage:
        teller.say(f"Six agents work here. A daemon learns their habits from the last {DAYS} days ...")
        stage.learn()
        teller.introduce(stage, time.monotonic() - began)
        for item in stage.play(story(), LENGTH_S):
            if isinstance(item, Change):
                changes.append(item)
                teller.change(item)
            else:
                teller.beat(item)
        tiers = stage.verdicts()
        teller.spared(tiers[IS_BUSY])
        return _document(stage, changes, tiers, time.monotonic() - began)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def demo_promises(
    tiers: Mapping[str, int], calls: Mapping[str, int], usual_calls: Mapping[str, float]
) -> list[tuple[str, bool]]:
    """Return what the demo promises, and whether these tiers and numbers of calls keep it."""
    others = set(AGENTS) - {LOOPS, STEALS, IS_BUSY}
    return [
        (f"the loop of {LOOPS} restricts it", tiers[LOOPS] > 1),
        (f"the theft by {STEALS} puts it at tier 3", tiers[STEALS] == Tier.ANOMALOUS),
        (
            f"{IS_BUSY} stays at tier 1 with much more work than usual",
            tiers[IS_BUSY] == 1 and calls[IS_BUSY] > _MUCH * usual_calls[IS_BUSY],
        ),
        ("nobody else is restricted", all(tiers[agent] == 1 for agent in others)),
    ]


def _document(
    stage: Stage,
    changes: list[Change],
    verdicts: dict[str, int],
    took_s: float,
) -> dict[str, Any]:
    usual = {agent: calls / DAYS for agent, calls in stage.past.items()}
    promises = demo_promises(verdicts, stage.calls, usual)
    return {
        "ok": all(kept for _, kept in promises),
        "took_s": round(took_s, 3),
        "promises": [{"promise": text, "kept": kept} for text, kept in promises],
        "agents": {
            agent: {
                "calls": stage.calls[agent],
                "usual_calls": round(usual[agent], 1),
                "tier": tier,
                "change": _ACTIONS[tier],
            }
            for agent, tier in verdicts.items()
        },
        "decisions": [
            {
                "at_s": round(item.seen_s, 3),
                "delay_ms": round(item.delay_ms, 1),
                "agent": item.agent,
                "from_tier": item.decision.from_tier,
                "to_tier": item.decision.to_tier,
                "cause": item.decision.cause,
                "seen": _plain(item.decision),
            }
            for item in changes
        ],
        "directory": stage.directory if stage.keep else None,
        "state_dir": stage.state_dir if stage.keep else None,
    }


def _plain(decision: Decision) -> str:
    """Return what was seen, in the plainest of the sentences that the decision has."""
    found = zip(decision.reasons, decision.evidence, strict=False)
    plain = [item for reason, item in found if reason.detector not in _OBSCURE]
    sentences = [item.summary for item in (*plain, *decision.evidence)]
    if not sentences:
        return decision.cause
    # What follows in brackets is for `why`, and so are numbers without a unit.
    return _NUMBER.sub("", sentences[0].rpartition(" (")[0] or sentences[0])


class Teller:
    """Prints what happens: plain lines for 80 columns or fewer, with colour where it is wanted."""

    def __init__(self, *, is_silent: bool = False) -> None:
        self._is_silent = is_silent
        self._color = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
        self._width = min(_WIDTH, width())
        self._is_narrow = self._width < _WIDTH
        self._indent = _NARROW_INDENT if self._is_narrow else _INDENT

    def say(self, text: str = "", fg: str | None = None, *, first: int = 0, rest: int = 0) -> None:
        """Print a text, in bold where it has a colour; ``first``, ``rest``: columns in front of its lines."""
        if not self._is_silent:
            text = filled(text, first=" " * first, indent=" " * rest, columns=self._width)
            click.echo(click.style(text, fg=fg, bold=True) if fg else text, color=self._color)

    def introduce(self, stage: Stage, ready_s: float) -> None:
        """Say what was learned."""
        calls = sum(stage.past.values())
        self.say(
            f"After {ready_s:.1f} s it knows {calls:,} calls of {DAYS * len(AGENTS)} sessions, and watches."
        )
        self.say("Every agent is at tier 1, normal.")
        self.say()

    def beat(self, beat: Beat) -> None:
        """Say what an agent does."""
        if beat.says:
            self._line(beat.at_s, beat.agent, beat.says)

    def change(self, item: Change) -> None:
        """Say what was decided, how soon and why."""
        tier = Tier(item.decision.to_tier)
        self._outcome(
            f"tier {int(tier)}, {tier.label}, {item.delay_ms:.0f} ms after the call that showed it", tier
        )
        self.say(visible(_plain(item.decision)), first=self._indent + 3, rest=self._indent + 3)

    def spared(self, tier: int) -> None:
        """Say that the busy agent was left alone, if it was."""
        if tier == 1:
            self._line(LENGTH_S, IS_BUSY, "is done")
            self._outcome("still tier 1: much work is no crime", tier)

    def end(self, document: dict[str, Any]) -> None:
        """Print the table and the next step."""
        self.say()
        self._table(document["agents"])
        self.say()
        broken = [item["promise"] for item in document["promises"] if not item["kept"]]
        for promise in broken:
            self.say(f"NOT seen: {promise}", fg="red")
        if not broken:
            delays = [item["delay_ms"] for item in document["decisions"]]
            self.say(
                f"{len(delays)} decisions, each {min(delays):.0f} to {max(delays):.0f} ms after the write; "
                "nobody else was held."
            )
        if document["directory"] is not None:
            self._next("next:", f"sentineld why {STEALS} --state-dir {document['state_dir']}")
            self._next("", f"rm -r {document['directory']}", "  when you have seen enough")
        else:
            self.say("All of it is removed again; sentineld demo --keep leaves it for a look.")
            self._next("next:", "sentineld run --mode observe", "(the coding agents of this machine)")
            self._next("", "sentineld run --telemetry DIR", "(your own agents)")

    def _table(self, agents: Mapping[str, Mapping[str, Any]]) -> None:
        if self._is_silent:
            return
        head = f"{'AGENT':<12} {'CALLS':>5} "
        # A narrow terminal has room for what matters most.
        head += "TIER" if self._is_narrow else f"{'A USUAL DAY':>12}  {'TIER':<14} A SMALL CHANGE BY IT IS"
        click.echo(head)
        for agent, entry in sorted(agents.items(), key=lambda item: -item[1]["tier"]):
            row = f"{agent:<12} {entry['calls']:>5} "
            tier = f"{entry['tier']} {Tier(entry['tier']).label}"
            if self._is_narrow:
                row += click.style(tier, fg=_COLORS[entry["tier"]])
            else:
                row += f"{entry['usual_calls']:>12.0f}  "
                row += f"{click.style(f'{tier:<14}', fg=_COLORS[entry['tier']])} {entry['change']}"
            click.echo(row, color=self._color)

    def _next(self, title: str, command: str, comment: str = "") -> None:
        # What is to be typed stays on one line.
        if not self._is_silent:
            click.echo(f"{title:<5} {command:<30} {'' if self._is_narrow else comment}".rstrip())

    def _line(self, at_s: float, agent: str, says: str) -> None:
        minutes, seconds = divmod(round(at_s), 60)
        if self._is_narrow:
            self.say(f"{minutes}:{seconds:02d} {agent} {says}", rest=self._indent)
        else:
            self.say(f"{minutes}:{seconds:02d}  {agent:<11} {says}", first=1)

    def _outcome(self, text: str, tier: int) -> None:
        self.say(f"-> {text}", fg=_COLORS[tier], first=self._indent, rest=self._indent + 3)
