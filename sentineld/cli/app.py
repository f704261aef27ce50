"""The group of all commands, what they share, and how errors are shown.

Errors print ``error: ...`` and ``try: ...`` on stderr, with ``--json`` a document on stdout too. Exit codes:
0 fine, 1 a finding, 2 usage, 3 state missing or stale, 74 the disk (try again), 75 another daemon,
77 no permission, 78 configuration.
"""

import gc
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

import click
import msgspec

from sentineld.cli.failure import failure_document, failure_lines, wants_document
from sentineld.config import Config, load_config
from sentineld.errors import AccessError, ConfigError, SentineldError, StoreError, UsageError
from sentineld.paths import default_config_file
from sentineld.places import Places, find_places
from sentineld.statedir import Paths, resolve_paths

#: Every command, by what one wants of it, with what the list says.
SECTIONS = {
    "First steps": {
        "demo": "Show in a minute what sentineld does.",
        "init": "Write a configuration with every option explained.",
        "run": "Watch telemetry, judge agents, publish the state file.",
        "check": "Test the configuration: every mistake, with its line.",
        "doctor": "Find what keeps sentineld from its work on this machine.",
    },
    "See": {
        "status": "Show every agent's tier and score, and how the daemon is.",
        "why": "Explain an agent's tier: what was seen, and what lifts it.",
        "top": "Show all agents live.",
        "log": "List decisions in the order in which they were made.",
        "report": "Write all of it as one HTML file, with timelines and evidence.",
    },
    "Decide": {
        "pardon": "Return an agent to tier 1 and forget the evidence against it.",
        "pin": "Hold an agent at a tier, whatever it does.",
        "unpin": "Lift a pin: the agent's behaviour decides again.",
        "agent": "Rename, retire and erase agents.",
        "break-glass": "Give tiers by hand while the daemon is dead.",
    },
    "Measure": {
        "replay": "Judge old telemetry: who would have been demoted, when and why.",
        "tune": "Propose thresholds for a wished rate of false alarms.",
        "baseline": "List, freeze, reset, export and import learned habits.",
        "mapping": "See what a file's records become, and which formats are known.",
    },
    "Wire in": {
        "tier": "Print the tier that a router would use for an agent.",
        "gate": "Hold calls of agents above tier 1: a hook for coding agents.",
        "notify": "Tell people of decisions: webhook, program or messenger.",
        "share": "Print a Grafana dashboard, or alert rules for Prometheus.",
        "schema": "Print the JSON Schema of a document.",
        "completion": "Print a script that completes commands in bash, zsh or fish.",
    },
    "Keep": {
        "backup": "Write a checked copy of the database to a file.",
        "restore": "Put a backup in the database's place.",
        "keygen": "Make a key that signs the state file.",
    },
}
#: Every command and the module that holds it.
COMMANDS = {
    name: "pin" if name == "unpin" else name.replace("-", "_")
    for section in SECTIONS.values()
    for name in section
}
#: Commands that run without click.
_EARLY = ("tier", "gate")

#: Help of ``--format`` where it is for all files.
FORMAT_HELP = "Format of all telemetry, not recognised file by file (sentineld mapping list)."

F = TypeVar("F", bound=Callable[..., Any])


class _Lazy(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name in _EARLY:
            # The commands themselves never come this way (see sentineld.cli.main): for the list and shells.
            from sentineld.cli.names import early_command

            return early_command(name, SECTIONS["Wire in"][name])
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(f"sentineld.cli.{COMMANDS[name]}"), name.replace("-", "_")
        )
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Without loading any of them.
        widest = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{widest}}", text) for name, text in commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        name = args[0] if args else ""
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, 1)
            hint = f"sentineld {near[0]}" if near else "sentineld --help"
            raise UsageError(f"there is no command {name!r}", hint=hint)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Start with: sentineld demo",
)
@click.version_option(package_name="sentineld", message="sentineld %(version)s")
def cli() -> None:
    """Behavioural defence for AI agents: watch what they do, demote what stops behaving as it should."""


def common(function: F) -> F:
    """Add the options that every command takes: ``--config``, ``--state-dir``, ``--json``."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
        click.option("--state-dir", metavar="DIR", help="Directory of everything that the daemon writes."),
        click.option("--config", "config_path", metavar="FILE", help="Configuration file."),
    ):
        function = option(function)
    return function


def configuration(
    config_path: str | None, state_dir: str | None, overrides: dict[str, Any] | None = None
) -> Config:
    """Load the configuration of a command: file, environment, flags."""
    path = config_in_use(config_path)
    values = dict(overrides or {})
    if state_dir is not None:
        values["state_dir"] = state_dir
    return load_config(path, os.environ, values)


def same_place(config_path: str | None, state_dir: str | None) -> str:
    """Return what makes a command that is told to the user go to the place that this one went to."""
    given = (("--config", config_path), ("--state-dir", state_dir))
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given if value is not None)


def config_in_use(config_path: str | None) -> str | None:
    """Return the path of the configuration file: the given one, else the usual one if it exists."""
    return config_path or _existing_default()


def watched(config: Config) -> tuple[Config, Places | None]:
    """Return a configuration with the directories that the daemon watches.

    Where none is configured, these are the places of known formats that belong to this user, which are
    returned too. Raises ``ConfigError`` where there is none.
    """
    if config.telemetry.directories:
        return config, None
    places = find_places(config.formats(), os.environ, os.geteuid())
    directories = places.directories
    if not directories:
        others = ", ".join(dict.fromkeys(place.path for place in places.foreign))
        others = f"; left out as another user's: {others}" if others else ""
        raise ConfigError(
            "no telemetry directory is named, and no agent of this user has written to its usual place",
            hint=f"sentineld run --telemetry DIR; where it looked: sentineld mapping list{others}",
        )
    paths = daemon_paths(config)
    for path in directories:
        if path.startswith(os.path.join(paths.state_dir, "")):
            raise ConfigError(
                f"{path}, where an agent writes, lies inside the state directory {paths.state_dir}",
                hint="choose another --state-dir, or name the telemetry directories: --telemetry DIR",
            )
    telemetry = msgspec.structs.replace(config.telemetry, directories=directories)
    return msgspec.structs.replace(config, telemetry=telemetry), places


def daemon_paths(config: Config) -> Paths:
    """Return where the daemon of this configuration keeps its things."""
    return resolve_paths(config, os.environ, os.geteuid())


def spare_the_collector() -> None:
    """Let the cyclic garbage collector look rarely: records are freed by their reference counts.

    Looking through every decoded record costs a sixth of the time of a replay, and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def print_json(document: object) -> None:
    """Print one JSON document on stdout, in ASCII: what agents supplied moves no terminal's cursor."""
    click.echo(json.dumps(document, indent=2, default=str))


def _existing_default() -> str | None:
    path = default_config_file(os.environ, os.geteuid())
    if os.geteuid() != 0 and not os.access(path, os.R_OK):
        # The machine's configuration is the service's; a user without access to it runs their own.
        path = default_config_file(os.environ, os.geteuid(), system="")
    return path if os.path.exists(path) else None


def fail(error: SentineldError, *, as_json: bool) -> int:
    """Show an error, with the others that were found beside it, and return its exit code."""
    for line in failure_lines(error):
        click.echo(line, err=True)
    if as_json:
        print_json(failure_document(error))
    return error.exit_code


def _database_errors() -> tuple[type[Exception], ...]:
    # Most commands never load SQLite, and what was not loaded raised nothing.
    return (sys.modules["sqlite3"].Error,) if "sqlite3" in sys.modules else ()


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    # numpy's linear algebra would start threads that nothing here uses, and where none may be started it
    # sends itself SIGINT.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Agents choose letters that the terminal's encoding may lack.
        sys.stdout.reconfigure(errors="backslashreplace")
    as_json = wants_document(arguments)
    try:
        result = cli.main(list(arguments), prog_name="sentineld", standalone_mode=False)
    except SentineldError as error:
        return fail(error, as_json=as_json)
    except _database_errors() as error:
        unreadable = StoreError(f"the database cannot be read: {error}", hint="sentineld doctor")
        return fail(unreadable, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "sentineld"
        return fail(UsageError(error.format_message(), hint=f"{where} --help"), as_json=as_json)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody left to tell.
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.filename is not None or sys.stdout is None:
            raise
        # Else the interpreter would try again at its end, and replace our exit code by 120.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        unwritable = AccessError(f"cannot write the output: {error.strerror}", hint="see where stdout leads")
        return fail(unwritable, as_json=False)
    return result if isinstance(result, int) else 0
