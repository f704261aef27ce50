"""``sentineld init``: write a starter configuration; asks nothing."""

import os
import shlex
import stat

import click

from sentineld.cli.app import common, print_json
from sentineld.cli.prose import filled
from sentineld.config import Config, starter
from sentineld.errors import AccessError, UsageError
from sentineld.paths import SYSTEM_CONFIG_FILE, default_config_file
from sentineld.places import find_places
from sentineld.published_file import Replacement

_WIDTH = 80


@click.command(epilog="Example: sentineld init --config ./sentineld.toml --telemetry ./telemetry")
@click.option(
    "--telemetry",
    "directories",
    metavar="DIR",
    multiple=True,
    help="Telemetry directory; repeatable. Without any: where the agents of this user write by default.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the file instead of writing it.")
@click.option("--force", is_flag=True, help="Replace an existing file, which is kept as FILE.old.")
@common
def init(
    directories: tuple[str, ...],
    only_print: bool,
    force: bool,
    config_path: str | None,
    state_dir: str | None,  # noqa: ARG001 (every command takes it)
    as_json: bool,
) -> None:
    """Write a configuration with every option explained. It observes; a comment says how to enforce.

    Nothing is asked, and nothing else is written. It goes to /etc/sentineld/sentineld.toml for root, to
    ~/.config/sentineld/sentineld.toml for others, or where --config says; how to undo it is told. --force
    keeps the former file beside it (.old).
    """
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
    # What was there is kept: nothing but a name is needed to have it back.
    former = f"{path}.old" if os.path.exists(path) else ""
    if not as_json:
        whose = "the configuration of this machine's service" if is_service else "a configuration"
        click.echo(f"writing {whose}: {path}")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if former:
            _replace(path, former, text.encode())
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise AccessError(
            f"cannot write {path}: {error.strerror}", hint="sentineld init --config FILE"
        ) from error
    if as_json:
        print_json({**answer, "written": path})
        return
    _tell(path, former, chosen, is_service=is_service)


def _replace(path: str, former: str, data: bytes) -> None:
    """Write a file with the mode and the owners of the one at its path, which is kept as ``former``.

    Raises ``OSError``.
    """
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    # Nothing is moved before all of it is written: an empty file would be one that enforces.
    replacement = Replacement(path, data, mode=mode, owner=status.st_uid, group=status.st_gid)
    try:
        os.replace(path, former)
        replacement.release()
    finally:
        replacement.discard()


def _tell(path: str, former: str, chosen: list[str], *, is_service: bool) -> None:
    """Say what was written, how to undo it, and what comes next; commands stand on lines of their own."""
    if former:
        click.echo(f"kept the former one: {former}")
        undo = shlex.join(["mv", former, path])
    else:
        undo = shlex.join(["rm", path])
    click.echo(f"undo: {undo}")
    start = shlex.join(["sentineld", "run", "--config", path])
    if chosen:
        _say(f"It watches {', '.join(chosen)} in observe mode: nothing is restricted yet.")
        missing = [name for name in chosen if not os.path.exists(name)]
        if missing:
            _say(f"Not there yet, and waited for: {', '.join(missing)}")
    else:
        _say("It is in observe mode: nothing is restricted yet.")
        _say("`run` looks where agents of this user write by default. None has written so far.")
        click.echo(f"or name a directory: {start} --telemetry DIR")
    if is_service:
        _say("The service reads it when it starts: docs/install-systemd.md. By hand:")
    click.echo(f"next: {start}")


def _say(sentence: str) -> None:
    click.echo(filled(sentence, columns=_WIDTH))


def _found() -> list[str]:
    """Return what `sentineld run` would watch by itself."""
    return find_places(Config().formats(), os.environ, os.geteuid()).directories
