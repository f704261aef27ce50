"""``sentineld gate``: a hook for coding agents that holds the calls of those who misbehave.

Like ``tier`` it runs before click and the daemon's libraries are imported. Whatever goes wrong is a denial,
unless the configuration says otherwise.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from sentineld.cli.tier import MAX_ERROR, Settings, read_settings, report, write
from sentineld.errors import ConfigError, UsageError
from sentineld.gate import (
    ASK,
    CLIENTS,
    CODEX,
    DENY,
    GENERIC,
    MAX_INPUT,
    PASS,
    STATUS,
    Call,
    UnknownInputError,
    answer,
    is_headless,
    read_call,
    remember,
)
from sentineld.ids import agent_id
from sentineld.paths import default_gate_dir
from sentineld.router import BehaviorTier, TierRouter
from sentineld.tier import Tier
from sentineld.visible import visible

if TYPE_CHECKING:
    from sentineld.cli.parser import Parser

_EPILOG = """\
Reads the JSON of a PreToolUse hook of Claude Code or Codex on standard input.
What passes prints nothing. With --client generic it reads nothing, and the
exit status tells: 0 pass, 2 deny, 3 ask somebody first. Input in an unknown
form is denied, as is all where the state file is missing, stale or forged.

Install it with what --print shows. docs/gate.md explains it, and its removal.

Example: sentineld gate --print claude-code
"""
#: What each option of ``[gate]`` may be; the first is the default.
_CHOICES = {
    "tier_2": (ASK, DENY, PASS),
    "tier_3": (DENY, ASK),
    "on_failure": (DENY, PASS),
    "headless": ("auto", "yes", "no"),
}
#: Days for which denials are kept in the log; the daemon remembers them on its own.
_KEPT_DAYS = 30
_TIER_NAMES = {1: "normal", 2: "suspicious", 3: "anomalous: a human must review"}
#: Options whose value is a path.
_PATHS = ("--log-dir", "--state-file", "--state-dir", "--config")
#: Programs of the clients, and the first and last of their versions whose hooks are known.
_KNOWN = {"claude-code": ("claude", (1, 0), (2, 1)), "codex": ("codex", (0, 124), (0, 149))}
_ASKING_S = 10.0
_SETTINGS = {
    "claude-code": """\
{
  "hooks": {
    "PreToolUse": [
      {
        "matcher": "*",
        "hooks": [{"type": "command", "command": %s, "timeout": 15}]
      }
    ]
  }
}
""",
    "codex": """\
[[hooks.PreToolUse]]
matcher = ".*"

[[hooks.PreToolUse.hooks]]
type = "command"
command = %s
timeout = 15
""",
    "generic": "%s && THE-CALL\n",
}


class _Options(NamedTuple):
    """The table ``[gate]`` as it counts: file, environment, flags."""

    tier_2: str = ASK
    tier_3: str = DENY
    on_failure: str = DENY
    headless: str = "auto"
    directory: str = ""


class _Verdict(NamedTuple):
    """What is decided, and why, as a sentence."""

    decision: str
    tier: int
    agent: str
    reason: str
    next_command: str
    decision_id: str = ""
    #: Whether the tier is the agent's own, and not what a failure is answered by.
    is_known: bool = True


def main(argv: list[str]) -> int:
    """Carry out ``sentineld gate`` with the arguments behind the command's name; return the exit status."""
    try:
        options = _read(argv)
        if options.help:
            write(sys.stdout, make_parser().format_help())
            # Beside other options this must not look like a yes.
            return 0 if len(argv) == 1 else STATUS[DENY]
        if options.print:
            command, settings = _settings(options.print, argv)
            warning = _version_warning(options.print)
            if warning:
                write(sys.stderr, f"warning: {visible(warning, MAX_ERROR)}\n")
            document = {
                "client": options.print,
                "command": command,
                "settings": settings,
                "warnings": [warning] if warning else [],
            }
            write(sys.stdout, json.dumps(document) + "\n" if options.json else settings)
            return 0
        _check(options)
    except UsageError as error:
        report(error, argv)
        return STATUS[DENY]
    try:
        return _run(options, os.environ, os.geteuid())
    except BaseException as error:  # noqa: BLE001 (a gate that crashes must not open)
        message = f"sentineld gate failed ({type(error).__name__}: {error}); the call is denied"
        write(sys.stderr, f"{visible(message, MAX_ERROR)}\n")
        return STATUS[DENY]


def _run(options: SimpleNamespace, env: Mapping[str, str], uid: int) -> int:
    chosen, settings, problem = _Options(), None, None
    try:
        found = read_settings(options, env, uid)
        _check_places(found.config)
        settings = found
        chosen = _chosen(settings, env)
    except ConfigError as error:
        problem = error
    if options.fail_open:
        chosen = chosen._replace(on_failure=PASS)
    if options.headless:
        chosen = chosen._replace(headless="yes")
    call, unknown = _call(options)
    verdict = _judge(call, settings, problem, unknown, chosen)
    decision, unasked = verdict.decision, ""
    if decision == ASK:
        unasked = _why_not_asked(call, chosen, env)
        decision = DENY if unasked else ASK
    reason = _reason(verdict, decision, unasked, options)
    path = ""
    if decision != PASS:
        try:
            path = _remember(options, call, verdict, decision, settings, chosen, env, uid)
        except (OSError, ConfigError) as error:
            write(sys.stderr, f"warning: the {decision} is not recorded: {visible(str(error), MAX_ERROR)}\n")
    elif not verdict.is_known:
        write(sys.stderr, f"warning: {reason}\n")
    if options.json:
        document = {
            "decision": decision,
            "tier": verdict.tier,
            "agent": verdict.agent,
            "client": call.client,
            "session": call.session,
            "call_id": call.call_id,
            "tool": call.tool,
            "reason": reason if decision != PASS else verdict.reason,
            "decision_id": verdict.decision_id,
            "log": path,
        }
        write(sys.stdout, json.dumps(document) + "\n")
        return STATUS[decision]
    out, err, status = answer(call.client, decision, reason)
    if not write(sys.stdout, out):
        # Nobody reads the decision; a blocking status says the same.
        out, err, status = "", reason + "\n", STATUS[DENY]
    write(sys.stderr, err)
    return status


def _call(options: SimpleNamespace) -> tuple[Call, str]:
    """Return the call, and what is wrong with the input, if anything is."""
    agents = (agent_id(options.agent),) if options.agent else ()
    if options.client == GENERIC:
        return Call(GENERIC, agents, options.session, options.call, options.tool, asks_nobody=False), ""
    try:
        # One byte more than is allowed tells that there is more.
        data = sys.stdin.buffer.read(MAX_INPUT + 1)
        return read_call(data, options.client or "", options.agent or ""), ""
    except (UnknownInputError, OSError) as error:
        # A status alone is what every client understands.
        return Call(CODEX, agents, "", "", "", asks_nobody=True), str(error) or "the input cannot be read"


def _judge(
    call: Call, settings: Settings | None, problem: ConfigError | None, unknown: str, chosen: _Options
) -> _Verdict:
    if settings is None or problem is not None:
        agent = call.agents[0] if call.agents else ""
        return _Verdict(chosen.on_failure, 3, agent, str(problem), "check", is_known=False)
    router = TierRouter(state_file=settings.state_file, keys=settings.keys)
    strictest, who = BehaviorTier(Tier.NORMAL, ""), ""
    for agent in _named(call, router):
        found = router.behavior(agent)
        if not who or found.tier > strictest.tier:
            strictest, who = found, agent
    if who and not strictest.is_usable:
        return _Verdict(chosen.on_failure, 3, who, strictest.reason, "doctor", is_known=False)
    decision = {1: PASS, 2: chosen.tier_2, 3: chosen.tier_3}[int(strictest.tier)]
    if unknown and decision == PASS:
        # What cannot be read may be anybody's, but an agent at tier 3 is not let through for it.
        reason = f"hook input in an unknown form: {unknown}"
        return _Verdict(chosen.on_failure, 3, who, reason, "gate --help", is_known=False)
    entry = router.state.agents.get(who, {}) if router.state is not None else {}
    number = entry.get("decision")
    decision_id = number if isinstance(number, str) else ""
    return _Verdict(decision, int(strictest.tier), who, strictest.reason, "why", decision_id)


def _named(call: Call, router: TierRouter) -> tuple[str, ...]:
    """Return those ids of the caller that count: where the daemon knows some of them, not the others."""
    if len(call.agents) > 1:
        router.behavior(call.agents[0])
        state = router.state
        if state is not None and state.unlisted_tier > 1:
            return tuple(name for name in call.agents if name in state.agents) or call.agents[:1]
    return call.agents


def _why_not_asked(call: Call, chosen: _Options, env: Mapping[str, str]) -> str:
    """Say why the user is not asked; empty where the user is."""
    if call.client == CODEX:
        return "this client cannot ask its user"
    if chosen.headless == "yes" or (chosen.headless == "auto" and is_headless(call, env)):
        return "nobody is there to be asked"
    return ""


def _reason(verdict: _Verdict, decision: str, unasked: str, options: SimpleNamespace) -> str:
    """Say what was decided and why; ``unasked`` is why the user, who should be asked, is not."""
    number = f", decision {verdict.decision_id}" if verdict.decision_id else ""
    who = f"agent {verdict.agent}" if verdict.agent else "the agent"
    said = {PASS: "let pass", ASK: "held for the user", DENY: "denied"}[decision]
    if unasked:
        said += f" ({unasked})"
    if verdict.is_known:
        what = f"{who} has tier {verdict.tier} ({_TIER_NAMES[verdict.tier]}){number}: {verdict.reason}"
    else:
        what = f"the tier of {who} cannot be known: {verdict.reason}"
    words = ["sentineld", verdict.next_command]
    for name in ("config", "state_dir"):
        value = getattr(options, name)
        # It is to look where the gate looked.
        if value and "--help" not in verdict.next_command:
            words += [f"--{name.replace('_', '-')}", _quoted(value)]
    if verdict.next_command == "why":
        words.append(_word(verdict.agent))
    return visible(f"sentineld: {said}: {what}. Next: {' '.join(words)}", MAX_ERROR)


def _remember(
    options: SimpleNamespace,
    call: Call,
    verdict: _Verdict,
    decision: str,
    settings: Settings | None,
    chosen: _Options,
    env: Mapping[str, str],
    uid: int,
) -> str:
    """Write a denial, or that the user was asked, where the daemon finds it; return the log's path."""
    now = time.time()
    at = time.gmtime(now)
    record = {
        "sentineld_gate": 1,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", at) + f".{int(now * 1000) % 1000:03d}Z",
        "decision": decision,
        "agent": call.agents[0] if call.agents else "",
        "session": call.session,
        "call_id": call.call_id,
        "tool": call.tool,
        "tier": verdict.tier,
        "decision_id": verdict.decision_id,
        "client": call.client,
    }
    state_dir = options.state_dir if settings is None else settings.state_dir
    directory = options.log_dir or chosen.directory or default_gate_dir(state_dir, env, uid)
    day, oldest_day = (
        time.strftime("%Y-%m-%d", time.gmtime(moment)) for moment in (now, now - _KEPT_DAYS * 86_400)
    )
    return remember(directory, record, day, oldest_day)


def _check_places(config: Mapping[str, object]) -> None:
    """Refuse relative paths: a hook runs in its agent's directory, which could bring a state file."""
    tables = {name: table for name in ("state", "gate") if isinstance(table := config.get(name), dict)}
    keys = tables.get("state", {}).get("keys")
    places: list[tuple[str, object]] = [("state_dir", config.get("state_dir"))]
    places += [("state." + name, tables.get("state", {}).get(name)) for name in ("file", "key_file")]
    places += [("gate.directory", tables.get("gate", {}).get("directory"))]
    for key_id, entry in keys.items() if isinstance(keys, dict) else ():
        places.append((f"state.keys.{key_id}.file", entry.get("file") if isinstance(entry, dict) else None))
    for name, place in places:
        # Credentials of systemd are named by a variable.
        if isinstance(place, str) and place and not place.startswith(("/", "$")):
            raise ConfigError(
                f"{name} is {place!r}: relative to the directory of the agent that is to be held",
                hint="name an absolute path",
            )


def _chosen(settings: Settings, env: Mapping[str, str]) -> _Options:
    """Return the options of the gate. Raises `ConfigError`."""
    table = settings.config.get("gate", {})
    if not isinstance(table, dict):
        raise ConfigError("gate is not a table", hint="sentineld check")
    if unknown := sorted(set(table) - set(_Options._fields)):
        # Else a rule with a slip in its name would not be there.
        raise ConfigError(f"gate.{unknown[0]} is no option", hint="sentineld check")
    values = {}
    for name in _Options._fields:
        value = env.get(f"SENTINELD_GATE_{name.upper()}") or table.get(name) or _CHOICES.get(name, ("",))[0]
        if not isinstance(value, str) or value not in _CHOICES.get(name, (value,)):
            raise ConfigError(f"gate.{name} is {value!r}", hint="sentineld check")
        values[name] = value
    return _Options(**values)


def _read(argv: list[str]) -> SimpleNamespace:
    """Return the options of a command line. Raises `UsageError`."""
    plain = _read_plain(argv)
    return SimpleNamespace(**vars(make_parser().parse_args(argv))) if plain is None else plain


def _read_plain(argv: list[str]) -> SimpleNamespace | None:
    """Return what the parser would, for a command line as hooks have it; None for any other.

    To load the parser takes a quarter of a hook's time.
    """
    values: dict[str, str | bool | None] = dict.fromkeys(
        ("client", "state_file", "state_dir", "config", "print")
    )
    values |= dict.fromkeys(("agent", "session", "call", "tool", "log_dir"), "")
    values |= dict.fromkeys(("headless", "fail_open", "json", "help"), False)
    words = iter(argv)
    for word in words:
        option, sign, value = word.partition("=")
        name = option[2:].replace("-", "_")
        if name not in values or option != f"--{name.replace('_', '-')}" or name in ("help", "print"):
            return None
        if values[name] is False or values[name] is True:
            if sign:
                return None
            values[name] = True
            continue
        if not sign:
            value = next(words, "-")
            if value.startswith("-"):
                return None
        if name == "client" and value not in CLIENTS:
            return None
        values[name] = value
    return SimpleNamespace(**values)


def make_parser() -> "Parser":
    """Return the parser of all that the command takes."""
    from argparse import RawDescriptionHelpFormatter

    from sentineld.cli.parser import Parser

    parser = Parser(
        prog="sentineld gate",
        description="Hold calls of tools by agents that misbehave: a hook for coding agents.\n"
        "Tier 1 passes, tier 2 is asked for, tier 3 is denied.",
        epilog=_EPILOG,
        # Of a width of its own: asking for the terminal's costs a tenth of the time.
        formatter_class=lambda prog: RawDescriptionHelpFormatter(prog, width=78),
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument
    add("--agent", metavar="ID", default="", help="the agent's id; else as its telemetry will name it")
    add("--client", choices=CLIENTS, help="whose hook calls (default: as the input looks)")
    add("--session", metavar="S", default="", help="with --client generic: the session's id")
    add(
        "--call",
        metavar="ID",
        default="",
        help="with --client generic: the call's id, by which it is remembered",
    )
    add("--tool", metavar="NAME", default="", help="with --client generic: the tool")
    add("--headless", action="store_true", help="nobody can be asked: deny where the user would be asked")
    add("--fail-open", action="store_true", help="let pass what cannot be judged (default: deny it)")
    add("--print", choices=tuple(_SETTINGS), help="print what to put into a client's settings, and exit")
    add("--log-dir", metavar="D", default="", help="where denials are written, for the daemon to read")
    add("--state-file", metavar="F", help="the state file to read")
    add("--state-dir", metavar="D", help="the state directory: D/state.json, and D-gate for --log-dir")
    add("--config", metavar="F", help="the configuration, for state file, key and [gate]")
    add("--json", action="store_true", help="print a JSON document; exit status as for generic")
    add("-h", "--help", action="store_true", help="print this and exit")
    return parser


def _check(options: SimpleNamespace) -> None:
    """Raise `UsageError` where arguments are missing."""
    for name in ("state_file", "state_dir", "config"):
        if getattr(options, name) == "":
            raise UsageError(f"--{name.replace('_', '-')} must not be empty", hint="sentineld gate --help")
    if options.client == GENERIC:
        if not options.agent:
            raise UsageError("no agent was named", hint="sentineld gate --client generic --agent ID")
    elif sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "the gate reads a hook's input on standard input; nobody pipes it there",
            hint="sentineld gate --print claude-code, or --client generic",
        )


def _settings(client: str, argv: list[str]) -> tuple[str, str]:
    """Return the command, and what belongs into a client's settings; a crash and a time-out block too."""
    program = _quoted(os.path.abspath(sys.argv[0]))
    if os.path.basename(sys.argv[0]) != "sentineld":
        # -P: hooks start in the agent's directory, and its modules must not be imported.
        program = f"{_quoted(sys.executable)} -P -m sentineld"
    # Clients do not understand the document of --json.
    arguments = [word for word in argv if word not in (f"--print={client}", "--json")]
    if "--print" in arguments:
        at = arguments.index("--print")
        del arguments[at : at + 2]
    arguments = _placed(arguments)
    if client == GENERIC:
        arguments += [word for word in ("--client", GENERIC) if word not in arguments]
        if "--agent" not in arguments:
            arguments += ["--agent", "ID"]
    words = " ".join(map(_quoted, ("gate", *arguments)))
    command = f"timeout -k 1 10 {program} {words}"
    if client == GENERIC:
        return command, _SETTINGS[client] % command
    return f"{command} || exit 2", _SETTINGS[client] % json.dumps(f"{command} || exit 2")


def _version_warning(client: str) -> str:
    """Say that the client here is of no version whose hooks are known; empty where it is, or is not here."""
    import re
    import shutil
    import subprocess

    name, oldest, newest = _KNOWN.get(client, ("", (0, 0), (0, 0)))
    path = shutil.which(name) if name else None
    # Root runs no program of anybody else.
    if path is None or (os.geteuid() == 0 and os.stat(path).st_uid != 0):
        return ""
    try:
        done = subprocess.run(  # noqa: S603 (the client that is to be set up)
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASKING_S,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return f"{path} does not tell its version; the gate knows the hooks of {_range(oldest, newest)}"
    found = re.search(r"\b(\d{1,6})\.(\d{1,6})\b", done.stdout)
    version = (int(found[1]), int(found[2])) if found else None
    if version is not None and oldest <= version <= newest:
        return ""
    told = f"is version {version[0]}.{version[1]}" if version else "does not tell its version"
    return (
        f"{path} {told}; the gate knows the hooks of {_range(oldest, newest)}: "
        "see a call held before you rely on it"
    )


def _range(oldest: tuple[int, int], newest: tuple[int, int]) -> str:
    return f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"


def _placed(words: list[str]) -> list[str]:
    """Return arguments with absolute paths: a hook would look for others in the agent's directory."""
    made = []
    for before, word in zip(["", *words], words, strict=False):
        name, sign, value = word.partition("=")
        if before in _PATHS and word:
            word = os.path.abspath(word)
        elif name in _PATHS and value:
            word = name + sign + os.path.abspath(value)
        made.append(word)
    return made


def _word(agent: str) -> str:
    """Return an agent's id as an argument of a command."""
    return f"-- {_quoted(agent)}" if agent.startswith("-") else _quoted(agent)


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
