"""``sentineld restore FILE``: a backup takes the database's place."""

import os

import click

from sentineld.backup import open_backup
from sentineld.backup import restore as put_back
from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.clock import now_us
from sentineld.statedir import as_owner, hold_lock, name_holder, prepare


@click.command(epilog="Example: sentineld restore /var/backups/sentineld.db, after systemctl stop sentineld")
@click.argument("file")
@common
def restore(file: str, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Put a backup in the database's place. The daemon must be stopped; the former database is kept.

    What agents wrote since the backup is read again by the next start, as far as it is still there. What
    operators wished since then is gone; the decision log (decisions.jsonl) still tells of it.
    """
    paths = daemon_paths(configuration(config_path, state_dir))
    os.umask(os.umask(0o077) | 0o022)
    # Root may read the backup wherever it is; what is written belongs to the daemon's user.
    with open_backup(os.path.abspath(file)) as backup, as_owner(paths):
        prepare(paths)
        with hold_lock(paths) as lock:
            name_holder(lock)
            meta, former = put_back(paths, backup, now_us())
    document = {
        "restored": paths.database,
        "from": os.path.abspath(file),
        "former": former or None,
        "database_id": meta.database_id,
        "epoch": meta.epoch,
        "seq": meta.seq,
        "decision_no": meta.decision_no,
        "events": meta.events,
    }
    if as_json:
        print_json(document)
        return
    click.echo(f"restored {paths.database}: {meta.events} events; epoch {meta.epoch}")
    if former:
        click.echo(f"the former database is {former}")
    click.echo("next: start the daemon (sentineld run); it reads what was written since the backup")
