"""``sentineld break-glass``: give agents a tier by hand for a while, whether or not the daemon lives."""

import os
import pwd
import time
from contextlib import suppress
from typing import Any

import click

from sentineld import clock
from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.cli.names import complete_agent
from sentineld.config import Config
from sentineld.errors import AccessError, ConfigError, StateFileError, UsageError
from sentineld.instant import SECOND_US, iso_ms, parse_iso
from sentineld.journal import append_lines
from sentineld.keyring import reader_keys, signing_key
from sentineld.keys import SigningKey, VerificationKey
from sentineld.options import parse_duration
from sentineld.override import (
    MAX_BYTES,
    MAX_VALID_FOR_MS,
    SCHEMA,
    Override,
    encode_override,
    override_path,
    parse_override,
)
from sentineld.published_file import publish, read_document, remove_leftovers
from sentineld.state_reader import StateReader
from sentineld.statedir import Paths
from sentineld.version import __version__
from sentineld.visible import json_line, visible

#: Age from which a temporary file is taken for a leftover: no command takes so long.
_LEFTOVER_AGE_NS = 60 * 10**9


@click.command(
    "break-glass",
    epilog='Example: sentineld break-glass --tier 1 --for 1h --reason "daemon host is down"',
)
@click.option("--tier", type=click.IntRange(1, 3), help="The tier to give; changes keep their own.")
@click.option("--for", "span", metavar="TIME", default="1h", help="How long: 1s to 24h (default 1h).")
@click.option(
    "--agent",
    "agents",
    metavar="NAME",
    multiple=True,
    help="Only this agent; repeatable.",
    shell_complete=complete_agent,
)
@click.option("--end", is_flag=True, help="End the override that is in force.")
@click.option("--reason", required=True, help="Why; it goes on record.")
@click.option("--key-file", metavar="FILE", help="The key that signs, in place of the configured one.")
@click.option(
    "--audit-log", metavar="FILE", help="Where it goes on record (default: STATE/break-glass.jsonl)."
)
@common
def break_glass(
    tier: int | None,
    span: str,
    agents: tuple[str, ...],
    end: bool,
    reason: str,
    key_file: str | None,
    audit_log: str | None,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Write an order beside the state file that readers obey even if the daemon is dead.

    Needed: the key that signs, and the directory of the state file. It ends by itself.
    """
    _check_usage(tier, agents, reason, is_end=end)
    config = configuration(
        config_path, state_dir, {} if key_file is None else {"state.key_file": os.path.abspath(key_file)}
    )
    paths = daemon_paths(config)
    now_us = clock.now_us()
    key = signing_key(config, os.environ, now_us)
    keys = reader_keys(config, os.environ)
    valid_for_ms = MAX_VALID_FOR_MS if end else _span_ms(span)
    log_path = paths.overrides if audit_log is None else os.path.abspath(audit_log)
    number = max(now_us, _last_number(paths, keys, log_path) + 1)
    document = {
        "schema": SCHEMA,
        "writer": f"sentineld/{__version__}",
        "number": number,
        "tier": tier,
        "agents": sorted(set(agents)) or None,
        "reason": reason,
        "actor": _actor(),
        "issued_at": iso_ms(now_us),
        "valid_until": iso_ms(now_us + valid_for_ms * 1000),
        "boot_id": clock.boot_id(),
        "boottime_ms": clock.boottime_ms(),
        "valid_for_ms": valid_for_ms,
    }
    path = override_path(paths.state_file)
    data = encode_override(document, key)
    if len(data) > MAX_BYTES:
        raise UsageError(f"the order has more than {MAX_BYTES} bytes", hint="leave --agent away: all agents")
    _record(log_path, document, path, is_signed=key is not None)
    _publish(path, data, config)
    found = StateReader(paths.state_file, keys, clock=clock)
    in_force = found.override()
    if found.ignored or (in_force is None) != end:
        raise ConfigError(
            f"the order was written, and readers would not obey it: {found.ignored or 'it is not there'}",
            hint="sentineld check",
        )
    if as_json:
        print_json({**document, "file": path, "audit_log": log_path, "signed": key is not None})
        return
    _say(document, path, log_path, key)


def _check_usage(tier: int | None, agents: tuple[str, ...], reason: str, *, is_end: bool) -> None:
    if is_end == (tier is not None):
        raise UsageError("give --tier, or --end, and not both", hint="sentineld break-glass --help")
    if is_end and agents:
        raise UsageError("--end ends the override for all its agents", hint="leave --agent away")
    if not all(agents):
        raise UsageError("--agent: must not be empty", hint="sentineld status lists the agents")
    if not 1 <= len(reason) <= 200 or not reason.isprintable():
        raise UsageError("--reason: 1 to 200 printable characters", hint='--reason "why it is right"')


def _span_ms(text: str) -> int:
    try:
        span_ms = round(parse_duration(text) * 1000)
    except ValueError as error:
        raise UsageError(f"--for: {error}", hint="--for 1h") from error
    if not 1000 <= span_ms <= MAX_VALID_FOR_MS:
        raise UsageError(f"--for: must be from 1s to 24h, not {text}", hint="--for 1h; renew it if need be")
    return span_ms


def _last_number(paths: Paths, keys: tuple[VerificationKey, ...], log_path: str) -> int:
    """Return the highest number that readers may have seen, from the file and from the record; 0 for none."""
    numbers = [0]
    previous = _previous(paths, keys)
    if previous is not None:
        numbers.append(previous.number)
    reader = StateReader(paths.state_file, keys, clock=clock)
    reader.behavior("-")
    numbers.append(reader.newest_override)
    try:
        with open(log_path, "rb") as file:
            numbers += (n for n in map(_number_of, file) if n is not None)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise AccessError(f"cannot read {log_path}: {error.strerror}", hint=_AUDIT_HINT) from error
    return max(numbers)


def _number_of(line: bytes) -> int | None:
    import json

    try:
        number = json.loads(line)["number"]
    except (ValueError, KeyError, TypeError, RecursionError):
        # A line that a crash tore.
        return None
    return number if isinstance(number, int) else None


def _previous(paths: Paths, keys: tuple[VerificationKey, ...]) -> Override | None:
    """Return the order that stands there now, if readers would believe who wrote it, in force or not."""
    path = override_path(paths.state_file)
    try:
        data, _ = read_document(path, noun="override file", is_signed=bool(keys), max_bytes=MAX_BYTES)
        return parse_override(data, keys, source=f"override file {path}")
    except StateFileError:
        return None


_AUDIT_HINT = "no order without a record: --audit-log FILE names another place"


def _record(log_path: str, document: dict[str, Any], path: str, *, is_signed: bool) -> None:
    """Put the order on record before it is given."""
    entry = {
        "action": "ended" if document["tier"] is None else "ordered",
        **{name: document[name] for name in _RECORDED},
        "uid": os.getuid(),
        "file": path,
        "signed": is_signed,
    }
    try:
        _make_record(log_path)
        append_lines(log_path, json_line(entry))
    except OSError as error:
        raise AccessError(f"cannot write {log_path}: {error.strerror}", hint=_AUDIT_HINT) from error


def _make_record(log_path: str) -> None:
    """Make the record's file, if there is none. Raises ``OSError``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(log_path, flags, 0o640)
    except FileExistsError:
        return
    try:
        if os.geteuid() == 0:
            # The daemon's user must be able to give the next order; only what is new is given away.
            place = os.stat(os.path.dirname(log_path))
            os.fchown(fd, place.st_uid, place.st_gid)
    finally:
        os.close(fd)


_RECORDED = ("number", "tier", "agents", "reason", "actor", "issued_at", "valid_until")


def _publish(path: str, data: bytes, config: Config) -> None:
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        place = os.stat(directory)
        # What root leaves there belongs to the daemon's user, whom readers expect as the owner.
        owner = place.st_uid if os.geteuid() == 0 else None
        # What a command that crashed left; one that runs now is younger.
        with suppress(OSError):
            remove_leftovers(path, before_ns=time.time_ns() - _LEFTOVER_AGE_NS)
        publish(path, data, owner=owner, group=_group(config.state.group, place))
    except OSError as error:
        raise AccessError(
            f"cannot write {path}: {error.strerror}",
            hint="break the glass as root or as the daemon's user: sudo sentineld break-glass ...",
        ) from error


def _group(name: str, place: os.stat_result) -> int | None:
    """Return the readers' group, as far as this user may give a file to it."""
    import grp

    try:
        gid = grp.getgrnam(name).gr_gid if name else place.st_gid
    except KeyError:
        return None
    return gid if os.geteuid() == 0 or gid in {os.getegid(), *os.getgroups()} else None


def _actor() -> str:
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    sudo = os.environ.get("SUDO_USER", "")
    # Only root's word for it: anybody may set a variable.
    return f"{name} (sudo: {visible(sudo, 64)})" if uid == 0 and sudo else name


def _say(document: dict[str, Any], path: str, log_path: str, key: SigningKey | None) -> None:
    if document["tier"] is None:
        click.echo("the override has ended: behaviour decides again")
    else:
        names = document["agents"]
        who = "every agent" if names is None else ", ".join(visible(name) for name in names)
        click.echo(f"{who}: tier {document['tier']} until {document['valid_until']}, whatever they do")
        left = (parse_iso(document["valid_until"]) - clock.now_us()) // SECOND_US
        click.echo(f"it ends by itself in {left // 60 + 1} min; sooner with --end --reason R")
    signed = "unsigned" if key is None else f"signed with key {key.key_id}"
    click.echo(f"wrote {path} ({signed}); on record in {log_path}")
