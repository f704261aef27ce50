"""``sentineld keygen FILE``: make a key that signs the state file."""

import grp
import os

import click

from sentineld.cli.app import common, print_json
from sentineld.errors import AccessError, UsageError
from sentineld.keys import (
    ALGORITHMS,
    ED25519,
    HMAC_SHA256,
    generate_pair,
    generate_secret,
    has_cryptography,
)

#: What is added to the private key's path.
_PUBLIC_SUFFIX = ".pub"


@click.command(epilog="Example: sentineld keygen /etc/sentineld/2026-11a.key")
@click.argument("file")
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    help="ed25519 where cryptography is installed, else hmac-sha256.",
)
@click.option("--group", metavar="NAME", help="Let this group read the private key (mode 0640).")
@common
def keygen(
    file: str,
    algorithm: str | None,
    group: str | None,
    config_path: str | None,  # noqa: ARG001 (every command takes it)
    state_dir: str | None,  # noqa: ARG001
    as_json: bool,
) -> None:
    """Write a new key: FILE signs, and with Ed25519 FILE.pub is what readers need.

    With HMAC both need FILE, and every reader could forge. Existing files are left alone. Format: PEM (PKCS#8
    and SubjectPublicKeyInfo) for Ed25519, 64 hexadecimal digits for HMAC.
    """
    path = os.path.abspath(file)
    gid = None if group is None else _gid(group)
    if algorithm is None:
        algorithm = ED25519 if has_cryptography() else HMAC_SHA256
    public_path = path + _PUBLIC_SUFFIX if algorithm == ED25519 else None
    private, public = generate_pair() if algorithm == ED25519 else (generate_secret(), b"")
    if public_path is not None and os.path.lexists(public_path):
        raise _exists(public_path)
    _write(path, private, 0o600 if gid is None else 0o640, gid)
    if public_path is not None:
        _write(public_path, public, 0o644, None)
    if as_json:
        print_json({"written": path, "public": public_path, "algorithm": algorithm})
        return
    click.echo(f"wrote {path}, which signs ({algorithm})")
    if public_path is not None:
        click.echo(f"wrote {public_path}, which readers need: it cannot sign")
    else:
        click.echo("readers need the same file, and whoever has it can sign")
        if not has_cryptography():
            click.echo("for a pair of which readers get one half: pip install 'sentineld[sign]'")
    click.echo("next: name the key for readers below [state.keys.ID],")
    click.echo("      then key_file and key_id below [state]: docs/state-file.md")


def _write(path: str, content: bytes, mode: int, gid: int | None) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise AccessError(f"cannot write {path}: {error.strerror}", hint="sentineld keygen OTHER") from error
    try:
        with os.fdopen(fd, "wb") as output:
            if gid is not None:
                os.fchown(fd, -1, gid)
            os.fchmod(fd, mode)
            output.write(content)
            output.flush()
            os.fsync(fd)
    except OSError as error:
        os.unlink(path)
        raise AccessError(f"cannot write {path}: {error.strerror}", hint="sentineld keygen OTHER") from error


def _exists(path: str) -> UsageError:
    return UsageError(f"{path} exists", hint="give another name; a key in use must not be replaced")


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise UsageError(f"there is no group {name!r}", hint="getent group") from error
