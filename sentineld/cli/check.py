"""``sentineld check``: test the configuration and what it points to."""

import os
from typing import Any

import click
import msgspec

from sentineld.cli.app import common, config_in_use, configuration, daemon_paths, print_json
from sentineld.clock import now_us
from sentineld.config import Config, check_owner, options
from sentineld.errors import ConfigError, SentineldError
from sentineld.keyring import reader_keys, signing_key
from sentineld.keys import expiry_warning
from sentineld.statedir import check_apart
from sentineld.visible import visible


@click.command(epilog="Example: sentineld check --config /etc/sentineld/sentineld.toml")
@common
def check(config_path: str | None, state_dir: str | None, as_json: bool) -> int:
    """Test the configuration. Exit 0: fine; 1: it works, with findings; 78: it does not work."""
    try:
        check_owner(config_in_use(config_path), os.geteuid())
        config = configuration(config_path, state_dir)
        problems = _problems(config)
    except SentineldError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": [_problem("error", str(error), error.hint)], "effective": {}})
        return error.exit_code
    has_errors = any(problem["severity"] == "error" for problem in problems)
    if as_json:
        effective = msgspec.to_builtins(config, enc_hook=float)
        print_json({"ok": not problems, "problems": problems, "effective": effective})
    else:
        for problem in problems:
            click.echo(f"{problem['severity']}: {visible(problem['message'], 4000)}", err=True)
            click.echo(f"try: {visible(problem['hint'], 4000)}", err=True)
        if not problems:
            click.echo(f"the configuration is fine: {sum(1 for _ in options())} options, mode {config.mode}")
    return 78 if has_errors else 1 if problems else 0


def _problem(severity: str, message: str, hint: str) -> dict[str, Any]:
    return {"severity": severity, "message": message, "hint": hint}


def _problems(config: Config) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if not config.telemetry.directories:
        found.append(_problem("warning", "no telemetry directory is configured", "set telemetry.directories"))
    for path in config.telemetry.directories:
        if not os.path.isdir(path):
            found.append(
                _problem("warning", f"telemetry directory {path} does not exist (yet)", f"mkdir -p {path}")
            )
        elif not os.access(path, os.R_OK | os.X_OK):
            found.append(_problem("warning", f"telemetry directory {path} is not readable", f"ls -ld {path}"))
    try:
        config.trust()
        config.formats()
    except ConfigError as error:
        found.append(_problem("error", str(error), error.hint))
    try:
        check_apart(daemon_paths(config), [os.path.abspath(path) for path in config.telemetry.directories])
    except ConfigError as error:
        found.append(_problem("error", str(error), error.hint))
    now = now_us()
    try:
        key = signing_key(config, os.environ, now)
        reader_keys(config, os.environ)
    except ConfigError as error:
        found.append(_problem("error", str(error), error.hint))
    else:
        warning = "" if key is None else expiry_warning(key.key_id, key.not_after_us, now)
        if warning:
            found.append(_problem("warning", warning, "sentineld keygen; docs/state-file.md has the steps"))
    return found
