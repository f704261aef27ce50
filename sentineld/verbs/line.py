"""Line: one command line under judgement.

A command line is judged part by part: ``Line.text`` a script, ``Line.command`` a simple command with its
redirects, ``Line.verb`` its words by the first of them. Each part has a rank, and the highest counts. A judge
of a verb takes an ``Invocation`` and returns a rank; ``sentineld.commands`` has the table of them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TypeAlias

from sentineld.credentials import REVEALING, is_secret_name, reveals, seeks_secrets
from sentineld.entities import Findings, has_url
from sentineld.shell import MAX_KEPT, MAX_TEXT, Budget, Command, assigns, parse, parse_kept
from sentineld.verbs.options import ALIAS, names, split

#: Verbs of one command line that are told, and characters of one.
MAX_VERBS = 16
MAX_VERB = 64
#: Scripts and wrappers that are opened in each other.
_MAX_NESTED = 24
#: Work for one command line, steps (one to two microseconds each), and characters that are parsed for it in
#: all. Of the recorded lines of agents none takes a tenth of these steps.
MAX_STEPS = 5_000
MAX_PARSED = 3 * MAX_TEXT
#: Steps for the judgement of a command, and characters of its words for which there is one more.
_STEPS_OF_COMMAND = 8
_CHARACTERS_OF_STEP = 16

#: Ranks from the least to the most telling. ``NEUTRAL`` is what says nothing of itself, such as ``echo``.
NEUTRAL, READ, RUN, SPAWN, CREATE, WRITE, DELETE, NETWORK, CREDENTIAL = range(9)
_CLASS_OF_RANK = (
    "shell_exec",
    "file_read",
    "shell_exec",
    "agent_spawn",
    "file_create",
    "file_write",
    "file_delete",
    "network_request",
    "credential_access",
)
#: Ranks of the classes that the configuration can give to a verb; all others rank as RUN.
_RANK_OF_CLASS = {
    **{event_class: rank for rank, event_class in enumerate(_CLASS_OF_RANK) if rank != NEUTRAL},
    "network_response": NETWORK,
    "api_call": NETWORK,
}

#: Verbs that read, change and reach nothing that matters here.
SAYING_NOTHING = names(
    "echo printf test [ [[ true false : pwd cd pushd popd dirs export set unset alias unalias shopt trap"
    " wait sleep exit return read readarray mapfile which whereis hash basename dirname date cal whoami"
    " id groups hostname uname arch tty clear reset seq yes expr let local declare typeset readonly shift"
    " getopts ulimit umask jobs fg bg disown for case esac select function break continue history man"
    " help info tput stty uuidgen nproc locale tr bc in logger setopt unsetopt autoload times enable bind"
    " complete compgen suspend logout rev factor write-host write-output set-location get-location"
    " start-sleep get-date sleep.exe rem setlocal endlocal pause cls tee-object foreach-object"
    " where-object select-object sort-object measure-object format-table format-list out-null out-string"
    " convertto-json convertfrom-json import-module"
)


def class_of(rank: int) -> str:
    """Return the event class of a rank."""
    return _CLASS_OF_RANK[rank]


class Invocation:
    """One use of a verb.

    ``verb`` is its name without directory, in lower case; ``words`` begin with it as it was written.
    ``command`` is the simple command, for its redirects and pipes; ``found`` takes what is touched.
    """

    __slots__ = ("command", "found", "line", "verb", "words")

    def __init__(self, line: "Line", verb: str, words: Sequence[str], command: Command) -> None:
        self.line = line
        self.found = line.found
        self.verb = verb
        self.words = words
        self.command = command

    def saw(self, verb: str = "") -> None:
        """Note the verb, or what says more."""
        self.line.saw(verb or self.verb)

    def of(self, words: Sequence[str], verb: str = "") -> "Invocation":
        """Return the same with other words."""
        return Invocation(self.line, verb or self.verb, words, self.command)


#: Says what one use of a verb does: its rank. What it touches goes into ``found``.
Judge: TypeAlias = Callable[[Invocation], int]


class Line:
    """One command line. ``judges`` are those of the known verbs, ``classes`` what the configuration says.

    Where ``budget`` runs out, the rest is not judged.
    """

    __slots__ = ("_classes", "_judges", "_nested", "budget", "found", "named", "verbs")

    def __init__(
        self,
        found: Findings,
        judges: Mapping[str, Judge],
        classes: Mapping[str, str],
        budget: Budget | None = None,
    ) -> None:
        self.found = found
        self.budget = budget or Budget(MAX_STEPS, MAX_PARSED)
        self.verbs: dict[str, None] = {}
        #: The most telling class that the configuration gave, with its rank.
        self.named: tuple[int, str] | None = None
        self._judges = judges
        self._classes = classes
        self._nested = 0

    def elsewhere(self, found: Findings) -> "Line":
        """Return a line for what runs on another host or in a container, under what is left of the bounds."""
        line = Line(found, self._judges, {}, self.budget)
        line._nested = self._nested
        return line

    def text(self, text: str, *, is_windows: bool = False) -> int:
        """Judge the text of a script."""
        budget = self.budget
        budget.characters -= min(len(text), MAX_TEXT)
        if budget.characters < 0 or budget.steps < 0:
            budget.is_spent = True
            return RUN
        if is_windows or (text[:2] not in _NO_WINDOWS and _WINDOWS.match(text)):
            # There a backslash only separates, and a backtick escapes.
            text = text.replace("\\", "/").replace("`", "")
        rank = NEUTRAL
        # What is parsed is to be judged too.
        steps = budget.steps // 2
        if len(text) <= MAX_KEPT:
            commands, left, is_spent = parse_kept(text, steps)
        else:
            share = Budget(steps)
            commands, left, is_spent = parse(text, share), share.steps, share.is_spent
        budget.steps -= steps - left
        budget.is_spent |= is_spent
        for command in commands:
            one = self.command(command)
            if one > rank:
                rank = one
        return rank

    def command(self, command: Command) -> int:
        """Judge one simple command with its redirects."""
        rank = NEUTRAL
        words = command.words
        if command.redirects:
            if not self.budget.spend(4 * len(command.redirects)):
                return RUN
            for operator, target in command.redirects:
                rank = max(rank, self._redirect(operator, target))
        elif words and "=" not in words[0]:
            return self.verb(words, command)
        start = 0
        while start < len(words) and assigns(words[start]):
            start += 1
        if start < len(words):
            rank = max(rank, self.verb(words[start:] if start else words, command))
        return rank

    def verb(self, words: Sequence[str], command: Command) -> int:
        """Judge words by the first of them, the verb."""
        budget = self.budget
        budget.steps -= _STEPS_OF_COMMAND + len(words) + sum(map(len, words)) // _CHARACTERS_OF_STEP
        if budget.steps < 0:
            budget.is_spent = True
            return RUN
        verb = words[0]
        if verb not in self._judges or not verb.islower():
            if "/" in verb or "\\" in verb:
                verb = verb.replace("\\", "/").rstrip("/").rpartition("/")[2]
            verb = verb.lower().removesuffix(".exe")[:MAX_VERB]
        if self._classes:
            rank = self._configured(verb, words)
            if rank is not None:
                return rank
        verb = ALIAS.get(verb, verb)
        run = Invocation(self, verb, words, command)
        if verb in SAYING_NOTHING:
            run.saw()
            if verb in _ENTERING:
                self.found.enter(next((word for word in words[1:] if word[:1] != "-"), "~"))
            return _print(run) if verb in _PRINTING else NEUTRAL
        if len(words) == 2 and words[1] in _ASKING:
            run.saw()
            return RUN
        if verb in REVEALING:
            operands, _ = split(verb, words[1:])
            if reveals(verb, [operand.partition("/")[0] for operand in operands]):
                self.found.has_credentials = True
        judge = self._judges.get(verb)
        if judge is None and verb[-1:].isdigit():
            judge = self._judges.get(verb.rstrip("0123456789.-"))
        if judge is None or self._nested >= _MAX_NESTED:
            run.saw()
            return _run_unknown(run)
        self._nested += 1
        rank = judge(run)
        self._nested -= 1
        return rank

    def name(self, event_class: str) -> int:
        """Note a class that the configuration gives; return its rank."""
        rank = _RANK_OF_CLASS.get(event_class, RUN)
        if event_class != _CLASS_OF_RANK[rank] and (self.named is None or rank > self.named[0]):
            self.named = rank, event_class
        return rank

    def spend(self, text: str) -> bool:
        """Take from the budget what it takes to search a text; say whether there was as much."""
        return self.budget.spend(len(text) // _CHARACTERS_OF_STEP)

    def saw(self, verb: str) -> None:
        """Note a verb, once."""
        if len(self.verbs) < MAX_VERBS and verb:
            is_plain = verb.isascii() and verb.isprintable()
            self.verbs[(verb if is_plain else ascii(verb)[1:-1])[:MAX_VERB]] = None

    def _configured(self, verb: str, words: Sequence[str]) -> int | None:
        for name in (f"{verb} {words[1].lower()}", verb) if len(words) > 1 else (verb,):
            event_class = self._classes.get(name)
            if event_class is not None:
                self.saw(name)
                rank = self.name(event_class)
                for word in words[1:]:
                    if has_url(word):
                        self.found.reaches(word, "sink")
                return rank
        return None

    def _redirect(self, operator: str, target: str) -> int:
        network = _DEV_TCP.match(target)
        if network is not None:
            self.found.reaches_host(network[1], "source" if operator == "<" else "sink")
            return NETWORK
        if operator[-1] == "&" and target.rstrip("-").isdigit():
            # The number of a descriptor that is open already.
            return NEUTRAL
        if operator in ("<", "<&"):
            return READ if self.found.reads(target) else NEUTRAL
        return WRITE if self.found.writes(target) else NEUTRAL


_WINDOWS = re.compile(
    r"\s*+(?:[&(]\s*+)?(?:[A-Z][A-Za-z]+-[A-Z][A-Za-z]+\b|\$[A-Za-z_]\w*\s*=\s|(?i:powershell|pwsh|cmd)(?:\.exe)?\s)"
)
#: What no such text begins with, and most others do.
_NO_WINDOWS = frozenset(map("".join, product("abcdefghijklmnopqrstuvwxyz", repeat=2))) - {"po", "pw", "cm"}
_DEV_TCP = re.compile(r"/dev/(?:tcp|udp)/([^/\s]+)")
_ASKING = frozenset({"--help", "-h", "-help", "--version", "-V", "-version", "version", "help", "/?"})
_ENTERING = frozenset({"cd", "pushd", "set-location"})
_PRINTING = frozenset({"echo", "printf", "write-host", "write-output", "export", "set", "declare"})
_VARIABLE = re.compile(r"\$(?:env:)?([A-Za-z_]\w*)")
#: Words of commands that take a secret from a pipe to log in with it.
_LOGIN = frozenset({"--password-stdin", "--with-token", "login", "-S", "--stdin", "set", "create"})
_FILTERS = frozenset({"grep", "egrep", "fgrep", "rg", "awk", "sed", "select-string", "findstr"})
#: Parts of a pipe that are looked at for a filter.
_MAX_PIPE = 8


def _print(run: Invocation) -> int:
    """Judge a verb that prints its words, or with none of them all variables."""
    verb, words, after = run.verb, run.words, run.command.after
    if verb in ("export", "declare", "set"):
        is_dump = words[1:] in (["-p"], ["-x"]) or (len(words) == 1 and after is not None)
        if is_dump:
            dump(run)
        return NEUTRAL
    # What goes into a file, or to a program that logs in with it, is not shown.
    if any(operator[0] in ">&" and not target.isdigit() for operator, target in run.command.redirects):
        return NEUTRAL
    if after is not None and not _LOGIN.isdisjoint(after.words):
        return NEUTRAL
    for word in words[1:]:
        if "$" in word and any(map(is_secret_name, _VARIABLE.findall(word))):
            run.found.has_credentials = True
            break
    return NEUTRAL


def dump(run: Invocation) -> None:
    """Judge a print of the whole environment: it shows secrets, unless a filter keeps what is none."""
    after = run.command.after
    for _ in range(_MAX_PIPE):
        if after is None or not after.words:
            break
        verb = after.words[0]
        if verb in _FILTERS and "-v" not in after.words:
            run.found.has_credentials |= any(map(seeks_secrets, after.words[1:]))
            return
        if verb == "wc":
            return
        after = after.after
    run.found.has_credentials = True


def _run_unknown(run: Invocation) -> int:
    # Its operands may be anything; only what cannot be anything else than a file of credentials counts.
    is_value = False
    for word in run.words[1:]:
        if word[:1] == "-":
            is_value = word.partition("=")[0] in _USING
            continue
        if not is_value and ("/" in word or "." in word) and run.found.is_secret(word):
            run.found.reads(word)
        is_value = False
    return RUN


#: Options by which a program uses a credential for what it is made for, which shows it to nobody.
_USING = frozenset(
    {"-i", "--key", "--cert", "--cacert", "--ca", "--identity", "--kubeconfig", "--env-file", "--private-key",
     "--key-file", "--credentials-file", "--tlskey", "--tlscert", "--tlscacert", "--keyfile", "--certfile"}
)  # fmt: skip
