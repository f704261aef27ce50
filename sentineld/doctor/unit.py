"""The systemd unit: installed, enabled, running, and as closed as it was shipped."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sentineld.doctor.base import FIX, NOTE, OK, Examined, Finding

_UNIT = "sentineld.service"
_PROPERTIES = "LoadState,UnitFileState,ActiveState,Result,FragmentPath,DropInPaths,NeedDaemonReload"
_PATIENCE_S = 5.0
#: Directives that say where and how, not how closed: they may differ.
_FREE = frozenset(
    {"ExecStart", "ExecStartPre", "ExecReload", "Environment", "TimeoutStartSec", "TimeoutStopSec"}
)
#: Shown of the directives that differ.
_MAX_SHOWN = 4


class Reading(NamedTuple):
    """What systemd says of the unit (None: it does not run here), and the texts of the unit's files.

    ``shipped`` is the unit of this version, empty where it is not found. ``drop_ins`` are by path.
    """

    is_system: bool
    properties: Mapping[str, str] | None
    shipped: str = ""
    fragment: str = ""
    drop_ins: Mapping[str, str] = {}


def read(examined: Examined) -> Reading:
    """Ask systemd: of the system's unit, and where there is none, of the user's own."""
    del examined  # The unit is found by its name.
    reading = _ask(is_system=True)
    is_there = reading.properties is not None and reading.properties.get("LoadState") != "not-found"
    return reading if is_there or os.geteuid() == 0 else _ask(is_system=False)


def check(reading: Reading) -> Iterator[Finding]:
    """Find a unit that will not run, does not run, or is more open than the shipped one."""
    if reading.properties is None:
        yield Finding(
            "unit",
            NOTE,
            "systemd does not run here",
            "have what starts sentineld here start it again when it ends",
        )
        return
    state = reading.properties
    user = "" if reading.is_system else " --user"
    if state.get("LoadState") == "not-found":
        yield Finding(
            "unit",
            NOTE,
            "no unit is installed",
            "docs/install-systemd.md has five commands, if it is to be a service",
        )
        return
    found = []
    if state.get("UnitFileState") not in ("enabled", "static", "linked", "enabled-runtime"):
        found.append(
            Finding(
                "unit", FIX, "not enabled: it will not start at boot", f"systemctl{user} enable sentineld"
            )
        )
    if state.get("ActiveState") != "active":
        found.append(
            Finding(
                "unit",
                FIX,
                f"{state.get('ActiveState', 'unknown')} ({state.get('Result', 'unknown')}): it does not run",
                f"systemctl{user} status sentineld; docs/install-systemd.md explains each state",
            )
        )
    if state.get("NeedDaemonReload") == "yes":
        found.append(
            Finding(
                "unit",
                FIX,
                "its files were changed and systemd has not read them",
                f"systemctl{user} daemon-reload && systemctl{user} restart sentineld",
            )
        )
    found += _sandbox(reading, user)
    yield from found
    if not any(item.level == FIX for item in found):
        yield Finding("unit", OK, f"enabled and running, from {state.get('FragmentPath', '?')}")


def _sandbox(reading: Reading, user: str) -> Iterator[Finding]:
    shipped, fragment = directives(reading.shipped), directives(reading.fragment)
    differing = [name for name in shipped if fragment.get(name) != shipped[name]] if reading.shipped else []
    if differing:
        yield Finding(
            "unit",
            FIX,
            f"not as shipped: {_listed(differing)}",
            f"copy the shipped unit again, and keep changes in a drop-in: systemctl{user} edit sentineld",
        )
    for path, text in reading.drop_ins.items():
        relaxed = [name for name in directives(text) if name in shipped]
        if relaxed:
            yield Finding(
                "unit",
                NOTE,
                f"{path} changes {_listed(relaxed)}",
                "docs/install-systemd.md, When to relax what: is it still needed?",
            )


def directives(text: str) -> dict[str, list[str]]:
    """Return the values of each directive of ``[Service]`` that says how closed the unit is."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            if name not in _FREE:
                found.setdefault(name, []).append(value.strip())
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more


def _ask(*, is_system: bool) -> Reading:
    program = shutil.which("systemctl")
    if program is None:
        return Reading(is_system, None)
    scope = [] if is_system else ["--user"]
    try:
        done = subprocess.run(  # noqa: S603 (systemctl)
            [program, *scope, "show", _UNIT, f"--property={_PROPERTIES}"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Reading(is_system, None)
    if done.returncode != 0:
        return Reading(is_system, None)
    properties = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    drop_ins = {path: _text(path) for path in properties.get("DropInPaths", "").split()}
    fragment = _text(properties.get("FragmentPath", ""))
    return Reading(is_system, properties, _shipped(is_system=is_system), fragment, drop_ins)


def _shipped(*, is_system: bool) -> str:
    """Return the unit of this version: beside the package in a clone, else where wheels put it."""
    name = _UNIT if is_system else os.path.join("user", _UNIT)
    beside = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return _text(os.path.join(beside, "systemd", name)) or _text(
        os.path.join(sys.prefix, "share", "sentineld", "systemd", name)
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
