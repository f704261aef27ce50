"""``sentineld run``: the daemon, in the foreground unless told otherwise."""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec
import structlog

from sentineld import clock, log
from sentineld.cli.app import (
    FORMAT_HELP,
    common,
    config_in_use,
    configuration,
    daemon_paths,
    print_json,
    spare_the_collector,
    watched,
)
from sentineld.cli.progress import ProgressBar
from sentineld.cli.prose import filled
from sentineld.config import Config, check_owner
from sentineld.errors import AccessError, ConfigError, UsageError
from sentineld.isolation import sees_real_uids
from sentineld.options import Duration, parse_duration
from sentineld.places import Places
from sentineld.service import Service
from sentineld.statedir import Paths, check_apart, hold_lock, name_holder, prepare
from sentineld.store import Store
from sentineld.views import look_at_state, status_document
from sentineld.visible import visible

_log = structlog.get_logger()


@click.command(epilog="Example: sentineld run --telemetry /var/log/agents --state-dir ./state")
@click.option(
    "--telemetry",
    "directories",
    metavar="DIR",
    multiple=True,
    help="Telemetry directory; repeatable. Without any: where the agents of this user write by default.",
)
@click.option("--state-file", metavar="FILE", help="Where routers find the state file.")
@click.option(
    "--mode", type=click.Choice(["enforce", "observe"]), help="observe publishes no tier, only what would be."
)
@click.option("--format", "format_name", metavar="NAME", help=FORMAT_HELP)
@click.option(
    "--judge-history",
    is_flag=True,
    help="Let telemetry that is there at the first start demote. (In activity mode it always does.)",
)
@click.option("--once", is_flag=True, help="Process what is there, publish, and exit.")
@click.option(
    "--valid-for", metavar="TIME", help="With --once: how long readers may rely on the result (default 1h)."
)
@click.option("--daemonize", is_flag=True, help="Detach from the terminal; not needed under systemd.")
@common
def run(
    directories: tuple[str, ...],
    state_file: str | None,
    mode: str | None,
    format_name: str | None,
    judge_history: bool,
    once: bool,
    valid_for: str | None,
    daemonize: bool,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Watch telemetry, judge agents, publish the state file.

    A directory that does not exist is waited for, and warned of. Where none does, --once exits 2.
    Without --telemetry and configuration it finds what agents of this user write (sentineld mapping list).
    With --json, logs are JSON on stderr, and the document of `status` is printed when it ends.
    """
    overrides: dict[str, Any] = {
        "telemetry.directories": list(directories) or None,
        "telemetry.format": format_name,
        "state.file": state_file,
        "mode": mode,
        "detection.judge_history": judge_history or None,
        "log.format": "json" if as_json or daemonize else None,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    # Relative paths, also those in the file, must survive the change of directory that daemons make.
    base = os.getcwd()
    config_file = None if config_path is None else os.path.join(base, config_path)

    def load() -> tuple[Config, Places | None]:
        check_owner(config_in_use(config_file), os.geteuid())
        config, places = watched(configuration(config_file, state_dir, given))
        return _settled(config, base), places

    def reload() -> Config:
        config, places = load()
        _tell(places)
        return config

    lifetime = _lifetime(valid_for, once=once)
    if once and daemonize:
        raise UsageError("--once and --daemonize exclude each other", hint="sentineld run --once")
    config, places = load()
    _check_uids(config)
    missing = [path for path in config.telemetry.directories if not os.path.exists(path)]
    if once and missing and len(missing) == len(config.telemetry.directories):
        raise UsageError(
            f"telemetry directory {missing[0]} does not exist: nothing is published",
            hint=f"mkdir -p {shlex.quote(missing[0])}, or name another: --telemetry DIR",
        )
    paths = daemon_paths(config)
    _occupy_standard_descriptors()
    # What others than the daemon's user may write, they may forge; a looser umask is not inherited.
    os.umask(os.umask(0o077) | 0o022)
    prepare(paths)
    log.configure(config.log.level, config.log.format)
    log.catch_strays(clock.monotonic_us)
    _tell(places)
    is_watched = not (once or daemonize or as_json) and sys.stderr is not None and sys.stderr.isatty()
    for path in () if is_watched else missing:
        hint = "it is read once it appears; if that is not its name, stop and name another"
        _log.warning("telemetry_missing", path=path, hint=hint)
    with hold_lock(paths) as lock:
        if is_watched:
            _say_next(config, missing, config_path, state_dir)
        # Faults that an operator must mend show here, on the terminal, and not in a log behind it.
        bar = ProgressBar(is_wanted=not (daemonize or as_json))
        service = Service(config, paths, os.environ, reload, config_in_use(config_file) or "", bar.show)
        with _detached(paths, lock, config) if daemonize else contextlib.nullcontext(), bar:
            name_holder(lock)
            spare_the_collector()
            if once:
                # Nobody waits for a stop here: what was not committed is read again.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                # Nor is there anything to reload: what came until now is forgotten.
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
                service.run_once(lifetime.us)
            else:
                service.run()
    if as_json and not daemonize:
        with Store.open_readonly(paths.database) as store:
            print_json(
                status_document(
                    store, service.config, look_at_state(service.config, paths, os.environ), paths
                )
            )


def _occupy_standard_descriptors() -> None:
    # Else a database or a state file gets the number of a stream that was closed, and what is printed.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _settled(config: Config, base: str) -> Config:
    """Return a configuration that says where telemetry is, by absolute paths, apart from our own places."""
    directories = [os.path.abspath(os.path.join(base, path)) for path in config.telemetry.directories]
    state = msgspec.structs.replace(
        config.state,
        file=_absolute(config.state.file, base),
        key_file=_absolute(config.state.key_file, base),
        keys={
            key_id: {**entry, "file": _absolute(entry["file"], base)}
            for key_id, entry in config.state.keys.items()
        },
    )
    settled = msgspec.structs.replace(
        config,
        telemetry=msgspec.structs.replace(
            config.telemetry,
            directories=directories,
            mappings=[_absolute(path, base) for path in config.telemetry.mappings],
        ),
        state=state,
        state_dir=_absolute(config.state_dir, base),
        metrics=msgspec.structs.replace(
            config.metrics,
            socket=_absolute(config.metrics.socket, base),
            textfile=_absolute(config.metrics.textfile, base),
        ),
    )
    check_apart(daemon_paths(settled), directories)
    # Formats and users that do not exist show here, and not when the first file of theirs is read.
    settled.formats()
    settled.trust()
    return settled


def _check_uids(config: Config) -> None:
    if not config.identity.allow_user_namespace and not sees_real_uids():
        raise ConfigError(
            "this is a user namespace (/proc/self/uid_map): files of different owners look alike here",
            hint="run it outside (systemd: PrivateUsers=no), or set [identity] allow_user_namespace = true",
        )


def _tell(places: Places | None) -> None:
    """Say what is watched where nobody said it: one record a place, and one of all that is not there."""
    if places is None:
        return
    for place in places.found:
        _log.info("place_watched", format=place.format, path=place.path)
    for place in places.foreign:
        _log.info("place_left_out", format=place.format, path=place.path, reason="it belongs to another user")
    if places.missing:
        formats = list(dict.fromkeys(place.format for place in places.missing))
        _log.info("place_not_found", formats=formats, hint="sentineld mapping list")


def _say_next(config: Config, missing: list[str], config_path: str | None, state_dir: str | None) -> None:
    """Tell somebody at a terminal what is watched, and how to look at it."""
    command = ["sentineld", "status"]
    command += ["--config", config_path] if config_path else []
    command += ["--state-dir", state_dir] if state_dir else []
    there = [path for path in config.telemetry.directories if path not in missing]
    restricted = ": nothing is restricted" if config.mode == "observe" else ""
    doing = f"watching {', '.join(map(visible, there))}" if there else "watching nothing yet"
    click.echo(filled(f"{doing}, in {config.mode} mode{restricted}"), err=True)
    for path in missing:
        click.echo(filled(f"{visible(path)} does not exist: waiting for it", first="warning: "), err=True)
    click.echo(f"next: {visible(shlex.join(command))}   (in another terminal)", err=True)


def _absolute(path: str, base: str) -> str:
    # What begins with a variable is completed later.
    return path if not path or path.startswith("$") else os.path.abspath(os.path.join(base, path))


def _lifetime(valid_for: str | None, *, once: bool) -> Duration:
    if valid_for is not None and not once:
        raise UsageError("--valid-for goes with --once", hint="set state.valid_for in the configuration")
    try:
        lifetime = parse_duration(valid_for or "1h")
    except ValueError as error:
        raise UsageError(f"--valid-for: {error}", hint="--valid-for 1h") from error
    if lifetime < 1:
        raise UsageError("--valid-for: must be at least 1s", hint="--valid-for 1h")
    return lifetime


@contextlib.contextmanager
def _detached(paths: Paths, lock: int, config: Config) -> Iterator[None]:
    from daemon import DaemonContext

    try:
        fd = os.open(
            paths.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640
        )
    except OSError as error:
        raise AccessError(
            f"cannot open {paths.output}: {error.strerror}", hint="check owner and mode"
        ) from error
    # The context opens before any thread or observer exists: it closes descriptors and forks.
    with os.fdopen(fd, "a", encoding="utf-8") as output:
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
            log.configure(config.log.level, config.log.format)
            yield
