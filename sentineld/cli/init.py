"""``sentineld init``: write a starter configuration; asks nothing."""

import os
import shlex

import click

from sentineld.cli.app import common, print_json
from sentineld.config import Config, starter
from sentineld.errors import AccessError, UsageError
from sentineld.paths import SYSTEM_CONFIG_FILE, default_config_file
from sentineld.places import find_places


@click.command(epilog="Example: sentineld init --config ./sentineld.toml --telemetry ./telemetry")
@click.option(
    "--telemetry",
    "directories",
    metavar="DIR",
    multiple=True,
    help="Telemetry directory; repeatable. Without any: where the agents of this user write by default.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the file instead of writing it.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@common
def init(
    directories: tuple[str, ...],
    only_print: bool,
    force: bool,
    config_path: str | None,
    state_dir: str | None,  # noqa: ARG001 (every command takes it)
    as_json: bool,
) -> None:
    """Write a configuration with every option explained. It observes; a comment says how to enforce."""
    chosen = [os.path.abspath(path) for path in directories]
    found = [] if chosen else _found()
    path = os.path.abspath(config_path or default_config_file(os.environ, os.geteuid()))
    # The service's user has no agents of its own to be found: its file names where they write.
    is_service = path == SYSTEM_CONFIG_FILE
    chosen = chosen or found or (["/var/log/agents"] if is_service else [])
    text = starter(chosen, is_found=bool(found))
    answer = {"written": None, "mode": "observe", "telemetry": chosen, "text": text}
    if only_print:
        if as_json:
            print_json(answer)
        else:
            click.echo(text, nl=False)
        return
    if os.path.exists(path) and not force:
        raise UsageError(f"{path} exists", hint="sentineld init --force, or --config OTHER")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise AccessError(
            f"cannot write {path}: {error.strerror}", hint="sentineld init --config FILE"
        ) from error
    if as_json:
        print_json({**answer, "written": path})
        return
    click.echo(f"wrote {path}")
    start = shlex.join(["sentineld", "run", "--config", path])
    if not chosen:
        click.echo("It is in observe mode: nothing is restricted yet.")
        click.echo("`run` looks where agents of this user write by default. None has written so far.")
        click.echo(f"next: use an agent, then {start}; or name a directory: {start} --telemetry DIR")
        return
    click.echo(f"It watches {', '.join(chosen)} in observe mode: nothing is restricted yet.")
    missing = [name for name in chosen if not os.path.exists(name)]
    if missing:
        click.echo(f"Not there yet: {', '.join(missing)}")
    click.echo(f"next: {start}")


def _found() -> list[str]:
    """Return what `sentineld run` would watch by itself."""
    return find_places(Config().formats(), os.environ, os.geteuid()).directories
