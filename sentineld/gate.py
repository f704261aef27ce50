"""The gate: what a coding agent's hook asks, and how it is answered.

Hooks give a call of a tool as JSON on standard input. What they expect differs: Claude Code takes a decision
as JSON, and can ask its user; Codex cannot ask, and takes a blocking exit status; anything else is told by
exit status alone. A call that passes is answered by silence, for an explicit "allow" would skip the prompts
of the user's own.

Standard library only, and little of it: hooks start for every call.
"""

import json
import os
from collections.abc import Mapping
from typing import NamedTuple

from sentineld.ids import agent_id

CLAUDE_CODE, CODEX, GENERIC = "claude-code", "codex", "generic"
CLIENTS = (CLAUDE_CODE, CODEX, GENERIC)

PASS, ASK, DENY = "pass", "ask", "deny"

#: Exit status for those who look at nothing else. 1 is what crashes give, which many hooks let pass.
STATUS = {PASS: 0, DENY: 2, ASK: 3}

#: Bytes of a hook's input: what a tool writes to a file is part of it.
MAX_INPUT = 64 * 1024 * 1024

#: A log goes on under another name at this size; so many logs of one user, and bytes in them, are kept.
MAX_LOG_BYTES, KEPT_LOGS, KEPT_BYTES = 8 << 20, 64, 64 << 20

#: Modes in which nobody is asked, whatever a hook says.
_SILENT_MODES = ("dontAsk", "bypassPermissions")
#: Where a transcript's path names the project, as the format claude_code reads it, in this order: the
#: directories above it, and how its name begins.
_PROJECTS = (
    ((".claude", "projects"), ""),
    (("projects",), "-"),
    ((), "-"),
    (("claude", "projects"), ""),
    (("projects",), ""),
)


class UnknownInputError(ValueError):
    """What stands on standard input is no call that this version knows how to read."""


class Call(NamedTuple):
    """A call of a tool. ``agents`` are the ids by which telemetry may name who makes it, the first one best.

    ``session`` and ``call_id`` are empty where they are not told. ``asks_nobody``: the agent's own mode.
    """

    client: str
    agents: tuple[str, ...]
    session: str
    call_id: str
    tool: str
    asks_nobody: bool


def read_call(data: bytes, client: str, agent: str) -> Call:
    """Read what a hook was given; ``client`` is one of ``CLIENTS`` or empty, ``agent`` an id or empty.

    Raises `UnknownInputError` where it is not the input of a known hook, or names no agent.
    """
    if len(data) > MAX_INPUT:
        raise UnknownInputError(f"the input is longer than {MAX_INPUT} bytes")
    if not data.strip():
        raise UnknownInputError("the input is empty; a hook is given JSON")
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnknownInputError("the input is no JSON") from error
    if not isinstance(record, dict):
        raise UnknownInputError("the input is no JSON object")
    if record.get("hook_event_name") != "PreToolUse":
        found = "missing" if "hook_event_name" not in record else "not PreToolUse"
        raise UnknownInputError(f"hook_event_name is {found}")
    text = {name: _text(record, name) for name in ("session_id", "tool_name", "cwd")}
    missing = [name for name, value in text.items() if not value]
    if missing:
        raise UnknownInputError(f"{missing[0]} is missing, or no text")
    # What Codex adds to the same form.
    kind = client or (CODEX if "turn_id" in record else CLAUDE_CODE)
    return Call(
        kind,
        (agent_id(agent),) if agent else _agents(record, text["cwd"], kind),
        text["session_id"],
        _text(record, "tool_use_id"),
        text["tool_name"],
        record.get("permission_mode") in _SILENT_MODES,
    )


def is_headless(call: Call, env: Mapping[str, str]) -> bool:
    """Say whether nobody is there who could be asked."""
    if call.asks_nobody or env.get("CI") or env.get("CLAUDE_CODE_ENTRYPOINT", "").startswith("sdk"):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def answer(client: str, decision: str, reason: str) -> tuple[str, str, int]:
    """Return what a client understands: (standard output, standard error, exit status)."""
    if decision == PASS:
        return "", "", 0
    if client == CLAUDE_CODE:
        told = {
            "hookEventName": "PreToolUse",
            "permissionDecision": decision,
            "permissionDecisionReason": reason,
        }
        return json.dumps({"hookSpecificOutput": told}) + "\n", "", 0
    return "", reason + "\n", STATUS[decision if client == GENERIC else DENY]


def remember(directory: str, record: Mapping[str, object], day: str, oldest_day: str = "") -> str:
    """Append a denial to the log, so that a power cut does not lose it; returns the file's path.

    ``day``, as 2026-11-23, is part of the file's name; logs of this user from before ``oldest_day``, or
    beyond their bounds, are removed whenever a new one is begun. Raises ``OSError``.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    uid = os.geteuid()
    path = os.path.join(directory, f"gate-{uid}-{day}.jsonl")
    spare = os.path.join(directory, f"gate-{uid}-{day}-{os.urandom(6).hex()}.jsonl")
    line = json.dumps(record).encode() + b"\n"
    try:
        fd = _open(path, uid)
        if os.fstat(fd).st_size >= MAX_LOG_BYTES:
            os.close(fd)
            # Under its new name whoever reads it goes on where it was.
            os.rename(path, spare)
            fd = _open(path, uid)
    except OSError:
        # Where all users may create files, somebody else may have taken the name.
        path = spare
        fd = _open(path, uid)
    try:
        size = os.fstat(fd).st_size
        if not size:
            _prune(directory, f"gate-{uid}-", oldest_day, os.path.basename(path))
        if size and os.pread(fd, 1, size - 1) != b"\n":
            # One before us was cut off in the middle of its line.
            line = b"\n" + line
        written = os.write(fd, line)
        if written != len(line):
            raise OSError(f"{path} took {written} of {len(line)} bytes")
        os.fsync(fd)
    finally:
        os.close(fd)
    return path


def _prune(directory: str, prefix: str, oldest_day: str, newest: str) -> None:
    """Remove logs that are too old, or beyond what is kept; what cannot be removed stays."""
    try:
        names = os.listdir(directory)
    except OSError:
        # Where all users may create files, they need not see those of others.
        return
    logs = []
    for name in names:
        if name.startswith(prefix) and name.endswith(".jsonl") and name != newest:
            try:
                status = os.lstat(os.path.join(directory, name))
            except OSError:
                # Another gate removed it.
                continue
            logs.append((status.st_mtime_ns, name, status.st_size))
    logs.sort(reverse=True)
    left = KEPT_BYTES
    for number, (_, name, size) in enumerate(logs, 1):
        left -= size
        if left < 0 or number >= KEPT_LOGS or name[len(prefix) :] < oldest_day:
            try:
                os.unlink(os.path.join(directory, name))
            except OSError:
                continue


def _open(path: str, uid: int) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644)
    if os.fstat(fd).st_uid != uid:
        os.close(fd)
        raise PermissionError(f"{path} is another user's")
    return fd


def _agents(record: Mapping[str, object], cwd: str, client: str) -> tuple[str, ...]:
    """Return the ids that telemetry may have for who calls, by formats claude_code, claude_hooks, codex."""
    if client != CLAUDE_CODE:
        return (agent_id(cwd),)
    names = [name for name in (_project(_text(record, "transcript_path")), cwd) if name]
    subagent = _text(record, "agent_id")
    own = [f"{name}/{subagent}" for name in names] if subagent else []
    return tuple(map(agent_id, (*names, *own)))


def _project(transcript: str) -> str:
    if not transcript.endswith(".jsonl"):
        return ""
    above = transcript.split("/")[:-1]
    for parents, sign in _PROJECTS:
        # No regular expressions: to compile these takes as long as all the rest.
        for at in range(len(parents) + 1, len(above)):
            name = above[at]
            if tuple(above[at - len(parents) : at]) == parents and name.startswith(sign) and name != sign:
                return name
    return ""


def _text(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""
