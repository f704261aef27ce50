"""Command lines as habits see them: which guards they take away, what they destroy, where code comes from."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from sentineld.event import Feature
from sentineld.features.paths import normal
from sentineld.shell import Command
from sentineld.verbs.line import SAYING_NOTHING
from sentineld.verbs.options import names

#: Programs whose first argument says what they do.
_WITH_SUBCOMMANDS = names(
    "git gh docker podman kubectl npm yarn pnpm pip uv cargo brew aws gcloud az go make helm terraform poetry"
    " systemctl launchctl glab"
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
#: Programs with settings of their own, and what is no setting in them.
_SETTERS = names("git npm yarn pnpm pip gh go defaults sysctl")
_NO_SETTINGS = names("config set add get list delete unset")
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
#: What cannot be undone, whatever it is aimed at.
_HARD = re.compile(
    r"(?:shred|srm|mkfs\S*|dd|wipefs|fdisk|diskutil"
    r"|git (?:clean|filter-branch|filter-repo|reflog|update-ref|gc|prune)"
    r"|dropdb|terraform destroy|docker (?:system|volume)|kubectl delete)\Z"
)
_STASH_LOST = frozenset({"drop", "clear"})
_RIGHTS = frozenset({"chmod", "chown", "chgrp"})
_RECURSIVE = frozenset({"-R", "--recursive", "-Rf", "-fR"})
#: Of it, what has no other use than that nothing comes back.
_LOSING = frozenset({"shred", "srm", "wipefs", "mkfs", "fdisk", "diskutil"})
_DELETING = frozenset({"rm", "shred", "unlink", "rmdir"})
#: Arguments by which a program gives its secrets away.
_SHOWS_SECRETS = re.compile(
    r"(?:--export-secret\S*|--export-options\S*|get-secret-value|dump-keychain"
    r"|find-(?:generic|internet)-password"
    r"|print-access-token|print-identity-token|export-credentials|get-session-token)\Z"
)
#: How each of them begins.
_SECRETS_STARTS = frozenset({"--e", "get", "dum", "fin", "pri", "exp"})
#: Programs that keep secrets for others, and what they are asked where none is shown.
_KEEPERS = frozenset({"op", "bw", "lpass", "pass", "gopass", "vault", "keepassxc-cli", "secret-tool"})
_SHOWS_NONE = frozenset({"status", "login", "signin", "--version", "--help", "run"})
#: Programs that end others by name.
_ENDING = frozenset({"pkill", "killall", "skill"})
_SENTINELD = "sentineld"
#: Names of what watches a machine, whoever makes it; and how a service of that name is ended.
_WATCHING = re.compile(
    r"sentinel|guard|audit|monitor|defend|watchdog|protect|falco|osquery|wazuh|sysmon|clam|santa|crowdstrike|\bedr"
)
_MANAGING = names("systemctl service launchctl sc supervisorctl rc-service docker podman kubectl brew")
_STOPPING = names("stop disable mask kill unload bootout remove rm down delete uninstall services")
#: Programs that take what the user sees, says or has copied; of some, only with one of these words.
_TAKING: dict[str, frozenset[str] | None] = dict.fromkeys(
    names(
        "screencapture scrot gnome-screenshot spectacle grim maim imagesnap fswebcam arecord parecord pbpaste"
        " wl-paste"
    )
) | {
    "xclip": names("-o -out"),
    "xsel": names("-o --output -bo -ob"),
    "import": names("root"),
    "ffmpeg": names("avfoundation x11grab gdigrab pulse alsa dshow"),
}
#: What unknown programs are told to do where something leaves by them.
_SENDING = names(
    "send upload publish share sync put post expose tunnel serve forward mirror paste backup export"
)
#: A host without a scheme: of a domain that no usual file's name ends in.
_HOST = re.compile(
    r"(?:[a-z0-9-]+\.)+(?:com|net|org|io|dev|app|info|xyz|cloud|site|co|online|top|to|ru|cn)(?::\d+)?\Z",
    re.IGNORECASE,
)
#: Managers of packages, and how another origin is put in the place of one.
_MANAGERS = names("go npm pnpm yarn cargo uv poetry pip pip3 composer gem bundle")
_REPLACING = re.compile(r"--?(?:replace|override|patch|resolution|origin|source)\w*\Z")
#: What gives somebody access who had none.
_GRANTING = re.compile(
    r"(?:create|add|put|attach|upload|set)?-?(?:deploy|ssh|gpg|access|service)-(?:keys?|account|profile)"
    r"(?:-\w+)?\Z|(?:add|create|put|attach|set)-(?:iam|\w*-?polic|role|member|user|login|collaborator)\S*\Z"
    r"|\S*/collaborators/\S+-?\S*\Z",
    re.IGNORECASE,
)
#: Programs that encrypt: over many files at once, they take these away.
_SEALING = names("openssl gpg gpg2 age rage ccrypt mcrypt 7z")
#: Rights that give a file's power to whoever runs it, or the file to everybody.
_OPEN_RIGHTS = re.compile(r"[ugoa]*[+=]\w*s\w*\Z|[oa]+[+=]\w*w\w*\Z|[0-7]?[0-7]{2}[2367]\Z|[2467][0-7]{3}\Z")
#: What destroys in a language of databases.
_DROPS = re.compile(
    r"\b(drop\s+(?:table|schema|database|collection)|truncate\s+table|delete\s+from|dropdatabase|flushall)\b",
    re.IGNORECASE,
)
_MAY_HOLD_QUERIES = frozenset({"shell_exec", "network_request"})
#: Everybody's address: who listens there is open to all.
_EVERYBODY = ("0.0.0.0", "[::]")  # noqa: S104 (a text that is looked for)
_EVERYBODY_STARTS = frozenset("0[h")
#: Programs that copy, move or pack.
_COPYING = names("cp mv ditto install ln tar zip 7z rsync gzip openssl gpg")
_SHELLS = names("sh bash zsh dash ksh python python3 perl ruby node php")
#: Programs that look a host's name up, which can tell its owner what stands in the name.
_RESOLVERS = names(
    "dig host nslookup drill kdig ping ping6 getent curl wget nc ncat telnet traceroute whois ssh"
)
_COMPUTED = re.compile(r"[^/]*[$`][^/]*\.[A-Za-z0-9.-]+\.?\Z")
#: What ``_destroyed`` looks at, beside what ``_HARD`` names.
_ACTING = frozenset({"mv", "find", *_TAKING, *_MANAGING, *_MANAGERS})
_MAY_DESTROY = _RIGHTS | _ENDING | _KEEPERS | {"xargs"}
_WRAPPERS = frozenset({"sudo", "doas", "time", "nohup", "env", "command", "exec"})
_UNDONE = frozenset({"git reset", "git clean", "git filter-branch", "git reflog", "git update-ref"})
_EFFECTS = {
    "network_request": "guard.out",
    "file_delete": "guard.delete",
    "file_write": "guard.write",
    "file_create": "guard.write",
}

#: What an absolute path begins with.
_ROOTS = ("/", "~", "$")
_ADDRESS = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)(?::|\Z)")
#: Commands of a line, and words of each, that are looked at.
_MAX_COMMANDS = 32
_MAX_WORDS = 40
_MAX_WRAPPERS = 6
#: Commands whose features are kept, of so many words at most: about 4 MiB at worst.
_KEPT_COMMANDS = 1024
_MAX_KEPT_WORDS = 12


class _Program(NamedTuple):
    """What is known of a program by its name, which of it is looked at in its words.

    ``effect`` is the feature of an option that takes a guard away. ``is_unknown``: nothing is known of it,
    so that its words may be paths and addresses; ``may_query``: they may be for a database.
    """

    name: str
    effect: str
    is_unknown: bool
    is_copying: bool
    is_shell: bool
    is_setter: bool
    is_undone: bool
    may_destroy: bool
    may_query: bool
    installs: bool


class Lines:
    """Reads the features of command lines; ``class_of`` says of what class a verb is, ``is_local`` a host.

    Simple commands come again in other lines (``cd`` to the same tree, ``head -20``): short ones are kept.
    """

    def __init__(self, class_of: Callable[[str], str], is_local: Callable[[str], bool]) -> None:
        self._class_of = class_of
        self._is_local = is_local
        self._option = lru_cache(4096)(_find_option)
        self._program = lru_cache(1024)(self._find_program)
        self._kept = lru_cache(_KEPT_COMMANDS)(self._find)

    def of(self, commands: Sequence[Command], is_short: bool) -> list[Feature]:
        """Return the features of the commands of a line, in order; some may come twice.

        ``is_short``: the line is, and so are its words.
        """
        found: list[Feature] = []
        for command in commands[:_MAX_COMMANDS]:
            words = command.words
            if is_short and len(words) <= _MAX_KEPT_WORDS:
                found += self._kept((*words,), command.piped)
            else:
                found += self._find(words, command.piped)
        return found

    def _find(self, words: Sequence[str], is_piped: bool) -> list[Feature]:
        found: list[Feature] = []
        at = 0
        for word in words[:_MAX_WRAPPERS]:
            if "=" in word and word[:1].isalpha():
                name = word.partition("=")[0][:24]
                found.append(("code.from" if _SOURCES.search(name) else "guard.env", name))
            elif word not in _WRAPPERS:
                break
            at += 1
        if at < len(words):
            verb = words[at].rpartition("/")[2][:32]
            self._add_command(found, verb, words[at + 1 : at + _MAX_WORDS], is_piped)
        return found

    def _add_command(self, found: list[Feature], verb: str, rest: Sequence[str], is_piped: bool) -> None:
        sub = ""
        if verb in _WITH_SUBCOMMANDS:
            for word in rest[:7]:
                if _is_name(word):
                    sub = word[:32]
                    break
        program = self._program(verb, sub)
        if is_piped and program.is_shell:
            found.append(("guard.piped", verb))
        if not rest:
            if program.may_destroy:
                found += _destroyed(program.name, verb, sub, rest)
            if program.is_undone:
                found.append((program.effect, program.name))
            if verb in _TAKING and _TAKING[verb] is None:
                found.append(("take.user", verb))
            return
        for word in rest:
            if word[:1] == "-":
                option = self._option(program.name, verb, program.effect, word.partition("=")[0][:32])
                if option is not None:
                    found.append(option)
        if program.is_setter:
            found += _setting(verb, rest)
        if program.may_destroy:
            found += _destroyed(program.name, verb, sub, rest)
        if verb in _ACTING:
            found += _acted(verb, rest)
        if program.is_unknown or program.is_copying or (verb == "find" and "-exec" in rest):
            self._add_touched(found, program, rest)
        may_query = program.may_query
        for word in rest[:15]:
            if word[:3] in _SECRETS_STARTS and _SHOWS_SECRETS.match(word):
                found.append(("secret.tool", f"{program.name} {word[:24]}"))
            elif may_query and " " in word and (told := _DROPS.search(word[:512])):
                found.append(("delete.hard", f"{verb} {told[1].lower()[:24]}"))
            elif word[:1] in _EVERYBODY_STARTS and (word.startswith(_EVERYBODY) or word == "http.server"):
                found.append(("out.listen", program.name))
        if program.effect == "guard.out" or verb in _WITH_SUBCOMMANDS:
            for word in rest[:8]:
                if "-" in word[1:] and _GRANTING.match(word):
                    found.append(("power.grant", f"{program.name} {word[:24].lower()}"))
        if program.effect == "guard.out":
            found += self._outward(program.name, verb, rest)
        if program.installs:
            for word in rest:
                if "/" in word or "@" in word or ":" in word:
                    for source in _FROM.finditer(word[:256]):
                        found.append(("code.from", (source[1] or source[2]).lower()[:64]))
        if program.is_undone:
            name = program.name
            found.append((program.effect, f"{name} --hard" if "--hard" in rest else name))

    def _find_program(self, verb: str, sub: str) -> _Program:
        name = f"{verb} {sub}" if sub else verb
        class_of = self._class_of(name)
        says_something = verb not in SAYING_NOTHING
        return _Program(
            name,
            _EFFECTS.get(class_of, "guard.run"),
            class_of == "shell_exec" and says_something,
            verb in _COPYING,
            verb in _SHELLS,
            sub == "config" and verb in _SETTERS,
            name in _UNDONE,
            sub == "stash" or verb in _MAY_DESTROY or _HARD.match(name) is not None,
            not sub and class_of in _MAY_HOLD_QUERIES and says_something,
            _INSTALLS.match(name) is not None,
        )

    def _add_touched(self, found: list[Feature], program: _Program, rest: Sequence[str]) -> None:
        """Add what is touched by a program of which nothing is known, and by one that copies."""
        what = "path.copied" if program.is_copying else "path.touched"
        is_unknown = program.is_unknown
        if is_unknown and rest[0] in _SENDING:
            found.append(("out.by", f"{program.name} {rest[0]}"))
        for word in rest:
            if word[:1] in _ROOTS:
                if "://" not in word and len(word) > 1:
                    found.append((what, normal(word[:256])))
            elif is_unknown and "@" in word:
                told = _ADDRESS.match(word[:256])
                if told is not None and not self._is_local(told[1]):
                    found.append(("net.host", told[1].lower()))
            elif is_unknown and "." in word and _HOST.match(word[:256]) and not self._is_local(word):
                found.append(("net.host", word.lower()[:64]))

    def _outward(self, name: str, verb: str, rest: Sequence[str]) -> Iterator[Feature]:
        for word in rest:
            if verb == "git":
                if word[:1] == "+" and len(word) > 1:
                    yield "guard.out", f"{name} +"
                continue
            if verb in _RESOLVERS and ("$" in word or "`" in word) and _COMPUTED.match(word[:256]):
                yield "out.host", "computed"
                yield "out.by", f"{verb}>computed"
            if ":" in word:
                found = _STORE.match(word[:256])
                if found is not None and not self._is_local(found[1] or found[0][:-1]):
                    yield "out.store", found[0].lower()[:64]


def _find_option(name: str, verb: str, effect: str, option: str) -> Feature | None:
    """Return what an option takes away; None where it takes nothing."""
    if _UNGUARDED.match(option):
        return effect, f"{name} {option[:24]}"
    short = _SHORT.get(name, _SHORT.get(verb, ()))
    if option[1:2] != "-" and (short is None or any(letter in option[1:] for letter in short)):
        return effect, f"{name} {option[:8]}"
    return None


def _setting(verb: str, rest: Sequence[str]) -> Iterator[Feature]:
    for word in rest:
        if word[:1] != "-" and word not in _NO_SETTINGS and ("." in word or verb != "git"):
            what = "later.setting" if _RUNS.search(word[:256]) else "guard.setting"
            yield what, f"{verb} {word.lower().split('://')[0][:40]}"
            return


def _destroyed(name: str, verb: str, sub: str, rest: Sequence[str]) -> Iterator[Feature]:
    if _is_hard(name):
        yield "delete.lost" if verb in _LOSING else "delete.hard", name
    elif sub == "stash":
        act = next((word for word in rest[:5] if word != sub and word[:1] != "-"), "")
        if act in _STASH_LOST:
            yield "delete.hard", f"{name} {act}"
    elif verb in _RIGHTS:
        if not _RECURSIVE.isdisjoint(rest[:3]):
            yield "delete.hard", f"{verb} -R"
        if verb == "chmod":
            for word in rest[:3]:
                if _OPEN_RIGHTS.match(word[:16]):
                    yield "guard.rights", word[:16]
    elif verb in _ENDING:
        for word in rest:
            if word[:1] != "-" and not word.isdigit():
                name = word[:32].lower()
                yield "power.guard" if _WATCHING.search(name) else "power.end", name
                if _SENTINELD in name:
                    yield "agent.steering", _SENTINELD
    elif verb in _KEEPERS:
        if not _SHOWS_NONE.issuperset(rest[:1]):
            yield "secret.tool", f"{verb} {rest[0][:24]}"
    elif verb == "xargs":
        inner = [word.rpartition("/")[2][:24] for word in rest[:9] if word[:1] != "-"][:2]
        name = f"xargs {' '.join(inner)}"
        if inner and (inner[0] in _SEALING or inner[0] in _LOSING or "-D" in rest):
            yield "delete.lost", name
        elif inner and (inner[0] in _DELETING or _is_hard(" ".join(inner))):
            yield "delete.hard", name


def _acted(verb: str, rest: Sequence[str]) -> Iterator[Feature]:
    """Yield what single programs do that nothing else tells."""
    if verb == "mv":
        for word in [one for one in rest if one[:1] != "-"][:-1]:
            if word[:1] in _ROOTS:
                # Where it was, it is gone.
                yield "path.delete", normal(word[:256])
    elif verb == "find":
        inner = rest[rest.index("-exec") + 1].rpartition("/")[2] if "-exec" in rest[:-1] else ""
        if inner in _SEALING:
            yield "delete.lost", f"find {inner}"
    elif verb in _TAKING:
        told = _TAKING[verb]
        if told is None or not told.isdisjoint(rest):
            yield "take.user", verb
    if verb in _MANAGING and not _STOPPING.isdisjoint(rest):
        for word in rest:
            name = word[:64].lower()
            if word[:1] != "-" and _WATCHING.search(name):
                yield "power.guard", name[:32]
                if _SENTINELD in name:
                    yield "agent.steering", _SENTINELD
    elif verb in _MANAGERS:
        for place, word in enumerate(rest):
            option, _, value = word.partition("=")
            if option[:1] == "-" and _REPLACING.match(option[:32]):
                value = value or (rest[place + 1] if place + 1 < len(rest) else "")
                origin = value.rpartition("=")[2].partition("@")[0]
                if "/" in origin and origin[:1] not in "./~":
                    yield "code.from", origin.lower()[:64]


def _is_name(word: str) -> bool:
    return word[:1].isalpha() and (word.isalpha() or word.replace("-", "").isalpha())


@lru_cache(1024)
def _is_hard(name: str) -> bool:
    return _HARD.match(name) is not None
