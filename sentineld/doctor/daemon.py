"""The daemon: running, fresh, of this version, with nothing broken."""

import json
import os
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from sentineld.database import cannot_read
from sentineld.doctor.base import FIX, NOTE, OK, Examined, Finding
from sentineld.errors import NoDatabaseError, SentineldError
from sentineld.identity import birth_ns
from sentineld.instant import iso
from sentineld.statedir import is_locked
from sentineld.store import Store
from sentineld.version import __version__
from sentineld.views import StateReport, look_at_state


class Reading(NamedTuple):
    """Whether a daemon holds the state directory, what routers read, and what is wrong with the database.

    ``waits_for``: telemetry directories that the daemon has not found, beside those that are looked at here.
    """

    is_running: bool
    report: StateReport
    problem: tuple[str, str] = ("", "")
    waits_for: int = 0


def read(examined: Examined) -> Reading:
    """Look at the lock, the state file and the database."""
    problem, missing, path = ("", ""), 0, examined.paths.database
    try:
        with Store.open_readonly(path) as store:
            missing = json.loads(store.meta().troubles).get("missing_directory", 0)
    except NoDatabaseError:
        pass
    except SentineldError as error:
        problem = (str(error), error.hint)
    except sqlite3.Error as error:
        refusal = cannot_read(path, error)
        problem = (str(refusal), refusal.hint)
    report = look_at_state(examined.config, examined.paths, examined.env)
    # What was made since the daemon's last look is no directory that it has not found.
    published_us = examined.now_us if report.view is None else report.view.generated_at_us
    looked_us = published_us - examined.config.telemetry.rescan_interval.us
    return Reading(
        is_locked(examined.paths),
        report,
        problem,
        missing - sum(1 for path in examined.directories if not _was_there(path, looked_us)),
    )


def _was_there(path: str, since_us: int) -> bool:
    """Say whether a directory is there that was made before a moment."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.path.exists(path)
    try:
        return birth_ns(fd) < since_us * 1000
    finally:
        os.close(fd)


def check(reading: Reading) -> Iterator[Finding]:
    """Find a daemon that is away, silent or another version."""
    report, view = reading.report, reading.report.view
    message, fix = reading.problem
    if message:
        yield Finding("database", FIX, message, fix)
    if not reading.is_running:
        is_stopped = view is not None and view.status == "shutdown"
        text = "it was stopped" if is_stopped else "it does not run"
        if report.fresh and view is not None:
            text += f": routers use tier 3 for every agent from {iso(view.valid_until_us)} on"
        else:
            text += f", and routers use tier 3 for every agent: {report.reason}"
        yield Finding("daemon", FIX, text, "sentineld run, or for a service: systemctl start sentineld")
    elif reading.waits_for > 0:
        yield Finding(
            "telemetry",
            FIX,
            f"the daemon waits for telemetry directories that it has not found: {reading.waits_for}",
            "its log names them (telemetry_missing): make them, or start it with others",
        )
    if reading.is_running and not report.fresh:
        yield Finding("state file", FIX, report.reason, "see the daemon's log; sentineld status")
    if report.fresh and view is not None:
        yield from _published(reading.is_running, report)
    for warning in report.warnings:
        yield Finding("state file", NOTE, warning, "docs/state-file.md")
    if reading.is_running and report.fresh and view is not None and not view.faults:
        yield Finding(
            "daemon", OK, f"runs, {view.status}, mode {view.mode}; published {iso(view.generated_at_us)}"
        )


def _published(is_running: bool, report: StateReport) -> Iterator[Finding]:
    view = report.view
    assert view is not None
    if view.faults:
        yield Finding(
            "daemon", FIX, f"what does not work: {', '.join(view.faults)}", "docs/operations.md, its log"
        )
    ours = f"sentineld/{__version__}"
    if view.writer != ours:
        restart = "restart the daemon" if is_running else "sentineld run"
        yield Finding("state file", FIX, f"written by {view.writer}, and this is {ours}", restart)
    if view.isolation != "service":
        yield Finding(
            "isolation",
            NOTE,
            f"{view.isolation}: agents that run as the daemon's user could rewrite its state",
            "a service of its own user: docs/install-systemd.md",
        )
