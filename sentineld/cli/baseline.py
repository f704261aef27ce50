"""``sentineld baseline``: learned habits: list, freeze, reset, export, import."""

import os
import stat
import textwrap
from shlex import quote
from typing import Any, NamedTuple

import click

from sentineld import baseline as documents
from sentineld.baselines import export_agent, export_role, list_document
from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.cli.names import nearest, role_label, starter_line
from sentineld.cli.prose import counted
from sentineld.cli.wishes import ask, checked_reason
from sentineld.clock import now_us
from sentineld.config import Config
from sentineld.detection import RoleKey
from sentineld.errors import AccessError, UsageError
from sentineld.instant import iso, parse_iso
from sentineld.options import parse_duration
from sentineld.requests import Request
from sentineld.store import Store
from sentineld.teaching import load_roles
from sentineld.views import prior_in_force
from sentineld.visible import visible


class Target(NamedTuple):
    """Whose habits: an agent's own (by published id), or those of a role."""

    agent: str = ""
    key: RoleKey | None = None


def _targeted(function: Any) -> Any:  # noqa: ANN401 (a decorator of commands)
    for option in (
        click.option("--owner", type=click.IntRange(0), help="uid of the role's agents, if several have it."),
        click.option("--role", metavar="NAME", help="Habits of all agents of this role."),
        click.option("--agent", metavar="ID", help="How this agent differs from its role."),
    ):
        function = option(function)
    return function


@click.group(epilog="Example: sentineld baseline list")
def baseline() -> None:
    """Learned habits: list, freeze, reset, export and import them (docs/baselines.md).

    Without --agent and --role the only role is meant, where there is but one.
    """


@baseline.command("list", epilog="Example: sentineld baseline list --json")
@common
def list_(config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """List roles: sessions learned from, and what is missing. Also false alarms, realised and stated."""
    config = configuration(config_path, state_dir)
    with Store.open_readonly(daemon_paths(config).database) as store:
        detection = prior_in_force(store, config).detection
        document = list_document(store, None if detection is None else detection.settings)
    if as_json:
        print_json(document)
        return
    _print(document)


@baseline.command(epilog='Example: sentineld baseline freeze --role coder --reason "audit week"')
@_targeted
@click.option("--reason", required=True, help="Why; it goes on record.")
@common
def freeze(
    agent: str | None,
    role: str | None,
    owner: int | None,
    reason: str,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Learn nothing any more from an agent, or by a role. Sessions go on ranking."""
    _wish("freeze", agent, role, owner, reason, config_path, state_dir, as_json=as_json)


@baseline.command(epilog='Example: sentineld baseline unfreeze --role coder --reason "audit over"')
@_targeted
@click.option("--reason", required=True, help="Why; it goes on record.")
@common
def unfreeze(
    agent: str | None,
    role: str | None,
    owner: int | None,
    reason: str,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Learn again. What was done meanwhile is not made up for."""
    _wish("unfreeze", agent, role, owner, reason, config_path, state_dir, as_json=as_json)


@baseline.command(epilog='Example: sentineld baseline reset --role coder --since 2d --reason "new model"')
@_targeted
@click.option("--since", metavar="TIME", help="Keep what later sessions taught: ISO 8601, or 2d for then.")
@click.option("--reason", required=True, help="Why; it goes on record.")
@common
def reset(
    agent: str | None,
    role: str | None,
    owner: int | None,
    since: str | None,
    reason: str,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Forget habits of a role or an agent. Of an agent: its own habits and open sessions.

    With --since (a new model, a new version) they are learned anew from the sessions that went on after TIME,
    as far as these are kept: the last 500 of a role.
    """
    at = None if since is None else _past(since)
    _wish("reset", agent, role, owner, reason, config_path, state_dir, as_json=as_json, since=at)


@baseline.command(epilog="Example: sentineld baseline export --role coder -o coder.json")
@_targeted
@click.option("-o", "--output", metavar="FILE", help="Write to FILE (mode 0600), which must not exist.")
@common
def export(
    agent: str | None,
    role: str | None,
    owner: int | None,
    output: str | None,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Write habits as one JSON document, on stdout or to FILE.

    Values stand in it as hashes; who guesses a value can check the guess. Tools and actions stand in it by
    name.
    """
    config = configuration(config_path, state_dir)
    with Store.open_readonly(daemon_paths(config).database) as store:
        target = _target(store, agent, role, owner)
        document = _document(store, target)
    data = documents.encode(document)
    if output is None:
        click.echo(data.decode(), nl=False)
        return
    _write(output, data)
    written = {
        "written": os.path.abspath(output),
        "bytes": len(data),
        "kind": document.kind,
        "name": document.name,
        "sessions": document.sessions,
        "digest": document.digest,
    }
    if as_json:
        print_json(written)
        return
    click.echo(f"wrote {written['written']}: habits of {document.sessions} sessions")
    click.echo(f"elsewhere: sentineld baseline import {quote(output)} --reason R")


@baseline.command("import", epilog='Example: sentineld baseline import coder.json --reason "new machine"')
@click.argument("file")
@_targeted
@click.option("--replace", "replaces", is_flag=True, help="Replace what the role has learned already.")
@click.option("--reason", required=True, help="Why; it goes on record.")
@common
def import_(
    file: str,
    agent: str | None,
    role: str | None,
    owner: int | None,
    replaces: bool,
    reason: str,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Start with the habits of FILE, which export wrote. It replaces, it does not merge.

    The role is that of FILE unless --role gives another one.
    """
    document = _read(file)
    config = configuration(config_path, state_dir)
    with Store.open_readonly(daemon_paths(config).database) as store:
        _check_mode(store, config)
        if document.kind == "agent":
            if role is not None:
                raise UsageError("FILE holds the habits of one agent", hint="--agent ID")
            target = _target(store, agent or document.name, None, None)
        else:
            if agent is not None:
                raise UsageError("FILE holds the habits of a role", hint="--role NAME")
            target = _new_role(store, document.name if role is None else role, owner)
            there = load_roles(store.roles())[0].get(target.key) if target.key is not None else None
            known = 0 if there is None else there.own_sessions
            if known and not replaces:
                raise UsageError(
                    f"{role_label(target.key[1] if target.key else '')} has learned from {known} sessions"
                    " already",
                    hint="add --replace; to keep them first: sentineld baseline export",
                )
    request = _request("import", target, reason, baseline=document, replaces=replaces)
    ask(request, config_path, state_dir, as_json=as_json)


def _wish(
    kind: Any,  # noqa: ANN401 (one of the kinds of a request)
    agent: str | None,
    role: str | None,
    owner: int | None,
    reason: str,
    config_path: str | None,
    state_dir: str | None,
    *,
    as_json: bool,
    since: str | None = None,
) -> None:
    config = configuration(config_path, state_dir)
    with Store.open_readonly(daemon_paths(config).database) as store:
        _check_mode(store, config)
        target = _target(store, agent, role, owner)
    ask(_request(kind, target, reason, since=since), config_path, state_dir, as_json=as_json)


def _request(kind: Any, target: Target, reason: str, **more: Any) -> Request:  # noqa: ANN401 (passed on)
    reason = checked_reason(reason)
    if target.key is None:
        return Request(kind, target.agent, reason, **more)
    return Request(kind, "", reason, role=target.key[1], owner=target.key[0], **more)


def _check_mode(store: Store, config: Config) -> None:
    if prior_in_force(store, config).detection is None:
        raise UsageError(
            "nothing is learned here: detection.mode is activity", hint='[detection] mode = "learned"'
        )


def _target(store: Store, agent: str | None, role: str | None, owner: int | None) -> Target:
    if agent is not None and role is not None:
        raise UsageError("--agent and --role exclude each other", hint="sentineld baseline list")
    if agent is not None:
        if store.agent_named(agent) is None:
            raise nearest(store, agent)
        return Target(agent=agent)
    keys = [(row.owner, row.name) for row in store.roles()]
    found = [key for key in keys if role in (None, key[1]) and owner in (None, key[0])]
    if len(found) == 1:
        return Target(key=found[0])
    if not found:
        wanted = "nothing has been learned yet" if role is None else f"there is no {role_label(role)}"
        raise UsageError(wanted, hint="sentineld baseline list")
    if role is None:
        raise UsageError(
            "there are several roles", hint="--role NAME, or --agent ID; sentineld baseline list"
        )
    raise UsageError(
        f"{role_label(role)} is one of several owners",
        hint=f"--owner {' or '.join(str(k[0]) for k in found)}",
    )


def _new_role(store: Store, name: str, owner: int | None) -> Target:
    owners = {row.owner for row in store.roles() if row.name == name} or set(store.owner_counts())
    if owner is not None:
        return Target(key=(owner, name))
    if len(owners) != 1:
        raise UsageError(
            "whose agents shall have these habits?", hint="--owner UID, who writes the telemetry"
        )
    return Target(key=(owners.pop(), name))


def _document(store: Store, target: Target) -> documents.Baseline:
    if target.key is None:
        row = store.agent_named(target.agent)
        if row is None:
            raise nearest(store, target.agent)
        try:
            return export_agent(store, row, now_us())
        except ValueError as error:
            raise UsageError(f"what is known of {visible(target.agent)} is damaged", hint="") from error
    role = load_roles(store.roles())[0].get(target.key)
    if role is None:
        raise UsageError("these habits are damaged", hint="start the daemon, which begins them anew")
    return export_role(store, target.key, role, now_us())


def _read(file: str) -> documents.Baseline:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as opened:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f"{file} is no regular file", hint="sentineld baseline export -o FILE")
            data = opened.read(documents.MAX_BYTES + 1)
    except OSError as error:
        raise AccessError(f"cannot read {file}: {error.strerror}", hint="check the path") from error
    try:
        return documents.read(data)
    except ValueError as error:
        raise UsageError(
            f"{file} cannot be imported: {error}", hint="write it again: sentineld baseline export"
        ) from error


def _write(path: str, data: bytes) -> None:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise UsageError(f"{path} exists", hint="choose another name") from error
    except OSError as error:
        raise AccessError(
            f"cannot write {path}: {error.strerror}", hint="check directory and space"
        ) from error


def _past(text: str) -> str:
    now = now_us()
    try:
        at = now - parse_duration(text).us
    except ValueError:
        try:
            at = parse_iso(text)
        except ValueError:
            raise UsageError(f"--since: neither a time nor a duration: {text!r}", hint="--since 2d") from None
    if not 0 < at <= now:
        raise UsageError(f"--since: {text} has not come yet", hint="--since 2d")
    return iso(at)


def _print(document: dict[str, Any]) -> None:
    if document["mode"] != "learned":
        click.echo('nothing is learned: detection.mode is "activity"')
    for item in document["damaged"]:
        click.echo(f"{role_label(item['role'])} of uid {item['owner']} is damaged; the daemon begins it anew")
    for item in document["roles"]:
        frozen = ", FROZEN" if item["frozen"] else ""
        click.echo(f"{role_label(item['role'])} of uid {item['owner']}{frozen}")
        click.echo(
            f"  learned from {counted(item['sessions'], 'session')} "
            f"of {counted(len(item['agents']), 'agent')}, "
            f"{item['ranks']} to rank by, version {item['version']}"
        )
        if item["starter"]:
            click.echo(
                textwrap.fill(
                    starter_line(item["starter"]),
                    80,
                    initial_indent="  ",
                    subsequent_indent="    ",
                    break_on_hyphens=False,
                )
            )
        if item["learning"]:
            click.echo(f"  learning: {item['learning']}")
        alarms = item["false_alarms"]
        if alarms["realised"] is None:
            click.echo(f"  false alarms: stated {alarms['nominal']:.2%} of sessions, none judged yet")
        else:
            click.echo(
                f"  alarms: {alarms['realised']:.2%} of the last {alarms['sessions']} sessions, "
                f"stated {alarms['nominal']:.2%}"
            )
    if not document["roles"]:
        click.echo("no role has learned from a session yet")
    for name in document["frozen_agents"]:
        click.echo(f"frozen agent: {visible(name)}")
