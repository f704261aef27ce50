"""Command lines as habits see them: which guards they take away, and where they fetch code from."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from sentineld.event import Feature
from sentineld.shell import Command, parse

#: Programs whose first argument says what they do.
_WITH_SUBCOMMANDS = frozenset(
    "git gh docker podman kubectl npm yarn pnpm pip uv cargo brew aws gcloud az go make helm terraform poetry"
    " systemctl launchctl glab".split()
)
#: Options that take a guard away, or widen what is touched.
_UNGUARDED = re.compile(
    r"--?(?:force\S*|no-verify\S*|no-gpg-sign|hard|mirror|prune|purge|privileged|public|global|system"
    r"|insecure\S*|skip-\S*|disable\S*|bypass\S*|dangerously\S*|unsafe\S*|ignore-\S*|no-check\S*|no-sandbox"
    r"|allow-\S*|index-url|extra-index-url|registry|delete|all-repos|expose\S*|net|network|pid|cap-add|device"
    r"|volume|mount|acl|admin|yolo|trust\S*|unmirror|no-preserve-root)\Z"
)
#: Short options that do; of programs with None any of them.
_SHORT: dict[str, tuple[str, ...] | None] = {
    "git push": ("f", "d"),
    "git commit": ("n",),
    "git branch": ("D",),
    "git clean": None,
    "rm": None,
    "docker run": ("v",),
    "podman run": ("v",),
    "curl": ("k",),
    "wget": (),
    "chmod": None,
    "ssh": ("R", "D", "L", "N"),
    "nc": ("e", "c"),
    "gh gist": ("p",),
}
#: Programs with settings of their own.
_SETTERS = frozenset("git npm yarn pnpm pip gh go defaults sysctl".split())
#: Settings that name a program, or whom to believe.
_RUNS = re.compile(
    r"hook|command|helper|insteadof|proxy|editor|pager|alias|registry|fsmonitor|ssl|verify|filter|textconv"
    r"|index|include|script|shell|browser|signingkey|gpg",
    re.IGNORECASE,
)
#: Variables of the environment that do the same.
_SOURCES = re.compile(
    r"PROXY|INDEX|REGISTRY|MIRROR|SUMDB|SUMCHECK|CHECKSUM|INSECURE|TLS|SSL|VERIFY|PRELOAD|LIBRARY_PATH"
    r"|PYTHONPATH|NODE_OPTIONS|HUSKY|SKIP|GIT_SSH|ASKPASS|GOFLAGS",
    re.IGNORECASE,
)
_STORE = re.compile(
    r"(?:s3|gs|gcs|az|abfss?|b2|r2|wasbs?|oss|cos|ftp|sftp|scp|rsync|dav|smb|webdav)://([^/\s]+)"
    r"|[A-Za-z][\w.-]+:(?=[\w/~.-]*\Z)(?!//)(?!\d+\Z)"
)
_INSTALLS = re.compile(
    r"(?:pip3?|uv|npm|pnpm|yarn|brew|cargo|gem|go|conda|apt|apt-get|poetry|pipx|bun|deno|composer|helm|docker"
    r"|podman) ?(?:install|add|get|pip|i|tap|pull|run|x|exec|ci)?\Z"
)
_FROM = re.compile(r"https?://([^/\s:@]+)|(?:git\+|ssh://|git@|github:)(?:\w+@)?([\w.:/-]+)")
_SHELLS = frozenset("sh bash zsh dash ksh python python3 perl ruby node php".split())
#: Programs that look a host's name up, which can tell its owner what stands in the name.
_RESOLVERS = frozenset(
    "dig host nslookup drill kdig ping ping6 getent curl wget nc ncat telnet traceroute whois ssh".split()
)
_COMPUTED = re.compile(r"[^/]*[$`][^/]*\.[A-Za-z0-9.-]+\.?\Z")
_WRAPPERS = frozenset({"sudo", "doas", "time", "nohup", "env", "command", "exec"})
_UNDONE = frozenset({"git reset", "git clean", "git filter-branch", "git reflog", "git update-ref"})
_EFFECTS = {
    "network_request": "guard.out",
    "file_delete": "guard.delete",
    "file_write": "guard.write",
    "file_create": "guard.write",
}

#: Characters of a line, commands of it, and words of each that are looked at.
MAX_LINE = 4096
_MAX_COMMANDS = 32
_MAX_WORDS = 40


@lru_cache(256)
def commands_of(line: str) -> tuple[Command, ...]:
    """Return the simple commands of a line."""
    return tuple(parse(line[:MAX_LINE])[:_MAX_COMMANDS])


def features_of_line(
    line: str, class_of: Callable[[str], str], is_local: Callable[[str], bool]
) -> Iterator[Feature]:
    """Yield what a command line takes away, sets and fetches.

    ``class_of`` gives the event class of a verb; ``is_local`` says of a host that nothing leaves by it.
    """
    for command in commands_of(line):
        words = command.words
        at = 0
        while at < len(words) and at < 6 and (words[at] in _WRAPPERS or _is_assignment(words[at])):
            if "=" in words[at]:
                name = words[at].partition("=")[0][:24]
                yield Feature("code.from" if _SOURCES.search(name) else "guard.env", name)
            at += 1
        if at < len(words):
            yield from _features_of_command(command, at, class_of, is_local)


def _features_of_command(
    command: Command, at: int, class_of: Callable[[str], str], is_local: Callable[[str], bool]
) -> Iterator[Feature]:
    words = command.words
    verb = words[at].rpartition("/")[2]
    rest = words[at + 1 : at + _MAX_WORDS]
    if verb in _SHELLS and command.piped:
        yield Feature("guard.piped", verb)
    sub = _subcommand(rest[:7]) if verb in _WITH_SUBCOMMANDS else ""
    name = f"{verb} {sub}".strip()
    effect = _EFFECTS.get(class_of(name), "guard.run")
    yield from _options(name, verb, rest, effect)
    if sub == "config" and verb in _SETTERS:
        key = next((word for word in rest if word[:1] != "-" and "." in word), None)
        if key is not None:
            what = "later.setting" if _RUNS.search(key) else "guard.setting"
            yield Feature(what, f"{verb} {key.lower().split('://')[0][:40]}")
    if effect == "guard.out":
        yield from _outward(name, verb, rest, is_local)
    if _INSTALLS.match(name):
        for word in rest:
            for found in _FROM.finditer(word[:256]):
                yield Feature("code.from", (found[1] or found[2]).lower()[:64])
    if name in _UNDONE:
        yield Feature(effect, f"{name} --hard" if "--hard" in rest else name)


def _options(name: str, verb: str, rest: list[str], effect: str) -> Iterator[Feature]:
    short = _SHORT.get(name, _SHORT.get(verb, ()))
    for word in rest:
        if word[:1] != "-":
            continue
        option = word.partition("=")[0]
        if _UNGUARDED.match(option[:64]):
            yield Feature(effect, f"{name} {option[:24]}")
        elif option[1:2] != "-" and (short is None or any(letter in option[1:] for letter in short)):
            yield Feature(effect, f"{name} {option[:8]}")


def _outward(name: str, verb: str, rest: list[str], is_local: Callable[[str], bool]) -> Iterator[Feature]:
    for word in rest:
        if verb in _RESOLVERS and ("$" in word or "`" in word) and _COMPUTED.match(word[:256]):
            yield Feature("out.host", "computed")
            yield Feature("out.by", f"{verb}>computed")
        if verb == "git":
            if word[:1] == "+" and len(word) > 1:
                yield Feature("guard.out", f"{name} +")
            continue
        found = _STORE.match(word[:256])
        if found is not None and not is_local(found[1] or found[0][:-1]):
            yield Feature("out.store", found[0].lower()[:64])


def _is_assignment(word: str) -> bool:
    return word[:1].isalpha() and "=" in word


def _subcommand(words: list[str]) -> str:
    return next((word for word in words if word[:1].isalpha() and word.replace("-", "").isalpha()), "")
