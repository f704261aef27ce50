"""What ``pardon``, ``pin`` and ``unpin`` share: hand a request to the daemon and wait for its decision."""

import time
from typing import Any

import click

from sentineld.cli.app import configuration, daemon_paths, print_json
from sentineld.cli.names import nearest
from sentineld.errors import AccessError
from sentineld.requests import Request, request_path, submit
from sentineld.service import is_locked
from sentineld.store import Store

#: How long a command waits for a running daemon, seconds.
_PATIENCE_S = 5.0


def ask(request: Request, config_path: str | None, state_dir: str | None, *, as_json: bool) -> None:
    """Submit a request, wait until it was carried out if a daemon runs, and say what happened."""
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)
    with Store.open_readonly(paths.database) as store:
        if store.agent_named(request.agent) is None:
            raise nearest(store, request.agent)
    try:
        request_id = submit(paths.requests, request)
    except OSError as error:
        raise AccessError(
            f"cannot write a request to {paths.requests}: {error.strerror}",
            hint="operators are those who may write that directory; run this as root or as the daemon's user",
        ) from error
    is_applied = is_locked(paths) and _wait_for(paths.database, request_id)
    decision: dict[str, Any] | None = None
    if is_applied:
        with Store.open_readonly(paths.database) as store:
            decisions = store.decisions(name=request.agent, limit=1)
        decision = decisions[-1].to_dict() if decisions else None
    if as_json:
        print_json(
            {
                "request_id": request_id,
                "agent": request.agent,
                "kind": request.kind,
                "status": "applied" if is_applied else "pending",
                "file": request_path(paths.requests, request_id),
                "decision": decision,
            }
        )
    elif is_applied:
        click.echo(f"{request.kind}: {request.agent} is at tier {decision['to_tier'] if decision else 1}")
    else:
        click.echo(f"{request.kind}: recorded; it takes effect when the daemon runs (no daemon answered)")


def _wait_for(database: str, request_id: str) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    with Store.open_readonly(database) as store:
        while not store.has_request(request_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True
