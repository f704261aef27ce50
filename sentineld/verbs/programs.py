"""Programs: verbs that run another command, a script or code, or show the environment."""

import re

from sentineld.credentials import is_secret_name
from sentineld.entities import Findings
from sentineld.shell import Command
from sentineld.verbs.files import read_each
from sentineld.verbs.line import MAX_VERB, NETWORK, NEUTRAL, RUN, SPAWN, WRITE, Invocation, Judge, dump
from sentineld.verbs.options import names, split, unwrapped


def perl(run: Invocation) -> int:
    """Judge ``perl``: with ``-i`` it writes."""
    for word in run.words[1:]:
        if word[:1] == "-" and word[1:2] != "-" and "i" in word[1:6] and word[1:2] not in ("I", "M", "m"):
            run.saw()
            operands, _ = split("sed", run.words[1:])
            for path in operands:
                run.found.writes(path)
            return WRITE
        if word[:1] != "-":
            break
    return interpreter(run)


def runs(run: Invocation) -> int:
    """Judge a program of which nothing more is known than that it runs."""
    run.saw()
    return RUN


def wrapper(*, skip: int = 0) -> Judge:
    """Make a judge of a verb that runs the command behind its options and ``skip`` operands."""

    def judge(run: Invocation) -> int:
        run.saw()
        start = unwrapped(run.verb, run.words) + skip
        if start >= len(run.words):
            return RUN if run.verb != "exec" else NEUTRAL
        return max(run.line.verb(run.words[start:], run.command), _LEAST.get(run.verb, NEUTRAL))

    return judge


_LEAST = {"npx": RUN, "uvx": RUN, "parallel": RUN, "watch": RUN, "strace": RUN, "su": RUN}


def env(run: Invocation) -> int:
    """Judge ``env``: it runs a command, or shows the environment."""
    start = unwrapped("env", run.words)
    if "-S" in run.words[1:start]:
        run.saw()
        return run.line.text(" ".join(run.words[run.words.index("-S") + 1 :]))
    if start < len(run.words):
        return wrapper()(run)
    run.saw()
    dump(run)
    return RUN


def printenv(run: Invocation) -> int:
    """Judge ``printenv``."""
    run.saw()
    names = [word for word in run.words[1:] if word[:1] != "-"]
    if not names:
        dump(run)
    elif any(map(is_secret_name, names)):
        run.found.has_credentials = True
    return RUN


def command_or_lookup(run: Invocation) -> int:
    """Judge ``command``: with ``-v`` it only looks up."""
    if len(run.words) > 1 and run.words[1] in ("-v", "-V"):
        run.saw()
        return NEUTRAL
    return wrapper()(run)


def xargs(run: Invocation) -> int:
    """Judge ``xargs`` by the command that it runs on what is piped to it."""
    run.saw()
    start = unwrapped("xargs", run.words)
    if start >= len(run.words):
        return NEUTRAL
    inner = list(run.words[start:])
    before = run.command.before
    if "{}" not in inner:
        inner.append("{}")
    if (
        before is not None
        and before.words
        and before.words[0] in ("find", "fd", "ls", "echo", "printf", "rg", "grep")
    ):
        # What is named before the pipe is what the command gets.
        for word in before.words[1:]:
            if run.found.is_secret(word.replace("*", "x")):
                inner = [word if part == "{}" else part for part in inner]
                break
    return run.line.verb(inner, Command(inner))


def evaluate(run: Invocation) -> int:
    """Judge ``eval``."""
    run.saw()
    return max(RUN, run.line.text(" ".join(run.words[1:])))


def shell(run: Invocation) -> int:
    """Judge a shell: by its ``-c``, its script, or what is fed to it."""
    run.saw()
    number = 1
    while number < len(run.words) and run.words[number][:1] in ("-", "+") and len(run.words[number]) > 1:
        word = run.words[number]
        if word[:1] == "-" and word[1:2] != "-" and "c" in word:
            return run.line.text(run.words[number + 1]) if number + 1 < len(run.words) else RUN
        number += 2 if word in ("-O", "+O", "--rcfile", "--init-file", "-o", "+o") else 1
    if number < len(run.words) and run.words[number] != "-":
        run.found.reads(run.words[number])
        return RUN
    before = run.command.before
    if run.command.stdin:
        return max(RUN, run.line.text(run.command.stdin))
    if run.command.piped and before is not None and before.words:
        if before.words[0] in ("echo", "printf"):
            return max(RUN, run.line.text(" ".join(word for word in before.words[1:] if word[:1] != "-")))
        return max(RUN, run.line.text(before.stdin)) if before.stdin else RUN
    return RUN


def su(run: Invocation) -> int:
    """Judge ``su``."""
    if "-c" in run.words:
        run.saw()
        rest = run.words[run.words.index("-c") + 1 :]
        return max(RUN, run.line.text(rest[0])) if rest else RUN
    run.saw()
    return RUN


def source(run: Invocation) -> int:
    """Judge ``source``: the file is read and run."""
    run.saw()
    for path in run.words[1:2]:
        run.found.reads(path)
    return RUN


#: Code that is looked at, characters.
MAX_CODE = 65_536
_LITERAL = re.compile(r"'([^'\n]{1,512})'|\"([^\"\n]{1,512})\"")
_CODE_NETWORK = re.compile(
    r"urlopen|requests\.|httpx|aiohttp|http\.client|\bsocket\b|\bfetch\(|axios|XMLHttp|Net::HTTP|LWP::|open-uri"
    r"|smtplib|ftplib|paramiko|node:https?|require\(['\"]https?['\"]\)|file_get_contents\(['\"]http|curl_exec"
)
_CODE_SENDS = re.compile(r"post|put\b|patch\(|send|upload|data=|json=|body", re.IGNORECASE)
_CODE_ENVIRONMENT = re.compile(
    r"(?:print|log|echo|puts|write)\W{0,3}(?:dict\(|json\.dumps\(|JSON\.stringify\()?"
    r"(?:os\.environ|process\.env|ENV)\)"
)


def judge_code(found: Findings, code: str) -> int:
    """Judge code by its literals: paths of credentials, and URLs beside what opens them."""
    code = code[:MAX_CODE]
    for text in _LITERAL.finditer(code):
        literal = text[1] or text[2]
        if ("/" in literal or "." in literal) and found.is_secret(literal):
            found.reads(literal)
    if _CODE_ENVIRONMENT.search(code):
        found.has_credentials = True
    if _CODE_NETWORK.search(code):
        found.reaches_urls(code, "sink" if _CODE_SENDS.search(code) else "source")
        return NETWORK
    return RUN


_INTERPRETER_VALUED = names("-W -X -I --require --import --loader --env-file")
_CODE_OPTIONS = names("-c -e -E --eval -p -pe -ne -pE -nE --print -r -lne -lpe")


def interpreter(run: Invocation) -> int:
    """Judge an interpreter by its code, its module or its script."""
    run.saw()
    number = 1
    while number < len(run.words):
        word = run.words[number]
        if word in _CODE_OPTIONS:
            return (
                _judge_code_of(run, run.words[number + 1], is_word=True)
                if number + 1 < len(run.words)
                else RUN
            )
        if word == "-m" and number + 1 < len(run.words):
            if run.words[number + 1] in ("pip", "uv", "twine", "ensurepip"):
                return run.line.verb(run.words[number + 1 :], run.command)
            run.saw(f"{run.verb} -m {run.words[number + 1]}"[:MAX_VERB])
            # What a module does with its operands is not known; a file of credentials it can only read.
            for operand in run.words[number + 2 :]:
                if operand[:1] != "-" and ("/" in operand or "." in operand) and run.found.is_secret(operand):
                    run.found.reads(operand)
            return RUN
        if word[:1] != "-":
            run.found.reads(word)
            return RUN
        number += 2 if word in _INTERPRETER_VALUED else 1
    before = run.command.before
    if run.command.stdin:
        return _judge_code_of(run, run.command.stdin)
    if run.command.piped and before is not None and before.words:
        if before.stdin:
            return _judge_code_of(run, before.stdin)
        if before.words[0] in ("echo", "printf"):
            return _judge_code_of(run, " ".join(before.words[1:]))
    return RUN


def _judge_code_of(run: Invocation, code: str, *, is_word: bool = False) -> int:
    # The words of a command are paid for already.
    if len(code) > MAX_CODE:
        run.line.budget.is_spent = True
    return judge_code(run.found, code) if is_word or run.line.spend(code) else RUN


def powershell(run: Invocation) -> int:
    """Judge PowerShell and cmd.exe by their command."""
    run.saw()
    for number, word in enumerate(run.words):
        name = word.lower()
        if number and name in ("-c", "-command", "/c", "/k", "-commandwithargs"):
            return max(NEUTRAL, run.line.text(" ".join(run.words[number + 1 :]), is_windows=True))
        if number and name in ("-f", "-file"):
            read_each(run.found, run.words[number + 1 : number + 2])
            return RUN
        if number and name[:1] not in ("-", "/"):
            return RUN if run.verb == "cmd" else run.line.text(" ".join(run.words[number:]), is_windows=True)
    return RUN


_AGENT_CARE = names(
    "mcp config update doctor login logout auth plugin help completion install upgrade models"
)


def agent(run: Invocation) -> int:
    """Judge another agent: it is started, unless it is only cared for."""
    run.saw()
    first = run.words[1] if len(run.words) > 1 else ""
    return RUN if first in _AGENT_CARE else SPAWN
