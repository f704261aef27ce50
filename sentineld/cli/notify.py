"""``sentineld notify``: tell people of decisions, as a process of its own."""

import os
from typing import Any

import click

from sentineld import clock, log
from sentineld.cli.app import common, config_in_use, configuration, daemon_paths, print_json
from sentineld.config import Config, check_owner
from sentineld.errors import ConfigError
from sentineld.notices import Message, State
from sentineld.notifier import NotifierService, desk_of, load_state, status_document
from sentineld.targets import Attempt
from sentineld.visible import visible


@click.command(epilog="Example: sentineld notify --test")
@click.option("--once", "action", flag_value="once", help="Tell what is due, and exit; 1 if something waits.")
@click.option("--test", "action", flag_value="test", help="Send a test message to every target, and exit.")
@click.option("--dry-run", "action", flag_value="dry-run", help="Show what --once would send.")
@click.option("--status", "action", flag_value="status", help="Show what was told and what waits.")
@common
def notify(action: str | None, config_path: str | None, state_dir: str | None, as_json: bool) -> int:
    """Tell people of decisions: a webhook, a program, or a service that Apprise knows.

    It follows the decision log until it is stopped; [notify] in the configuration says whom it tells of
    what (docs/notify.md). The first start begins with the next decision.
    """
    overrides: dict[str, Any] = {"log.format": "json"} if as_json else {}

    def load() -> Config:
        check_owner(config_in_use(config_path), os.geteuid())
        return configuration(config_path, state_dir, overrides)

    config = load()
    paths = daemon_paths(config)
    messages: list[Message] = []
    tests: list[Attempt] = []
    state, is_first_start = State(), False
    if action != "status":
        log.configure(config.log.level, config.log.format)
        log.catch_strays(clock.monotonic_us)
        service = NotifierService(config, paths, os.environ, load)
        if action == "test":
            tests = service.try_targets()
        elif action == "dry-run":
            messages = service.rehearse()
        elif action == "once":
            messages = service.run_once()
        else:
            service.run()
        state, is_first_start = service.state, service.is_first_start
    if action in ("status", "test"):
        try:
            loaded = load_state(desk_of(config, paths))
        except ValueError as error:
            raise ConfigError(
                f"{desk_of(config, paths).state} is damaged: {error}",
                hint="sentineld notify --once begins anew",
            ) from error
        state, is_first_start = loaded or State(), loaded is None
    document = status_document(state, paths)
    if as_json:
        print_json(
            {
                "action": action or "run",
                "first_start": is_first_start,
                **document,
                "messages": [message.document() for message in messages],
                "tests": [
                    {"target": item.target, "ok": not item.outcome.error, "error": item.outcome.error}
                    for item in tests
                ],
            }
        )
    else:
        _show(action, document, messages, tests, is_first_start=is_first_start)
    queued = sum(item["queued"] for item in document["targets"])
    is_finding = any(item.outcome.error for item in tests) or (action == "once" and queued > 0)
    return 1 if is_finding else 0


def _show(
    action: str | None,
    document: dict[str, Any],
    messages: list[Message],
    tests: list[Attempt],
    *,
    is_first_start: bool,
) -> None:
    for item in tests:
        click.echo(f"{visible(item.target)}: {item.outcome.error or 'delivered'}")
    for message in messages:
        click.echo(f"{message.subject}\n{message.text}\n")
    if is_first_start and action == "status":
        click.echo("The notifier has not run yet. It begins with the first decision after its first start.")
        return
    if is_first_start and action in ("once", "dry-run"):
        there = f"; {document['cursor']} are there" if document["cursor"] else ""
        click.echo(f"This is the first start: decisions from before it are not told{there}.")
        return
    if action == "dry-run" and not messages:
        click.echo("nothing is to be told")
    if action not in ("once", "status"):
        return
    click.echo(
        f"read up to decision {document['cursor']}; {document['behind']} more in the decision log; "
        f"{document['waiting']} wait for a digest or a cool-down"
    )
    click.echo(
        f"{document['matched']} decisions told, {document['passed_over']} passed over, "
        f"{document['missed']} missed, {document['unreadable']} unreadable"
    )
    for item in document["targets"]:
        line = f"{visible(item['target'])}: {item['delivered']} delivered, {item['queued']} waiting"
        if item["given_up"]:
            line += f", {item['given_up']} given up"
        click.echo(line)
        if item["last_error"]:
            click.echo(f"  last error, {item['last_error_at']}: {visible(item['last_error'])}")
        if item["paused_until"]:
            click.echo(f"  tried again at {item['paused_until']}")
