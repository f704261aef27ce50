"""``sentineld run``: the daemon, in the foreground unless told otherwise."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import click

from sentineld import log
from sentineld.cli.app import common, configuration, daemon_paths
from sentineld.config import Config, parse_duration
from sentineld.errors import ConfigError, UsageError
from sentineld.service import Paths, Service, hold_lock, prepare


@click.command(
    epilog="Example: sentineld run --telemetry /var/log/agents --state-dir ./state",
)
@click.option("--telemetry", "directories", metavar="DIR", multiple=True, help="Telemetry directory; repeatable.")
@click.option("--state-file", metavar="FILE", help="Where routers find the state file.")
@click.option("--mode", type=click.Choice(["enforce", "observe"]), help="observe publishes no tier, only what would be.")
@click.option("--format", "format_name", metavar="NAME", help="Format of the telemetry.")
@click.option(
    "--judge-history",
    is_flag=True,
    help="Let telemetry that is there at the first start demote. (In activity mode it always does.)",
)
@click.option("--once", is_flag=True, help="Process what is there, publish, and exit.")
@click.option("--valid-for", metavar="TIME", help="With --once: how long readers may rely on the result (default 1h).")
@click.option("--daemonize", is_flag=True, help="Detach from the terminal; not needed under systemd.")
@common
def run(
    directories: tuple[str, ...],
    state_file: str | None,
    mode: str | None,
    format_name: str | None,
    judge_history: bool,  # noqa: ARG001 (a contract of the command line; activity mode judges all history)
    once: bool,
    valid_for: str | None,
    daemonize: bool,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Watch telemetry, judge agents, publish the state file."""
    overrides: dict[str, Any] = {
        key: value
        for key, value in {
            "telemetry.directories": [os.path.abspath(path) for path in directories] or None,
            "telemetry.format": format_name,
            "state.file": state_file and os.path.abspath(state_file),
            "mode": mode,
        }.items()
        if value is not None
    }
    # Relative paths must survive the change of directory that daemons make.
    given_dir = None if state_dir is None else os.path.abspath(state_dir)
    given_config = None if config_path is None else os.path.abspath(config_path)

    def load() -> Config:
        return configuration(given_config, given_dir, overrides)

    config = load()
    if not config.telemetry.directories:
        raise ConfigError("no telemetry directory is configured", hint="sentineld run --telemetry DIR, or sentineld init")
    if valid_for is not None and not once:
        raise UsageError("--valid-for goes with --once", hint="set state.valid_for in the configuration")
    if once and daemonize:
        raise UsageError("--once and --daemonize exclude each other", hint="sentineld run --once")
    paths = daemon_paths(config)
    prepare(paths)
    log.configure(config.log.level, "json" if as_json else config.log.format)
    with hold_lock(paths) as lock, _detached(paths, lock, config) if daemonize else contextlib.nullcontext():
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        _serve(config, paths, load, once=once, valid_for=valid_for)


def _serve(config: Config, paths: Paths, load: Callable[[], Config], *, once: bool, valid_for: str | None) -> None:
    service = Service(config, paths, os.environ, load)
    if not once:
        service.run()
        return
    try:
        duration = parse_duration(valid_for or "1h")
    except ValueError as error:
        raise UsageError(f"--valid-for: {error}", hint="--valid-for 1h") from error
    service.run_once(duration.us)


@contextlib.contextmanager
def _detached(paths: Paths, lock: int, config: Config) -> Iterator[None]:
    from daemon import DaemonContext

    # The context opens before any thread or observer exists: it closes descriptors and forks.
    with open(os.path.join(paths.state_dir, "sentineld.log"), "a", encoding="utf-8") as output:
        context = DaemonContext(
            detach_process=True,
            umask=0o027,
            working_directory=paths.state_dir,
            files_preserve=[lock, output],
            stdout=output,
            stderr=output,
            signal_map={},
        )
        with context:
            log.configure(config.log.level, "json")
            yield
