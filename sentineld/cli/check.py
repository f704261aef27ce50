"""``sentineld check``: test the configuration and what it points to."""

import os
from shlex import quote
from typing import Any

import click

from sentineld.cli.app import common, config_in_use, configuration, daemon_paths, print_json, watched
from sentineld.cli.prose import filled
from sentineld.clock import now_us
from sentineld.config import Config, check_owner, masked, options
from sentineld.errors import ConfigError, SentineldError
from sentineld.keyring import reader_keys, signing_key
from sentineld.keys import expiry_warning
from sentineld.starters import FILES, SHIPPED
from sentineld.statedir import check_apart
from sentineld.toml_text import line_of, lines_of
from sentineld.visible import visible

#: Characters shown of a problem.
_MAX_TEXT = 4000


@click.command(epilog="Example: sentineld check --config /etc/sentineld/sentineld.toml")
@common
def check(config_path: str | None, state_dir: str | None, as_json: bool) -> int:
    """Test the configuration. Exit 0: fine; 1: it works, with findings; 78: it does not work."""
    try:
        check_owner(config_in_use(config_path), os.geteuid())
        config = configuration(config_path, state_dir)
    except SentineldError as error:
        if not as_json:
            raise
        others = error.others if isinstance(error, ConfigError) else ()
        print_json({"ok": False, "problems": [*map(_error, (error, *others))], "effective": {}})
        return error.exit_code
    config, problems = _problems(config, config_in_use(config_path))
    has_errors = any(problem["severity"] == "error" for problem in problems)
    if as_json:
        print_json({"ok": not problems, "problems": problems, "effective": masked(config)})
    else:
        for problem in problems:
            click.echo(
                filled(visible(problem["message"], _MAX_TEXT), first=f"{problem['severity']}: "), err=True
            )
            click.echo(filled(visible(problem["hint"], _MAX_TEXT), first="try: "), err=True)
        if not problems:
            click.echo(f"the configuration is fine: {sum(1 for _ in options())} options, mode {config.mode}")
            for path in config.telemetry.directories:
                click.echo(f"watched: {visible(path)}")
    return 78 if has_errors else 1 if problems else 0


def _problem(severity: str, message: str, hint: str) -> dict[str, Any]:
    return {"severity": severity, "message": message, "hint": hint, "key": None, "file": None, "line": None}


def _error(error: SentineldError, path: str | None = None) -> dict[str, Any]:
    """Return a problem; ``path`` is the file that an option stands in where the error does not say so."""
    found = _problem("error", str(error), error.hint)
    if isinstance(error, ConfigError):
        variable = f"SENTINELD_{error.key.upper().replace('.', '_')}"
        if path is not None and error.key and not error.file and variable not in os.environ:
            with open(path, encoding="utf-8") as file:
                line = line_of(error.key, lines_of(file.read()))
            if line:
                place = {"key": error.key, "file": path, "line": line}
                return found | place | {"message": f"{path}:{line}: {error}"}
        found |= {"key": error.key or None, "file": error.file or None, "line": error.line or None}
    return found


def _problems(config: Config, config_file: str | None) -> tuple[Config, list[dict[str, Any]]]:
    """Return the configuration with what it watches, and what is wrong with it."""
    found: list[dict[str, Any]] = []
    for build in (config.formats, config.trust):
        try:
            build()
        except ConfigError as error:
            found.append(_error(error, config_file))
    if not found:
        try:
            config, _ = watched(config)
        except ConfigError as error:
            found.append(_problem("warning", str(error), error.hint))
    for path in config.telemetry.directories:
        if not os.path.exists(path):
            found.append(
                _problem(
                    "warning", f"telemetry directory {path} does not exist (yet)", f"mkdir -p {quote(path)}"
                )
            )
        elif not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
            found.append(
                _problem("warning", f"telemetry directory {path} is not readable", f"ls -ld {quote(path)}")
            )
    try:
        check_apart(daemon_paths(config), [os.path.abspath(path) for path in config.telemetry.directories])
    except ConfigError as error:
        found.append(_error(error))
    if config.detection.mode == "learned" and config.detection.starter:
        for role in FILES:
            SHIPPED(role)
        found += [
            _problem("warning", f"the starter {path} is passed over: {reason}", "install sentineld again")
            for path, reason in SHIPPED.troubles.items()
        ]
    now = now_us()
    try:
        key = signing_key(config, os.environ, now)
        reader_keys(config, os.environ)
    except ConfigError as error:
        found.append(_error(error))
    else:
        warning = "" if key is None else expiry_warning(key.key_id, key.not_after_us, now)
        if warning:
            found.append(_problem("warning", warning, "sentineld keygen; docs/state-file.md has the steps"))
    return config, found
