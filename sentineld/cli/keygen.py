"""``sentineld keygen FILE``: make a key that signs the state file."""

import os
import secrets

import click

from sentineld.cli.app import common, print_json
from sentineld.errors import AccessError, UsageError


@click.command(epilog="Example: sentineld keygen /etc/sentineld/signing.key")
@click.argument("file")
@common
def keygen(file: str, config_path: str | None, state_dir: str | None, as_json: bool) -> None:  # noqa: ARG001
    """Write a new HMAC-SHA256 key (64 hexadecimal digits, mode 0600). An existing file is left alone."""
    path = os.path.abspath(file)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(
            f"{path} exists", hint="give another name; a key in use must not be replaced"
        ) from error
    except OSError as error:
        raise AccessError(f"cannot write {path}: {error.strerror}", hint="sentineld keygen OTHER") from error
    with os.fdopen(fd, "w", encoding="ascii") as output:
        output.write(secrets.token_hex(32) + "\n")
    if as_json:
        print_json({"written": path, "algorithm": "hmac-sha256"})
        return
    click.echo(f"wrote {path}")
    click.echo("next: set key_file and key_id below [state], here and for readers, and restart")
