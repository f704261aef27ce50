"""``sentineld check``: test the configuration and what it points to."""

import os
from typing import Any

import click

from sentineld.cli.app import common, config_in_use, configuration, daemon_paths, print_json, watched
from sentineld.clock import now_us
from sentineld.config import Config, check_owner, masked, options
from sentineld.errors import ConfigError, SentineldError
from sentineld.keyring import reader_keys, signing_key
from sentineld.keys import expiry_warning
from sentineld.starters import FILES, SHIPPED
from sentineld.statedir import check_apart
from sentineld.visible import visible


@click.command(epilog="Example: sentineld check --config /etc/sentineld/sentineld.toml")
@common
def check(config_path: str | None, state_dir: str | None, as_json: bool) -> int:
    """Test the configuration. Exit 0: fine; 1: it works, with findings; 78: it does not work."""
    try:
        check_owner(config_in_use(config_path), os.geteuid())
        config = configuration(config_path, state_dir)
        config, problems = _problems(config)
    except SentineldError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": [_problem("error", str(error), error.hint)], "effective": {}})
        return error.exit_code
    has_errors = any(problem["severity"] == "error" for problem in problems)
    if as_json:
        print_json({"ok": not problems, "problems": problems, "effective": masked(config)})
    else:
        for problem in problems:
            click.echo(f"{problem['severity']}: {visible(problem['message'], 4000)}", err=True)
            click.echo(f"try: {visible(problem['hint'], 4000)}", err=True)
        if not problems:
            click.echo(f"the configuration is fine: {sum(1 for _ in options())} options, mode {config.mode}")
            for path in config.telemetry.directories:
                click.echo(f"watched: {visible(path)}")
    return 78 if has_errors else 1 if problems else 0


def _problem(severity: str, message: str, hint: str) -> dict[str, Any]:
    return {"severity": severity, "message": message, "hint": hint}


def _problems(config: Config) -> tuple[Config, list[dict[str, Any]]]:
    """Return the configuration with what it watches, and what is wrong with it."""
    found: list[dict[str, Any]] = []
    try:
        config.formats()
        config.trust()
    except ConfigError as error:
        found.append(_problem("error", str(error), error.hint))
    else:
        try:
            config, _ = watched(config)
        except ConfigError as error:
            found.append(_problem("warning", str(error), error.hint))
    for path in config.telemetry.directories:
        if not os.path.exists(path):
            found.append(
                _problem("warning", f"telemetry directory {path} does not exist (yet)", f"mkdir -p {path}")
            )
        elif not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
            found.append(_problem("warning", f"telemetry directory {path} is not readable", f"ls -ld {path}"))
    try:
        check_apart(daemon_paths(config), [os.path.abspath(path) for path in config.telemetry.directories])
    except ConfigError as error:
        found.append(_problem("error", str(error), error.hint))
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
        found.append(_problem("error", str(error), error.hint))
    else:
        warning = "" if key is None else expiry_warning(key.key_id, key.not_after_us, now)
        if warning:
            found.append(_problem("warning", warning, "sentineld keygen; docs/state-file.md has the steps"))
    return config, found
