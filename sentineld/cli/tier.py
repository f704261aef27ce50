"""``sentineld tier AGENT``: print the tier that a router would use, for shell scripts and hooks.

Runs before click and the daemon's libraries are imported: standard library and the router only. The exit
status follows from the tier alone: 0 where it is at most ``--max-tier``, else 1; 2 where the command line is
wrong. A state or a configuration that cannot be believed is tier 3, with a sentence on stderr, so a script
that only looks at the status is on the safe side.
"""

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from shlex import quote
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple, TextIO

from sentineld.errors import ConfigError, SentineldError, UsageError
from sentineld.keys import (
    DEFAULT_KEY_ID,
    VerificationKey,
    load_verification_key,
    load_verification_keys,
    parse_key_table,
    with_credentials,
)
from sentineld.paths import default_config_file, default_state_file, may_exist
from sentineld.router import BehaviorTier, TierRouter
from sentineld.tier import Tier
from sentineld.visible import visible

if TYPE_CHECKING:
    from sentineld.cli.parser import Parser

#: A configuration of more bytes than this is another file given by mistake.
MAX_CONFIG_BYTES = 1024 * 1024
#: Characters shown of an error: ids, paths and arguments may come from an agent.
MAX_ERROR = 4000

_HELP_HINT = "sentineld tier --help"

_EPILOG = """\
Exit status: 0 if the tier is at most N, 1 if it is higher, 2 for a usage error.
A state file that is missing, stale or forged is tier 3 for every agent.
Where AGENT comes from somebody else, put -- before it.

Example: sentineld tier --max-tier 2 -- "$AGENT" && git merge --ff-only proposal
"""


class Settings(NamedTuple):
    """Which file to read, which keys must have signed it, and the tables of the configuration.

    ``state_dir`` is the state directory that was named, if one was.
    """

    state_file: str
    keys: Sequence[VerificationKey]
    state_dir: str | None
    config: Mapping[str, object]


class _Answer(NamedTuple):
    """The document of ``--json``. ``verified``, ``mode`` and ``seq`` tell of a file that could be read.

    ``is_overridden``: the tier is an operator's order (``sentineld break-glass``) and not the agent's own.
    """

    agent: str
    tier: int
    max_tier: int
    allowed: bool
    reason: str
    state_file: str | None
    verified: bool
    mode: str | None
    seq: int | None
    is_overridden: bool
    warnings: Sequence[str]


def main(argv: list[str]) -> int:
    """Carry out ``sentineld tier`` with the arguments behind the command's name; return the exit status."""
    parser = make_parser()
    try:
        options = SimpleNamespace(**vars(parser.parse_args(argv)))
        if options.help:
            write(sys.stdout, parser.format_help())
            if len(argv) == 1:
                return 0
        _check(options)
    except UsageError as error:
        report(error, argv)
        return error.exit_code
    answer, problem = _ask(options, os.environ, os.geteuid())
    if problem is not None:
        report(problem)
    for warning in answer.warnings:
        write(sys.stderr, f"warning: {visible(warning, MAX_ERROR)}\n")
    write(sys.stdout, f"{json.dumps(answer._asdict()) if options.json else answer.tier}\n")
    return 0 if answer.allowed else 1


def make_parser() -> "Parser":
    """Return the parser; ``--help`` is an option like any other, so that it goes through `_write`."""
    from argparse import RawDescriptionHelpFormatter

    from sentineld.cli.parser import Parser

    parser = Parser(
        prog="sentineld tier",
        description="Print the tier that a router would use for an agent:\n"
        "1 normal, 2 suspicious, 3 anomalous (a human must review).",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("agent", metavar="AGENT", nargs="?", help="the agent's id")
    parser.add_argument("--max-tier", metavar="N", default="1", help="highest tier for status 0 (default 1)")
    parser.add_argument("--state-file", metavar="F", help="the state file to read")
    parser.add_argument("--state-dir", metavar="D", help="the state directory: reads D/state.json")
    parser.add_argument("--config", metavar="F", help="the configuration, for state file and key")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.add_argument("-h", "--help", action="store_true", help="print this and exit")
    return parser


def _check(options: SimpleNamespace) -> None:
    """Raise `UsageError` where arguments are missing or out of range; make ``max_tier`` a number."""
    if options.help:
        # An agent may call itself "--help": beside the options of a script this must not look like a yes.
        raise UsageError("nothing was checked: --help stands beside other arguments", hint=_HELP_HINT)
    if not options.agent:
        # An empty id is a variable that nobody set; as an unlisted agent it would get a newcomer's tier.
        raise UsageError("no agent was named", hint="sentineld tier AGENT")
    if options.max_tier not in {str(int(tier)) for tier in Tier}:
        raise UsageError(f"--max-tier must be 1, 2 or 3, not {options.max_tier!r}", hint=_HELP_HINT)
    options.max_tier = int(options.max_tier)
    for name in ("state_file", "state_dir", "config"):
        if getattr(options, name) == "":
            raise UsageError(f"--{name.replace('_', '-')} must not be empty", hint=_HELP_HINT)


def _ask(options: SimpleNamespace, env: Mapping[str, str], uid: int) -> tuple[_Answer, SentineldError | None]:
    """Find the tier, and what stood in the way of a better answer, if anything did."""
    state_file, view = options.state_file, None
    is_overridden, warnings = False, []
    problem: SentineldError | None = None
    try:
        settings = read_settings(options, env, uid)
    except ConfigError as error:
        # Without it nobody knows whether the state file has to be signed: as if it were unusable.
        behavior, problem = BehaviorTier(Tier.ANOMALOUS, str(error), is_usable=False), error
    else:
        router = TierRouter(state_file=settings.state_file, keys=settings.keys)
        state_file = router.state_file
        behavior, view = router.behavior(options.agent), router.state
        override = router.override
        is_overridden = override is not None and override.applies_to(options.agent)
        # That there is no key is how it was configured: nobody must be told at every call.
        warnings = list(router.warnings[0 if settings.keys else 1 :])
    if problem is None and not behavior.is_usable:
        problem = SentineldError(behavior.reason, hint="sentineld status")
    answer = _Answer(
        agent=options.agent,
        tier=int(behavior.tier),
        max_tier=options.max_tier,
        allowed=behavior.tier <= options.max_tier,
        reason=behavior.reason,
        state_file=state_file,
        verified=view is not None and view.verified,
        mode=None if view is None else view.mode,
        seq=None if view is None else view.seq,
        is_overridden=is_overridden,
        warnings=warnings,
    )
    return answer, problem


def read_settings(options: SimpleNamespace, env: Mapping[str, str], uid: int) -> Settings:
    """Combine flags, environment, configuration and defaults, in this order. Raises `ConfigError`."""
    path = options.config
    if path is None:
        path = default_config_file(env, uid)
        if not may_exist(path):
            path = None
    config = {} if path is None else read_config(path)
    state = config.get("state", {})
    if not isinstance(state, dict):
        raise ConfigError(f"{path}: state is not a table", hint="sentineld check")
    key_file = _first(env.get("SENTINELD_STATE_KEY_FILE"), _option(state, "key_file", path))
    key_id = _first(env.get("SENTINELD_STATE_KEY_ID"), _option(state, "key_id", path)) or DEFAULT_KEY_ID
    state_file = _first(options.state_file, env.get("SENTINELD_STATE_FILE"), _option(state, "file", path))
    state_dir = _first(options.state_dir, env.get("SENTINELD_STATE_DIR"), _option(config, "state_dir", path))
    if state_file is None:
        state_file = default_state_file(state_dir, env, uid)
    credentials = env.get("CREDENTIALS_DIRECTORY")
    entries = parse_key_table(state.get("keys", {}))
    keys: Sequence[VerificationKey] = ()
    if entries:
        keys = load_verification_keys(entries, credentials)
    elif key_file is not None:
        keys = (load_verification_key(with_credentials(key_file, credentials), key_id),)
    return Settings(state_file, keys, state_dir, config)


def _first(*values: str | None) -> str | None:
    """Return the first value that is given; an empty one is not."""
    return next((value for value in values if value), None)


def _option(table: Mapping[str, object], name: str, path: str | None) -> str:
    """Return an option that must be text if it is there. Raises `ConfigError`."""
    value = table.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {name} is not text", hint="sentineld check")
    return value


def read_config(path: str) -> dict[str, object]:
    """Read a TOML file; only a regular one that others cannot write. Raises `ConfigError`."""
    # Imported here: most calls find no configuration, and in a hook every millisecond counts.
    import tomllib

    hint = "sentineld check"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise ConfigError(f"configuration {path} cannot be opened: {_reason(error)}", hint=hint) from error
    try:
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"configuration {path} is not a regular file", hint=hint)
            if status.st_mode & stat.S_IWOTH:
                # Whoever writes it says which key is believed.
                raise ConfigError(
                    f"configuration {path} is writable by everybody", hint=f"chmod o-w {quote(path)}"
                )
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ConfigError(f"configuration {path} is larger than {MAX_CONFIG_BYTES} bytes", hint=hint)
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path} cannot be read: {_reason(error)}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"configuration {path} is not valid: {error}", hint=hint) from error


def _reason(error: OSError | ValueError) -> str:
    """Return what the system says about an error."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def report(error: SentineldError, argv: Sequence[str] = ()) -> None:
    """Print an error and the next step, and its document where a command line asks for documents."""
    # Loaded late: a hook that has nothing to say does not wait for it.
    from sentineld.cli.failure import failure_document, failure_lines, wants_document

    write(sys.stderr, "".join(f"{line}\n" for line in failure_lines(error)))
    if wants_document(argv):
        write(sys.stdout, json.dumps(failure_document(error)) + "\n")


def write(stream: TextIO | None, text: str) -> bool:
    """Write and flush; False where that failed: a closed stream must not change the exit status."""
    if stream is None:
        return not text
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        # Else the interpreter would try again at its end, and replace our exit status by 120.
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        return False
    return True
