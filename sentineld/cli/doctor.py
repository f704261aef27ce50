"""``sentineld doctor``: what keeps sentineld from its work here, one line each, with its mending."""

import os
import textwrap

import click

from sentineld.cli.app import common, config_in_use, configuration, daemon_paths, print_json, watched
from sentineld.clock import now_us
from sentineld.config import check_owner
from sentineld.doctor import Examined, Finding, examine
from sentineld.doctor.base import FIX, NOTE, OK
from sentineld.errors import ConfigError
from sentineld.visible import visible

_WIDTH = 80
_INDENT = 6


@click.command(epilog="Example: sentineld doctor --config /etc/sentineld/sentineld.toml")
@click.option(
    "--telemetry",
    "directories",
    metavar="DIR",
    multiple=True,
    help="Telemetry directory; repeatable. Without any: what run would watch.",
)
@common
def doctor(
    directories: tuple[str, ...], config_path: str | None, state_dir: str | None, as_json: bool
) -> int:
    """Examine paths, permissions, limits, clock, disks, keys, unit and daemon. Exit 1: something to mend.

    It changes nothing. Lines begin with ok, note (worth knowing) or FIX, and the line below says what to do.
    """
    path = config_in_use(config_path)
    check_owner(path, os.geteuid())
    given = {"telemetry.directories": [*directories]} if directories else {}
    config = configuration(config_path, state_dir, given)
    problem = ("", "")
    try:
        config, _ = watched(config)
    except ConfigError as error:
        problem = (str(error), error.hint)
    examined = Examined(config, daemon_paths(config), os.environ, now_us(), path or "", problem)
    found = list(examine(examined))
    to_mend = sum(1 for item in found if item.level == FIX)
    if as_json:
        print_json({"ok": not to_mend, "findings": [item._asdict() for item in found]})
        return 1 if to_mend else 0
    for item in found:
        _print(item)
    if to_mend:
        click.echo(f"\n{to_mend} thing{'s' * (to_mend > 1)} to mend; then again: sentineld doctor")
    else:
        click.echo("\nnothing to mend")
    return 1 if to_mend else 0


def _print(item: Finding) -> None:
    word = {OK: "ok", NOTE: "note", FIX: "FIX"}[item.level]
    for start, text in ((word, f"{item.check}: {item.message}"), ("", item.fix and f"try: {item.fix}")):
        if text:
            click.echo(
                textwrap.fill(
                    visible(text, 2000),
                    _WIDTH,
                    initial_indent=f"{start:<{_INDENT}}",
                    subsequent_indent=" " * (_INDENT + 2),
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
