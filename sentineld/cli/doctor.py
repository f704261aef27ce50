"""``sentineld doctor``: what keeps sentineld from its work here, one line each, with its mending."""

import os

import click

from sentineld.cli.app import common, config_in_use, configuration, daemon_paths, print_json, watched
from sentineld.cli.prose import filled
from sentineld.clock import now_us
from sentineld.config import check_owner
from sentineld.doctor import Examined, Finding, examine
from sentineld.doctor.base import FIX, NOTE, OK
from sentineld.errors import ConfigError
from sentineld.visible import visible

_INDENT = 6
#: Characters shown of a finding.
_MAX_TEXT = 2000


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

    It changes nothing. FIX comes first, then note (worth knowing) and ok; the line below says what to do.
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
    # What is to be mended is read first, and what is well last.
    for item in sorted(found, key=lambda item: (FIX, NOTE, OK).index(item.level)):
        _print(item)
    if to_mend:
        click.echo(f"\n{to_mend} thing{'s' * (to_mend > 1)} to mend; then again: sentineld doctor")
    else:
        click.echo("\nnothing to mend")
    return 1 if to_mend else 0


def _print(item: Finding) -> None:
    word = {OK: "ok", NOTE: "note", FIX: "FIX"}[item.level]
    indent = " " * _INDENT
    lines = [(f"{word:<{_INDENT}}{item.check}: ", item.message)]
    lines += [(f"{indent}try: ", item.fix)] if item.fix else []
    for first, text in lines:
        click.echo(filled(visible(text, _MAX_TEXT), first=first, indent=f"{indent}  "))
