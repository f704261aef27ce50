"""``sentineld backup FILE``: the database as one file, also while the daemon runs."""

import os
from shlex import quote

import click

from sentineld.backup import back_up
from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.clock import now_us
from sentineld.instant import iso


@click.command(epilog="Example: sentineld backup /var/backups/sentineld.db --force")
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@common
def backup(file: str, force: bool, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Write a checked copy of the database to FILE (mode 0600). A running daemon goes on meanwhile.

    It holds agents, positions and decisions. The configuration, signing keys and the decision log are not in
    it. What agents said stands in it as evidence: keep it as safe as the state directory.
    """
    paths = daemon_paths(configuration(config_path, state_dir))
    target = os.path.abspath(file)
    meta = back_up(paths, target, replaces=force)
    document = {
        "written": target,
        "bytes": os.stat(target).st_size,
        "made_at": iso(now_us()),
        "database_id": meta.database_id,
        "epoch": meta.epoch,
        "seq": meta.seq,
        "decision_no": meta.decision_no,
        "events": meta.events,
    }
    if as_json:
        print_json(document)
        return
    click.echo(f"wrote {target}: {meta.events} events, {meta.decision_no} decisions; it was checked")
    click.echo(f"bring it back, with the daemon stopped: sentineld restore {quote(file)}")
