"""``sentineld report``: everything at a glance, as one HTML file."""

import os
import stat
import sys

import click

from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.cli.prose import counted
from sentineld.errors import AccessError, UsageError
from sentineld.published_file import publish
from sentineld.report.account import account
from sentineld.report.page import page
from sentineld.store import Store
from sentineld.views import look_at_state

_STDOUT = "-"


@click.command(epilog="Example: sentineld report -o fleet.html")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="sentineld-report.html",
    show_default=True,
    help="File to write, for its owner alone; an existing one is replaced. - is stdout.",
)
@click.option(
    "--timelines",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="How many agents get a timeline: strictest tiers, then highest scores.",
)
@common
def report(
    output: str, timelines: int, config_path: str | None, state_dir: str | None, as_json: bool
) -> None:
    """Write a report of all agents as one HTML file: no network, open it anywhere.

    Tiers, scores over time, every demotion with its evidence, false alarms, incidents. It tells what agents
    did: keep it as you keep their telemetry.
    """
    if output == _STDOUT and as_json:
        raise UsageError("--json tells what was written to a file", hint="sentineld report -o F.html --json")
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)
    state = look_at_state(config, paths, os.environ)
    with Store.open_readonly(paths.database) as store:
        told = account(store, config, state, paths, max_timelines=timelines)
    data = page(told)
    if output == _STDOUT:
        sys.stdout.buffer.write(data)
        return
    path = os.path.abspath(output)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        # It would take the place of a device or a link, which others go by.
        raise UsageError(f"{path} is no ordinary file", hint="sentineld report -o FILE, or -o - for stdout")
    try:
        publish(path, data, mode=0o600)
    except OSError as error:
        raise AccessError(
            f"cannot write {path}: {error.strerror}", hint="sentineld report -o FILE"
        ) from error
    agents, left_out = len(told["agents"]) + told["agents_left_out"], told["timelines_left_out"]
    if as_json:
        print_json(
            {
                "written": path,
                "bytes": len(data),
                "agents": agents,
                "agents_left_out": told["agents_left_out"],
                "timelines": agents - left_out,
                "timelines_left_out": left_out,
            }
        )
        return
    click.echo(f"wrote {path} ({len(data) / 1024:.0f} KiB): {counted(agents, 'agent')}")
    if left_out:
        click.echo(f"{left_out} of them have no timeline in it (--timelines)")
    click.echo("Open it in a browser; it needs no network. It tells what agents did: only you may read it.")
