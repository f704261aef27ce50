"""What operators' commands share: hand a request to the daemon and wait for its decision."""

import os
import time

import click

from sentineld.cli.app import configuration, daemon_paths, print_json
from sentineld.cli.names import nearest, role_label
from sentineld.decision import Decision
from sentineld.errors import AccessError, UsageError
from sentineld.requests import Request, request_path, submit
from sentineld.statedir import is_locked
from sentineld.store import Store
from sentineld.visible import visible
from sentineld.wishes import ACTS

#: How long a command waits for a running daemon, and how often it looks, seconds.
_PATIENCE_S = 5.0
_PAUSE_S = 0.02


def ask(request: Request, config_path: str | None, state_dir: str | None, *, as_json: bool) -> None:
    """Submit a request, wait until it was carried out if a daemon runs, and say what happened."""
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)
    with Store.open_readonly(paths.database) as store:
        if request.role is None and store.agent_named(request.agent) is None:
            raise nearest(store, request.agent)
        last_no = store.meta().decision_no
        try:
            request_id = submit(paths.requests, request)
        except OSError as error:
            raise AccessError(
                f"cannot write a request to {paths.requests}: {error.strerror}",
                hint="operators are who may write that directory; be root or the daemon's user",
            ) from error
        file = request_path(paths.requests, request_id)
        status = _wait_for(store, request_id, file) if is_locked(paths) else "pending"
        made = [d for d in store.decisions(after=last_no) if _is_answer(d, request)]
    decision = made[-1] if made and status == "applied" else None
    if status == "applied" and decision is None:
        status = "unchanged"
    if as_json:
        print_json(
            {
                "request_id": request_id,
                "agent": request.agent,
                "role": request.role,
                "owner": None if request.role is None else request.owner,
                "kind": request.kind,
                "status": status,
                "file": file,
                "decision": None if decision is None else decision.to_dict(),
            }
        )
    else:
        click.echo(_sentence(request, status, decision))
    if status == "refused":
        raise UsageError("the daemon refused the request", hint="its log says why: request_refused")


def checked_reason(reason: str) -> str:
    """Return an operator's reason. Raises ``UsageError`` for one that cannot go on record."""
    try:
        reason.encode()
    except UnicodeEncodeError as error:
        raise UsageError("--reason: is not UTF-8", hint='--reason "why it is right"') from error
    if not 1 <= len(reason) <= 1000:
        raise UsageError("--reason: must have 1 to 1000 characters", hint='--reason "why it is right"')
    return reason


def _is_answer(decision: Decision, request: Request) -> bool:
    # A new id is what a renamed agent is known by.
    about = (decision.agent_id, decision.role) == (request.to or request.agent, request.role)
    return about and bool(decision.actor) and decision.note == request.reason


def _wait_for(store: Store, request_id: str, file: str) -> str:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        # The daemon removes the file when it has committed, published and logged what follows.
        is_there, is_late = os.path.exists(file), time.monotonic() > deadline
        if not is_there or is_late:
            if store.has_request(request_id):
                return "applied"
            return "pending" if is_there else "refused"
        time.sleep(_PAUSE_S)


def _sentence(request: Request, status: str, decision: Decision | None) -> str:
    who = visible(request.agent) if request.role is None else role_label(request.role)
    if decision is not None:
        if decision.role is not None or decision.cause in ACTS:
            done = "; ".join(item.summary for item in decision.evidence)
            by = f"{decision.decision_id}, by {visible(decision.actor)}"
            return f"{who}: {decision.cause} ({by}): {visible(done)}"
        return (
            f"{who}: {decision.cause}, tier {decision.from_tier} -> {decision.to_tier} "
            f"({decision.decision_id}, by {visible(decision.actor)})"
        )
    if status == "unchanged":
        return f"{who}: nothing to change{', it is not pinned' if request.kind == 'unpin' else ''}"
    if status == "refused":
        return f"{who}: {request.kind} was refused"
    return f"{who}: {request.kind} is recorded; it takes effect when the daemon runs (none answered)"
