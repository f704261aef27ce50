"""Commands: what a shell command line does, by its verbs, their operands and its redirects.

``Commands.judge`` reads a command line (text or a list of arguments) and returns the event class of its most
telling part, with the verbs seen; what it touches goes into ``Findings``. The order of the classes, and why,
is in ``docs/taxonomy.md``. Wrappers (``sudo``, ``env``, ``xargs``, ``sh -c``, ``docker exec``, ...) are opened,
no more than ``_MAX_NESTED`` of them in each other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from sentineld.credentials import is_secret_name, reveals, seeks_secrets
from sentineld.entities import Findings, has_url, is_nowhere
from sentineld.shell import Command, assigns, expand_braces, parse

#: Verbs of one command line that are told.
MAX_VERBS = 16
_MAX_VERB = 64
_MAX_NESTED = 8
#: Code given to an interpreter that is looked at, characters.
_MAX_CODE = 131_072

#: Classes from the least to the most telling. ``NEUTRAL`` is what says nothing of itself, such as ``echo``.
NEUTRAL, READ, RUN, SPAWN, CREATE, WRITE, DELETE, NETWORK, CREDENTIAL = range(9)
_CLASS = (
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
#: Rank of a class that the configuration gives to a verb. Classes that are not named here rank as RUN.
_RANK = {"file_read": READ, "shell_exec": RUN, "agent_spawn": SPAWN, "file_create": CREATE, "file_write": WRITE,
         "file_delete": DELETE, "network_request": NETWORK, "network_response": NETWORK, "api_call": NETWORK,
         "credential_access": CREDENTIAL}  # fmt: skip


def class_of(rank: int) -> str:
    """Return the event class of a rank."""
    return _CLASS[rank]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEUTRAL = _words(
    "echo printf test [ [[ true false : pwd cd pushd popd dirs export set unset alias unalias shopt trap wait sleep"
    " exit return read readarray mapfile which whereis hash basename dirname date cal whoami id groups hostname"
    " uname arch tty clear reset seq yes expr let local declare typeset readonly shift getopts ulimit umask jobs fg bg"
    " disown for case esac select function break continue history man help info tput stty uuidgen nproc locale tr bc"
    " in logger setopt unsetopt autoload times enable bind complete compgen suspend logout rev factor write-host"
    " write-output set-location get-location start-sleep get-date sleep.exe rem setlocal endlocal pause cls tee-object"
    " foreach-object where-object select-object sort-object measure-object format-table format-list out-null out-string"
    " convertto-json convertfrom-json import-module"
)

#: Options that take a value, by verb: single letters, then long ones. The value is no operand.
_VALUED: dict[str, str] = {
    "head": "n c", "tail": "n c s --pid", "grep": "A B C m e f d D --include --exclude --exclude-dir --regexp --file",
    "rg": "A B C m e f g t T j M d r E --glob --iglob --type --type-not --max-count --regexp --file --context"
    " --after-context --before-context --max-depth --sort --sortr --replace --color --colors --encoding --pre"
    " --max-columns --threads --engine",
    "ag": "A B C G m p --ignore --depth", "ack": "A B C m --type", "sed": "e f l --expression --file",
    "awk": "F v f --field-separator --assign --file", "sort": "k t S T o --key --field-separator --output",
    "uniq": "f s w", "cut": "d f c b --delimiter --fields --characters --output-delimiter", "paste": "d",
    "jq": "f L --indent --tab --rawfile --slurpfile", "yq": "i p o --input-format --output-format",
    "ls": "I w T --ignore --block-size", "tree": "L I P o H T --filelimit --charset", "du": "d t --max-depth --exclude",
    "df": "t x", "fd": "e t d E x X S c j o --extension --type --exclude --exec --exec-batch --max-depth --size --owner",
    "stat": "f c t --format --printf", "wc": "--files0-from", "od": "A j N t w", "xxd": "l s c g o",
    "hexdump": "e f n s", "strings": "n t e", "nl": "b s w v", "fold": "w", "column": "s t c N o", "diff": "U C x I L"
    " --label --exclude --ignore-matching-lines", "bat": "l r H --language --line-range --style --theme --paging",
    "less": "p j x", "zip": "x i b t n P", "7z": "", "tar": "f C T X I b --file --directory --exclude --transform"
    " --strip-components --files-from", "mkdir": "m --mode", "touch": "d r t --date --reference", "install": "m o g S",
    "cp": "t S --target-directory --suffix", "mv": "t S --target-directory --suffix", "ln": "t S",
    "mktemp": "p --tmpdir --suffix", "truncate": "s r --size --reference", "tee": "", "patch": "p i o d B r F --input"
    " --directory --output", "rm": "", "shred": "n s", "split": "b l n a C", "dd": "", "chmod": "", "chown": "",
    "sudo": "u g h p C T U r t D R --user --group --host --prompt --chdir", "doas": "u C", "env": "u C S --unset --chdir",
    "nice": "n --adjustment", "ionice": "c n p", "timeout": "s k --signal --kill-after", "stdbuf": "i o e",
    "xargs": "I n P L d a E s i l --replace --max-args --max-procs --max-lines --delimiter --arg-file", "time": "f o",
    "exec": "a", "watch": "n --interval", "flock": "w E --timeout", "chroot": "", "parallel": "j I N a --jobs",
    "strace": "e o p s P u", "ltrace": "e o p s", "taskset": "", "setpriv": "", "runuser": "u g", "su": "s g",
    "npx": "p --package", "uvx": "p --from --with --python", "uv": "p --with --python --from --directory --project"
    " --extra --group --env-file --index --index-url", "docker": "e u w v p l m --env --user --workdir --env-file"
    " --name --network --volume --mount --entrypoint --detach-keys --host --context -H -f --file --project-name",
    "ssh": "b c D E e F I i J L l m O o p Q R S W w", "scp": "c F i J l o P S X D", "sftp": "b B c F i J l o P R S s",
    "rsync": "e f T B M --rsh --exclude --include --filter --files-from --exclude-from --include-from --port --bwlimit"
    " --timeout --chmod --password-file --log-file --out-format --rsync-path",
    "curl": "A b c C d D e E F H h I K m o P Q r t T u U w x X y Y z --data --data-binary --data-raw --data-ascii"
    " --data-urlencode --json --form --form-string --upload-file --request --header --user --user-agent --output"
    " --url --proxy --cert --key --cacert --cookie --cookie-jar --connect-timeout --max-time --retry --retry-delay"
    " --write-out --config --referer --resolve --output-dir --oauth2-bearer --netrc-file --range --limit-rate"
    " --retry-max-time --connect-to --interface --unix-socket --capath --dump-header --stderr --trace --trace-ascii"
    " --aws-sigv4 --proto --max-redirs --max-filesize --dns-servers --socks5 --socks5-hostname --proxy-user",
    "wget": "O o a i P t T e U Q w B D I X A R l --output-document --output-file --append-output --input-file"
    " --directory-prefix --tries --timeout --user-agent --header --post-data --post-file --body-data --body-file"
    " --method --user --password --load-cookies --save-cookies --referer --accept --reject --level --ca-certificate"
    " --certificate --private-key --limit-rate --wait --retry-connrefused",
    "nc": "e g G i I m M o p P q s T V w X x c", "git": "C c --git-dir --work-tree --namespace --exec-path",
    "psql": "h p U d f c o v F R T P L --host --port --username --dbname --file --command --output --set",
    "mysql": "h P u D e --host --port --user --database --execute", "find": "", "bash": "O --rcfile --init-file",
    "python": "W X m c Q", "node": "r e p c --require --eval --print --import --loader --input-type --env-file --test-reporter",
    "aws": "--profile --region --output --query --endpoint-url", "oc": "n f o l c --namespace --context --kubeconfig",
    "gcloud": "--project --account --configuration --format --filter", "az": "o g n --subscription --output --query",
    "gh": "R --repo", "vault": "", "op": "--account --vault", "perl": "I M m e E i F", "ruby": "e I r C E", "kubectl": "n f o l c --namespace --context --kubeconfig --output"
    " --selector --filename --container --cluster --user", "openssl": "",
}  # fmt: skip
_ALIAS = {"egrep": "grep", "fgrep": "grep", "zgrep": "grep", "ugrep": "grep", "ggrep": "grep", "ripgrep": "rg",
          "gsed": "sed", "gawk": "awk", "mawk": "awk", "nawk": "awk", "batcat": "bat", "fdfind": "fd",
          "exa": "ls", "eza": "ls", "gtimeout": "timeout", "podman": "docker", "nerdctl": "docker", "ncat": "nc",
          "netcat": "nc", "python3": "python", "nodejs": "node", "mariadb": "mysql", "gtar": "tar", "bsdtar": "tar",
          "autossh": "ssh", "bunx": "npx", "pipx": "uvx", "gcp": "cp", "gmv": "mv", "grm": "rm", "gfind": "find"}  # fmt: skip


class _Options:
    """The options of one verb that take a value."""

    __slots__ = ("letters", "names")

    def __init__(self, text: str) -> None:
        parts = text.split()
        self.letters = frozenset(part for part in parts if len(part) == 1)
        self.names = frozenset(part for part in parts if len(part) > 1)


_OPTIONS = {verb: _Options(text) for verb, text in _VALUED.items()}
_NO_OPTIONS = _Options("")


def _split(verb: str, words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the operands and the options (name, value) of a command's words behind its verb."""
    known = _OPTIONS.get(verb, _NO_OPTIONS)
    operands: list[str] = []
    options: list[tuple[str, str]] = []
    count, number = len(words), 0
    while number < count:
        word = words[number]
        number += 1
        if word[:1] != "-" or word == "-":
            operands.append(word)
        elif word == "--":
            operands.extend(words[number:])
            break
        elif word[:2] == "--":
            name, is_joined, value = word.partition("=")
            if not is_joined and name in known.names and number < count:
                value = words[number]
                number += 1
            options.append((name, value))
        else:
            for place in range(1, min(len(word), 32)):
                letter = word[place]
                if letter in known.letters:
                    value = word[place + 1 :]
                    if not value and number < count:
                        value = words[number]
                        number += 1
                    options.append((f"-{letter}", value))
                    break
                options.append((f"-{letter}", ""))
    return operands, options


def _unwrapped(verb: str, words: Sequence[str]) -> int:
    """Return where, in a wrapper's words, the wrapped command begins."""
    known = _OPTIONS.get(verb, _NO_OPTIONS)
    number = 1
    while number < len(words):
        word = words[number]
        if word == "--":
            return number + 1
        if word[:1] == "-" and word != "-":
            if (word in known.names and "=" not in word) or (
                len(word) > 1
                and word[1] != "-"
                and word[-1] in known.letters
                and not known.letters & set(word[1:-1])
            ):
                number += 1
        elif not assigns(word):
            return number
        number += 1
    return number


_Judge: TypeAlias = "Callable[[_Line, str, Sequence[str], Command], int]"


class Commands:
    """Judges command lines. ``verbs`` are classes by verb (``deployctl``) or verb and first operand."""

    def __init__(self, verbs: Mapping[str, str] | None = None) -> None:
        self._verbs = {" ".join(verb.lower().split()): name for verb, name in (verbs or {}).items()}

    def judge(
        self, command: str | Sequence[str], findings: Findings, *, is_windows: bool = False
    ) -> tuple[str, tuple[str, ...]]:
        """Return the event class of a command line, and its verbs in order, each once.

        ``command`` is text for a shell, or the arguments of one program. ``is_windows``: it is PowerShell or
        cmd.exe, whose backslashes are no escapes.
        """
        line = _Line(findings, self._verbs)
        if isinstance(command, str):
            rank = line.text(command, is_windows=is_windows)
        else:
            rank = line.command(Command(list(command)))
        if findings.has_credentials:
            rank = CREDENTIAL
        name = _CLASS[rank]
        if line.named is not None and rank <= line.named[0]:
            name = line.named[1]
        return name, tuple(line.verbs)


class _Line:
    """One command line under judgement."""

    __slots__ = ("_classes", "_depth", "found", "named", "verbs")

    def __init__(self, found: Findings, classes: Mapping[str, str]) -> None:
        self.found = found
        self.verbs: dict[str, None] = {}
        #: The most telling class that the configuration gave, and its rank.
        self.named: tuple[int, str] | None = None
        self._classes = classes
        self._depth = 0

    def text(self, text: str, *, is_windows: bool = False) -> int:
        """Judge the text of a script."""
        if self._depth >= _MAX_NESTED:
            return RUN
        self._depth += 1
        if is_windows or _WINDOWS.match(text):
            # No other backslash than that of a path; a backtick escapes the next character.
            text = text.replace("\\", "/").replace("`", "")
        rank = NEUTRAL
        for command in parse(text):
            rank = max(rank, self.command(command))
        self._depth -= 1
        return rank

    def command(self, command: Command) -> int:
        """Judge one simple command with its redirects."""
        rank = NEUTRAL
        for operator, target in command.redirects:
            rank = max(rank, self._redirect(operator, target))
        words: Sequence[str] = command.words
        start = 0
        while start < len(words) and assigns(words[start]):
            start += 1
        if start < len(words):
            rank = max(rank, self.verb(words[start:] if start else words, command))
        return rank

    def verb(self, words: Sequence[str], command: Command) -> int:
        """Judge a command by its verb, the first of its words."""
        verb = words[0]
        if "/" in verb or "\\" in verb:
            verb = verb.replace("\\", "/").rstrip("/").rpartition("/")[2]
        verb = verb.lower().removesuffix(".exe")[:_MAX_VERB]
        if self._classes:
            rank = self._configured(verb, words)
            if rank is not None:
                return rank
        verb = _ALIAS.get(verb, verb)
        if verb in _NEUTRAL:
            self.saw(verb)
            if verb in _PRINTING:
                return _print(self, words, command)
            return NEUTRAL
        if len(words) == 2 and words[1] in _ASKING:
            self.saw(verb)
            return RUN
        judge = _JUDGES.get(verb)
        if judge is None and verb[-1:].isdigit():
            judge = _JUDGES.get(verb.rstrip("0123456789.-"))
        if verb in _REVEALERS:
            operands, _ = _split(verb, words[1:24])
            if reveals(verb, [operand.partition("/")[0] for operand in operands]):
                self.found.has_credentials = True
        if judge is None:
            self.saw(verb)
            return _run_unknown(self, verb, words, command)
        if self._depth >= _MAX_NESTED * 2:
            return RUN
        self._depth += 1
        rank = judge(self, verb, words, command)
        self._depth -= 1
        return rank

    def saw(self, verb: str) -> None:
        """Note a verb."""
        if len(self.verbs) < MAX_VERBS and verb:
            self.verbs[verb if verb.isascii() and verb.isprintable() else ascii(verb)[1:-1][:_MAX_VERB]] = (
                None
            )

    def _configured(self, verb: str, words: Sequence[str]) -> int | None:
        for name in (f"{verb} {words[1].lower()}", verb) if len(words) > 1 else (verb,):
            event_class = self._classes.get(name)
            if event_class is not None:
                self.saw(name)
                rank = _RANK.get(event_class, RUN)
                if event_class != _CLASS[rank] and (self.named is None or rank > self.named[0]):
                    self.named = rank, event_class
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
        if operator[-1] == "&":
            # A number is a descriptor.
            if target.rstrip("-").isdigit() or target in ("-", ""):
                return NEUTRAL
        if operator == "<" or operator == "<&":
            return READ if self.found.reads(target) else NEUTRAL
        return WRITE if self.found.writes(target) else NEUTRAL


_WINDOWS = re.compile(
    r"\s*(?:[&(]\s*)?(?:[A-Z][A-Za-z]+-[A-Z][A-Za-z]+\b|\$[A-Za-z_]\w*\s*=\s|(?i:powershell|pwsh|cmd)(?:\.exe)?\s)"
)
_DEV_TCP = re.compile(r"/dev/(?:tcp|udp)/([^/\s]+)")
_ASKING = frozenset({"--help", "-h", "-help", "--version", "-V", "-version", "version", "help", "/?"})
_PRINTING = frozenset({"echo", "printf", "write-host", "write-output", "export", "set", "declare"})
_REVEALERS = _words(
    "security gh glab aws gcloud az kubectl oc pass gopass op bw lpass vault doppler heroku npm git"
    " git-credential-osxkeychain git-credential-store git-credential-manager secret-tool keyring kwallet-query getent"
    " cmdkey vaultcmd mimikatz get-credential unshadow"
)
_VARIABLE = re.compile(r"\$(?:env:)?([A-Za-z_]\w*)")
_SHELLS = _words("bash sh zsh dash ksh mksh ash fish")


def _print(line: _Line, words: Sequence[str], command: Command) -> int:
    # Printing a secret variable shows it, unless it goes into a file or to a program that logs in with it.
    if words[0] in ("export", "declare") and words[1:] not in (["-p"], ["-x"]):
        return NEUTRAL
    if words[0] == "set" and len(words) > 1:
        return NEUTRAL
    after = command.after
    if words[0] in ("export", "declare", "set"):
        if len(words) > 1 or (after is not None and words[0] == "set"):
            _dump(line, command)
        return NEUTRAL
    if any(operator[0] in ">&" and not target.isdigit() for operator, target in command.redirects):
        return NEUTRAL
    if after is not None and not _LOGIN.isdisjoint(after.words):
        return NEUTRAL
    for word in words[1:]:
        if "$" in word and any(is_secret_name(name) for name in _VARIABLE.findall(word[:4096])):
            line.found.has_credentials = True
            break
    return NEUTRAL


_LOGIN = frozenset({"--password-stdin", "--with-token", "login", "-S", "--stdin", "set", "create"})


def _dump(line: _Line, command: Command) -> None:
    # The whole environment is shown, unless a filter behind it looks for something that is no secret.
    after = command.after
    if any(operator[0] == ">" for operator, _ in command.redirects):
        line.found.has_credentials = True
        return
    while after is not None and after.words:
        verb = after.words[0]
        if verb in ("grep", "egrep", "fgrep", "rg", "awk", "sed", "select-string", "findstr"):
            if "-v" in after.words or "-c" in after.words:
                break
            line.found.has_credentials |= any(map(seeks_secrets, after.words[1:]))
            return
        if verb == "wc":
            return
        after = after.after
    line.found.has_credentials = True


def _read(line: _Line, path: str, *, is_secret_shown: bool = True) -> int:
    return READ if line.found.reads(path, is_secret_shown=is_secret_shown) else NEUTRAL


def _read_each(line: _Line, paths: Sequence[str], *, is_secret_shown: bool = True) -> int:
    rank = NEUTRAL
    for path in paths:
        for each in expand_braces(path) if "{" in path else (path,):
            rank = max(rank, _read(line, each, is_secret_shown=is_secret_shown))
    return rank


# --- reading -----------------------------------------------------------------------------------------------


def _reader(verb: str, *, implied: bool = False, names_only: bool = False, skip: int = 0) -> _Judge:
    """Make a judge of a verb that reads its operands behind the first ``skip``.

    ``implied``: without operands it reads the current directory. ``names_only``: it does not show content.
    """

    def judge(line: _Line, name: str, words: Sequence[str], command: Command) -> int:
        line.saw(name)
        operands, options = _split(verb, words[1:])
        left = skip
        if skip:
            for option, value in options:
                if option in ("-e", "--regexp", "--expression", "--files"):
                    left = 0
                elif option in ("-f", "--file", "--from-file"):
                    left = 0
                    _read(line, value)
        rank = _read_each(line, operands[left:], is_secret_shown=not names_only)
        if rank == NEUTRAL and (implied or _is_recursive(options)) and not command.piped:
            rank = READ
        if not names_only and len(operands) > left and _is_recursive(options):
            for operand in operands[left:]:
                line.found.reads_tree(operand)
        if verb == "sort":
            for option, value in options:
                if option in ("-o", "--output") and line.found.writes(value):
                    rank = WRITE
        return rank

    return judge


def _is_recursive(options: Sequence[tuple[str, str]]) -> bool:
    return any(name in ("-r", "-R", "--recursive", "-Recurse", "--files") for name, _ in options)


def _sed(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    if any(
        word[:2] == "-i"
        or word[:10] == "--in-place"
        or (word[:1] == "-" and word[1:3] in ("Ei", "ni", "ri", "zi"))
        for word in words[1:]
    ):
        operands, options = _split("sed", [w for w in words[1:] if w != ""])
        scripted = any(name in ("-e", "-f", "--expression", "--file") for name, _ in options)
        for path in operands if scripted else operands[1:]:
            line.found.writes(path)
        return WRITE
    operands, options = _split("sed", words[1:])
    scripted = any(name in ("-e", "-f", "--expression", "--file") for name, _ in options)
    return _read_each(line, operands if scripted else operands[1:])


_FIND_RUNS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


def _find(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    rank = READ
    paths: list[str] = []
    number = 1
    while number < len(words) and (
        words[number][:1] not in ("-", "!", "(") or words[number] in ("-L", "-H", "-P")
    ):
        if words[number][:1] != "-":
            paths.append(words[number])
        number += 1
    _read_each(line, paths, is_secret_shown=False)
    name = ""
    while number < len(words):
        word = words[number]
        if word in ("-name", "-iname", "-path", "-wholename") and number + 1 < len(words):
            name = words[number + 1].replace("*", "x")
            number += 1
        elif word == "-delete":
            for path in paths:
                line.found.deletes(path)
            rank = max(rank, DELETE)
        elif word in ("-fprint", "-fprintf", "-fls") and number + 1 < len(words):
            line.found.writes(words[number + 1])
            rank = max(rank, WRITE)
        elif word in _FIND_RUNS:
            end = number + 1
            while end < len(words) and words[end] not in (";", "+"):
                end += 1
            inner = list(words[number + 1 : end])
            if inner:
                at = name if name and line.found.is_secret(name) else (paths[0] if paths else ".")
                rank = max(rank, line.command(Command([at if word == "{}" else word for word in inner])))
            number = end
        number += 1
    return rank


def _fd(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    for number, word in enumerate(words):
        if word in ("-x", "-X", "--exec", "--exec-batch"):
            rank = _reader("fd", implied=True, names_only=True, skip=1)(line, verb, words[:number], command)
            return (
                max(rank, line.command(Command(list(words[number + 1 :]))))
                if number + 1 < len(words)
                else rank
            )
    return _reader("fd", implied=True, names_only=True, skip=1)(line, verb, words, command)


def _tar(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    mode = words[1] if len(words) > 1 else ""
    rest = list(words[1:])
    if mode and mode[0] != "-":
        rest[0] = f"-{mode}"
    operands, options = _split("tar", rest)
    names = {name for name, _ in options}
    archive = next((value for name, value in options if name in ("-f", "--file")), "")
    if "-c" in names or "-r" in names or "-u" in names or "--create" in names:
        for path in operands:
            line.found.reads_tree(path)
        return CREATE if line.found.writes(archive) else READ
    if "-x" in names or "--extract" in names or "--get" in names:
        _read(line, archive)
        target = next((value for name, value in options if name in ("-C", "--directory")), "")
        line.found.writes(target)
        return CREATE
    return _read(line, archive) or (READ if not command.piped else NEUTRAL)


def _zip(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, _ = _split("zip", words[1:])
    if verb in ("7z", "7za", "rar"):
        is_adding = operands[:1] in (["a"], ["u"])
        operands = operands[1:]
        if not is_adding:
            _read_each(line, operands[:1])
            return CREATE
    for path in operands[1:]:
        line.found.reads_tree(path)
    return CREATE if operands and line.found.writes(operands[0]) else READ


def _unzip(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split("unzip", words[1:])
    _read_each(line, operands[:1])
    return READ if {name for name, _ in options} & {"-l", "-p", "-v", "-t", "-Z"} else CREATE


def _compress(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split(verb, words[1:])
    rank = _read_each(line, operands)
    is_shown = any(name in ("-c", "--stdout", "-l", "-t", "--list") for name, _ in options)
    return rank if is_shown or not operands else WRITE


# --- writing -----------------------------------------------------------------------------------------------


def _writer(rank: int, *, skip: int = 0) -> _Judge:
    """Make a judge of a verb that makes or changes its operands behind the first ``skip``."""

    def judge(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
        line.saw(verb)
        operands, options = _split(verb, words[1:])
        is_any = False
        for path in operands[skip:]:
            is_any |= line.found.writes(path)
        return rank if is_any or not operands or rank == CREATE else NEUTRAL

    return judge


def _attributes(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    # Rights and owners change; content is neither shown nor written.
    line.saw(verb)
    operands, _ = _split(verb, words[1:])
    for path in operands[1:]:
        line.found.deletes(path)
    return WRITE


def _delete(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, _ = _split("rm", words[1:])
    for path in operands:
        if not _SWITCH.match(path):
            line.found.deletes(path)
    return DELETE


_SWITCH = re.compile(r"/[A-Za-z?]{1,3}(?::.*)?\Z")


def _copy(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split("cp", words[1:])
    operands = [path for path in operands if not _SWITCH.match(path)]
    target = next((value for name, value in options if name in ("-t", "--target-directory")), "")
    if not target and len(operands) > 1:
        target = operands.pop()
    for path in operands:
        if verb == "ln":
            line.found.reads(path)
        else:
            line.found.reads_tree(path)
    line.found.writes(target)
    return CREATE if verb in ("ln", "mklink") else WRITE


def _dd(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    rank = NEUTRAL
    for word in words[1:]:
        name, _, value = word.partition("=")
        if name == "if":
            rank = max(rank, _read(line, value))
        elif name == "of" and line.found.writes(value):
            rank = WRITE
    return rank


_PATCHED = re.compile(
    r"^\*\*\* (Add|Update|Delete) File: (.{1,4096})$|^\*\*\* Move to: (.{1,4096})$", re.MULTILINE
)


def patch_rank(text: str, found: Findings) -> int:
    """Judge a patch as ``apply_patch`` takes it: what it adds, changes and deletes."""
    rank = NEUTRAL
    for number, part in enumerate(_PATCHED.finditer(text)):
        if number >= 1024:
            break
        path = (part[2] or part[3]).strip()
        if part[1] == "Delete":
            found.deletes(path)
            rank = max(rank, DELETE)
        else:
            found.writes(path)
            rank = max(rank, CREATE if part[1] == "Add" else WRITE)
    return rank or WRITE


def _type(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    # A shell tells what a name means; cmd.exe and PowerShell show a file.
    if any("/" in word or "." in word for word in words[1:]):
        return _reader("cat")(line, verb, words, command)
    line.saw(verb)
    return NEUTRAL


def _apply_patch(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    return patch_rank(words[1] if len(words) > 1 else command.stdin, line.found)


def _patch(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split("patch", words[1:])
    for name, value in options:
        if name in ("-i", "--input"):
            _read(line, value)
    for path in operands[:1]:
        line.found.writes(path)
    return WRITE


def _perl(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    for word in words[1:]:
        if word[:1] == "-" and word[1:2] != "-" and "i" in word[1:6] and not word[1:2] in ("I", "M", "m"):
            line.saw(verb)
            operands, _ = _split("sed", words[1:])
            for path in operands:
                line.found.writes(path)
            return WRITE
        if word[:1] != "-":
            break
    return _interpreter(line, verb, words, command)


def _editor(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, _ = _split(verb, words[1:])
    for path in operands:
        line.found.writes(path)
    return WRITE


# --- running -----------------------------------------------------------------------------------------------


def _run_unknown(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    # Its operands may be anything; only what cannot be anything else than a file of credentials counts.
    is_value = False
    for word in words[1:]:
        if word[:1] == "-":
            is_value = word.partition("=")[0] in _USING
            continue
        if not is_value and ("/" in word or "." in word) and line.found.is_secret(word):
            line.found.reads(word)
        is_value = False
    return RUN


#: Options by which a program uses a credential for what it is made for, which shows it to nobody.
_USING = frozenset(
    {"-i", "--key", "--cert", "--cacert", "--ca", "--identity", "--kubeconfig", "--env-file", "--private-key",
     "--key-file", "--credentials-file", "--tlskey", "--tlscert", "--tlscacert", "--keyfile", "--certfile"}
)  # fmt: skip


def _runs(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    return RUN


def _wrapper(*, skip: int = 0) -> _Judge:
    """Make a judge of a verb that runs the command behind its options and ``skip`` operands."""

    def judge(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
        line.saw(verb)
        start = _unwrapped(verb, words) + skip
        if start >= len(words):
            return RUN if verb != "exec" else NEUTRAL
        return max(line.verb(words[start:], command), _LEAST.get(verb, NEUTRAL))

    return judge


_LEAST = {"npx": RUN, "uvx": RUN, "parallel": RUN, "watch": RUN, "strace": RUN, "su": RUN}


def _env(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    start = _unwrapped("env", words)
    if "-S" in words[1:start]:
        line.saw(verb)
        return line.text(" ".join(words[words.index("-S") + 1 :]))
    if start < len(words):
        return _wrapper()(line, verb, words, command)
    line.saw(verb)
    _dump(line, command)
    return RUN


def _printenv(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    names = [word for word in words[1:] if word[:1] != "-"]
    if not names:
        _dump(line, command)
    elif any(map(is_secret_name, names)):
        line.found.has_credentials = True
    return RUN


def _command_v(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    if len(words) > 1 and words[1] in ("-v", "-V"):
        line.saw(verb)
        return NEUTRAL
    return _wrapper()(line, verb, words, command)


def _xargs(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    start = _unwrapped("xargs", words)
    if start >= len(words):
        return NEUTRAL
    inner = list(words[start:])
    before = command.before
    if "{}" not in inner:
        inner.append("{}")
    if (
        before is not None
        and before.words
        and before.words[0] in ("find", "fd", "ls", "echo", "printf", "rg", "grep")
    ):
        # What is named before the pipe is what the command gets.
        for word in before.words[1:]:
            if line.found.is_secret(word.replace("*", "x")):
                inner = [word if part == "{}" else part for part in inner]
                break
    return line.verb(inner, Command(inner))


def _eval(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    return max(RUN, line.text(" ".join(words[1:])))


def _shell(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    number = 1
    while number < len(words) and words[number][:1] in ("-", "+") and len(words[number]) > 1:
        word = words[number]
        if word[:1] == "-" and word[1:2] != "-" and "c" in word:
            return line.text(words[number + 1]) if number + 1 < len(words) else RUN
        number += 2 if word in ("-O", "+O", "--rcfile", "--init-file", "-o", "+o") else 1
    if number < len(words) and words[number] != "-":
        line.found.reads(words[number])
        return RUN
    before = command.before
    if command.stdin:
        return max(RUN, line.text(command.stdin))
    if command.piped and before is not None and before.words:
        if before.words[0] in ("echo", "printf"):
            return max(RUN, line.text(" ".join(word for word in before.words[1:] if word[:1] != "-")))
        return max(RUN, line.text(before.stdin)) if before.stdin else RUN
    return RUN


def _su(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    if "-c" in words:
        line.saw(verb)
        rest = words[words.index("-c") + 1 :]
        return max(RUN, line.text(rest[0])) if rest else RUN
    line.saw(verb)
    return RUN


def _source(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    for path in words[1:2]:
        line.found.reads(path)
    return RUN


_LITERAL = re.compile(r"'([^'\n]{1,512})'|\"([^\"\n]{1,512})\"")
_CODE_NETWORK = re.compile(
    r"urlopen|requests\.|httpx|aiohttp|http\.client|\bsocket\b|\bfetch\(|axios|XMLHttp|Net::HTTP|LWP::|open-uri"
    r"|smtplib|ftplib|paramiko|node:https?|require\(['\"]https?['\"]\)|file_get_contents\(['\"]http|curl_"
)
_CODE_SENDS = re.compile(r"post|put\b|patch\(|send|upload|data=|json=|body", re.IGNORECASE)
_CODE_ENVIRONMENT = re.compile(
    r"(?:print|log|echo|puts|write)\W{0,3}(?:dict\(|json\.dumps\(|JSON\.stringify\()?(?:os\.environ|process\.env|ENV)\)"
)


def _code(line: _Line, code: str) -> int:
    """Judge code given to an interpreter by its literals: paths of credentials, URLs beside what opens them."""
    code = code[:_MAX_CODE]
    for found in _LITERAL.finditer(code):
        literal = found[1] or found[2]
        if ("/" in literal or "." in literal) and line.found.is_secret(literal):
            line.found.reads(literal)
    if _CODE_ENVIRONMENT.search(code):
        line.found.has_credentials = True
    if _CODE_NETWORK.search(code):
        line.found.reaches_urls(code, "sink" if _CODE_SENDS.search(code) else "source")
        return NETWORK
    return RUN


def _interpreter(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    number = 1
    while number < len(words):
        word = words[number]
        if word in (
            "-c",
            "-e",
            "-E",
            "--eval",
            "-p",
            "-pe",
            "-ne",
            "-pE",
            "-nE",
            "--print",
            "-r",
            "-lne",
            "-lpe",
        ):
            return _code(line, words[number + 1]) if number + 1 < len(words) else RUN
        if word == "-m" and number + 1 < len(words):
            if words[number + 1] in ("pip", "uv", "twine", "ensurepip"):
                return line.verb(words[number + 1 :], command)
            line.saw(f"{verb} -m {words[number + 1]}"[:_MAX_VERB])
            return RUN
        if word[:1] != "-":
            line.found.reads(word)
            return RUN
        number += 2 if word in ("-W", "-X", "-I", "--require", "--import", "--loader", "--env-file") else 1
    before = command.before
    if command.stdin:
        return _code(line, command.stdin)
    if command.piped and before is not None and before.words:
        if before.stdin:
            return _code(line, before.stdin)
        if before.words[0] in ("echo", "printf"):
            return _code(line, " ".join(before.words[1:]))
    return RUN


def _powershell(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    for number, word in enumerate(words):
        name = word.lower()
        if number and name in ("-c", "-command", "/c", "/k", "-commandwithargs"):
            return max(NEUTRAL, line.text(" ".join(words[number + 1 :]), is_windows=True))
        if number and name in ("-f", "-file"):
            _read_each(line, words[number + 1 : number + 2])
            return RUN
        if number and name[:1] not in ("-", "/"):
            return RUN if verb == "cmd" else line.text(" ".join(words[number:]), is_windows=True)
    return RUN


_AGENTS = _words("claude codex gemini copilot opencode aider goose cursor-agent amp qwen droid")
_AGENT_CARE = _words(
    "mcp config update doctor login logout auth plugin help completion install upgrade models"
)


def _agent(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    first = words[1] if len(words) > 1 else ""
    return RUN if first in _AGENT_CARE else SPAWN


# --- network -----------------------------------------------------------------------------------------------


def _reach(line: _Line, word: str, role: str) -> None:
    if not _is_switch(word):
        line.found.reaches(word, "sink" if "$(" in word else role)


def _is_switch(word: str) -> bool:
    return word[:1] == "-" or not word


_BODY = frozenset(
    {"-d", "--data", "--data-binary", "--data-raw", "--data-ascii", "--data-urlencode", "--json", "-F", "--form",
     "--form-string", "-T", "--upload-file"}
)  # fmt: skip


def _curl(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split("curl", words[1:])
    role = "source"
    for name, value in options:
        if name in _BODY:
            role = "sink"
            if name in ("-T", "--upload-file"):
                line.found.reads_tree(value)
            elif "@" in value and name not in ("--data-raw", "--form-string"):
                at = value.partition("@" if name not in ("-F", "--form") else "=@")[2]
                if value[0] == "@" or name in ("-F", "--form", "--data-urlencode"):
                    line.found.reads(at.partition(";")[0])
        elif name in ("-X", "--request"):
            if value.upper() not in ("GET", "HEAD", "OPTIONS", ""):
                role = "sink"
        elif name in ("-o", "--output", "-D", "--dump-header", "-c", "--cookie-jar"):
            line.found.writes(value)
        elif name in ("-K", "--config", "-b", "--cookie"):
            if name in ("-K", "--config") or "=" not in value:
                line.found.reads(value, is_secret_shown=False)
        elif name == "--url":
            operands.append(value)
        elif (
            name in ("-H", "--header", "-u", "--user", "-A", "--user-agent", "-e", "--referer")
            and "$(" in value
        ):
            role = "sink"
    if any(name in ("-G", "--get") for name, _ in options) and role == "sink":
        role = "sink"
    for operand in operands:
        _reach(line, operand, role)
    return NETWORK


def _wget(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split("wget", words[1:])
    role = "source"
    for name, value in options:
        if name in ("--post-data", "--body-data"):
            role = "sink"
        elif name in ("--post-file", "--body-file"):
            role = "sink"
            line.found.reads(value)
        elif name in ("-O", "--output-document", "-o", "--output-file", "-P", "--directory-prefix"):
            line.found.writes(value)
        elif name in ("-i", "--input-file"):
            line.found.reads(value)
        elif name == "--method" and value.upper() not in ("GET", "HEAD"):
            role = "sink"
    for operand in operands:
        _reach(line, operand, role)
    return NETWORK


def _httpie(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, _ = _split(verb, words[1:])
    method = operands[0] if operands else ""
    is_method = method.isalpha() and method.isupper()
    rest = operands[1:] if is_method else operands
    is_sending = (is_method and method not in ("GET", "HEAD", "OPTIONS")) or command.piped
    for item in rest[1:]:
        if "@" in item:
            line.found.reads(item.rpartition("@")[2])
            is_sending = True
        elif ("=" in item and "==" not in item) or ":=" in item:
            is_sending = is_sending or not is_method
    for url in rest[:1]:
        _reach(line, url, "sink" if is_sending else "source")
    return NETWORK


def _nc(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split("nc", words[1:])
    names = {name for name, _ in options}
    if "-z" in names:
        role = "source"
    else:
        is_fed = (
            command.piped or command.stdin or any(operator[0] == "<" for operator, _ in command.redirects)
        )
        role = "sink" if is_fed or names & {"-e", "-c", "-l"} else "source"
    if "-l" not in names:
        for host in operands[:1]:
            _reach(line, host, role)
    return NETWORK


def _socat(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    for word in words[1:]:
        kind, _, rest = word.partition(":")
        if kind.upper().startswith(("TCP", "UDP", "OPENSSL", "SSL", "PROXY", "SOCKS")) and rest:
            line.found.reaches(rest.partition(",")[0], "sink")
        elif kind.upper() in ("FILE", "OPEN") and rest:
            line.found.reads(rest.partition(",")[0])
        elif kind.upper() in ("EXEC", "SYSTEM") and rest:
            line.text(rest.partition(",")[0])
    return NETWORK


def _ssh(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    start = _unwrapped("ssh", words)
    if start < len(words):
        is_fed = (
            command.piped or command.stdin or any(operator[0] == "<" for operator, _ in command.redirects)
        )
        is_tunnel = any(word[:2] in ("-R", "-L", "-D", "-w") for word in words[1:start])
        _reach(line, words[start], "sink" if is_fed or is_tunnel else "source")
        # What runs there touches files of that host, not of this one; its secrets are secrets all the same.
        if start + 1 < len(words):
            there = Findings(line.found.is_secret_path)
            _Line(there, {}).text(" ".join(words[start + 1 :])[:8192])
            line.found.has_credentials |= there.has_credentials
    return NETWORK


_REMOTE = re.compile(r"(?:[^\s/@:]{1,128}@)?(\[[0-9A-Fa-f:.]+\]|[^\s/:]{2,255}):(?!//)")


def _scp(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, _ = _split(verb, words[1:])
    is_remote = [_REMOTE.match(path) is not None or has_url(path) for path in operands]
    if verb == "sftp":
        for host in operands[:1]:
            _reach(line, host.partition(":")[0], "sink" if command.piped or command.redirects else "source")
        return NETWORK
    for number, path in enumerate(operands):
        is_target = number == len(operands) - 1 and number > 0
        remote = _REMOTE.match(path)
        if remote is not None:
            line.found.reaches_host(remote[1], "sink" if is_target else "source")
        elif is_remote[number]:
            line.found.reaches(path, "sink" if is_target else "source")
        elif is_target:
            line.found.writes(path)
        else:
            line.found.reads_tree(path)
    return NETWORK if any(is_remote) or verb == "scp" else WRITE


def _hosts(role: str, *, count: int = 1) -> _Judge:
    """Make a judge of a verb whose first operands are hosts or URLs."""

    def judge(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
        line.saw(verb)
        operands, options = _split(verb, words[1:])
        for word in operands[:count]:
            _reach(line, word.lstrip("@"), role)
        for _, value in options:
            if has_url(value):
                _reach(line, value, role)
        return NETWORK

    return judge


def _open(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    rank = RUN
    for word in words[1:]:
        if has_url(word) and line.found.reaches(word, "sink" if "$(" in word else "source"):
            rank = NETWORK
    return rank


def _mail(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    values = iter(words[1:])
    for word in values:
        if word in ("-a", "-A", "--attach", "--attachment"):
            line.found.reads(next(values, ""))
        elif word in ("-s", "-S", "-f", "-F", "--subject", "--body", "-r"):
            next(values, "")
        elif "@" in word and word[:1] != "@":
            line.found.sends_to(word)
    return NETWORK


def _openssl(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    first = words[1] if len(words) > 1 else ""
    line.saw(f"openssl {first}".strip()[:_MAX_VERB])
    rank = RUN
    for number, word in enumerate(words[:-1]):
        value = words[number + 1]
        if word == "-connect":
            _reach(line, value, "sink" if command.piped or command.redirects else "source")
            rank = NETWORK
        elif word == "-in":
            shows = first not in ("x509", "verify", "req", "crl", "dgst", "s_client")
            rank = max(rank, _read(line, value, is_secret_shown=shows))
        elif word in ("-out", "-keyout") and line.found.writes(value):
            rank = max(rank, WRITE)
    return rank


#: Subcommands of git by what they do; ``add`` and all others that are not here write to the repository.
_GIT_READS = _words(
    "status log diff show blame annotate grep ls-files ls-tree rev-parse rev-list merge-base cat-file describe"
    " shortlog show-ref reflog whatchanged name-rev for-each-ref check-ignore check-attr diff-tree diff-index"
    " diff-files count-objects fsck var cherry range-diff symbolic-ref verify-commit verify-tag show-branch archive"
    " help version bisect"
)
_GIT_NETWORK = _words(
    "pull fetch clone ls-remote fetch-pack remote-https request-pull send-email imap-send svn p4"
)


def _git(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    start = _unwrapped("git", words)
    if start >= len(words):
        line.saw("git")
        return RUN
    name = words[start]
    line.saw(f"git {name}"[:_MAX_VERB])
    operands, options = _split("git", words[start + 1 :])
    names = {option for option, _ in options}
    first = operands[0] if operands else ""
    if name in _GIT_READS:
        for operand in operands:
            revision, is_path, path = operand.partition(":")
            shown = path if is_path and name in ("show", "cat-file") else operand
            if name not in ("check-ignore", "ls-files", "status", "log") and line.found.is_secret(shown):
                line.found.reads(shown)
        return READ
    if name in ("push", "send-pack", "send-email", "imap-send"):
        _git_remote(line, first, "sink")
        return NETWORK
    if name in _GIT_NETWORK:
        _git_remote(line, first, "source")
        if name == "clone" and len(operands) > 1:
            line.found.writes(operands[1])
        return NETWORK
    if name == "clean":
        return READ if "-n" in names or "--dry-run" in names else DELETE
    if name == "rm":
        for path in operands:
            line.found.deletes(path)
        return WRITE if "--cached" in names else DELETE
    if name in ("add", "stage"):
        _read_each(line, operands)
        return WRITE
    if name == "init":
        return CREATE
    if name == "remote":
        if first in ("", "show", "get-url", "-v"):
            return NETWORK if first == "show" and len(operands) > 1 else READ
        if first in ("add", "set-url"):
            for operand in operands[2:]:
                _git_remote(line, operand, "sink")
            return WRITE
        return NETWORK if first in ("update", "prune") else WRITE
    if name == "submodule":
        return NETWORK if first in ("update", "add", "sync") else READ
    if name == "lfs":
        return NETWORK if first in ("push", "pull", "fetch") else RUN
    if name == "worktree":
        if first == "add":
            line.found.writes(operands[1] if len(operands) > 1 else "")
            return CREATE
        return READ if first in ("", "list") else DELETE if first in ("remove", "prune") else WRITE
    if name in ("branch", "tag", "notes"):
        is_asking = not operands or names & {
            "-l",
            "--list",
            "--contains",
            "--merged",
            "--no-merged",
            "--show-current",
        }
        return READ if is_asking and not names & {"-d", "-D", "-m", "-M", "-f", "--delete"} else WRITE
    if name == "stash":
        return READ if first in ("list", "show") else WRITE
    if name == "config":
        is_asking = names & {"--get", "--get-all", "--get-regexp", "-l", "--list"} or first in ("get", "list")
        return READ if is_asking or len(operands) == 1 else WRITE
    if name == "apply":
        _read_each(line, operands)
        return READ if names & {"--check", "--stat"} else WRITE
    return WRITE


def _git_remote(line: _Line, remote: str, role: str) -> None:
    found = _REMOTE.match(remote)
    if has_url(remote):
        line.found.reaches(remote, role)
    elif found is not None:
        line.found.reaches_host(found[1], role)
    elif remote and remote[:1] not in ("/", ".", "~", "$"):
        line.found.add("host", role, f"git-remote:{remote}")


_ASKS = _words(
    "view list status diff checks browse search watch download clone ls get describe show cat logs log events top"
    " explain version whoami info api-resources cluster-info help history verify"
)


def _service(host: str) -> _Judge:
    """Make a judge of a service's client; what its subcommand asks for tells source from sink."""

    def judge(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
        operands, options = _split(verb, words[1:])
        line.saw(" ".join([verb, *operands[:1]])[:_MAX_VERB])
        names = {name for name, _ in options}
        is_asking = any(
            word in _ASKS or word.startswith(("describe-", "get-", "list-")) for word in operands[:3]
        )
        if operands[:1] == ["api"]:
            method = next((value for name, value in options if name in ("-X", "--method")), "")
            method = method or next(
                (words[n + 1] for n, w in enumerate(words[:-1]) if w in ("-X", "--method")), ""
            )
            is_fields = bool(names & {"-f", "-F", "--field", "--raw-field", "--input"})
            is_asking = method.upper() == "GET" or (not method and not is_fields)
        role = "source" if is_asking else "sink"
        for number, word in enumerate(operands):
            if has_url(word):
                is_last = number == len(operands) - 1
                line.found.reaches(word, "sink" if is_last and not is_asking else "source")
        if host:
            line.found.reaches_host(host, role)
        return NETWORK

    return judge


def _kubectl(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    operands, options = _split("kubectl", words[1:])
    line.saw(" ".join([verb, *operands[:1]])[:_MAX_VERB])
    if operands[:2] == ["config", "view"] and "--raw" in words:
        line.found.has_credentials = True
    if operands[:1] == ["config"]:
        return RUN
    if operands[:1] == ["exec"] and "--" in words:
        there = Findings(line.found.is_secret_path)
        _Line(there, {}).command(Command(list(words[words.index("--") + 1 :])))
        line.found.has_credentials |= there.has_credentials
    for name, value in options:
        if name in ("-f", "--filename") and not has_url(value):
            line.found.reads(value)
    return NETWORK


#: What of a package manager goes to the network; the rest builds, runs or asks.
_FETCHING: dict[str, frozenset[str]] = {
    "npm": _words("install i ci add update up upgrade publish unpublish audit view info show outdated login adduser"
                  " search dist-tag create init exec-remote install-test it ping whoami deprecate access"),
    "pnpm": _words("install i add update up publish audit outdated dlx fetch create login"),
    "yarn": _words("install add up upgrade publish audit dlx create login info outdated npm"),
    "bun": _words("install i add update publish create outdated"),
    "deno": _words("install add publish upgrade cache"),
    "pip": _words("install download index search wheel"),
    "uv": _words("add sync lock publish tool"),
    "poetry": _words("install add update publish lock search"),
    "pdm": _words("install add update publish lock sync"),
    "pipenv": _words("install update sync lock"),
    "hatch": _words("publish"),
    "twine": _words("upload check-remote"),
    "conda": _words("install create update search"),
    "mamba": _words("install create update search"),
    "cargo": _words("install publish add update fetch login search yank owner"),
    "go": _words("get"),
    "gem": _words("install update push fetch search"),
    "bundle": _words("install update add outdated"),
    "composer": _words("install update require create-project"),
    "brew": _words("install update upgrade tap fetch search info cask bundle reinstall"),
    "apt": _words("install update upgrade full-upgrade dist-upgrade download source build-dep search"),
    "apt-get": _words("install update upgrade dist-upgrade download source build-dep"),
    "dnf": _words("install update upgrade download search check-update"),
    "yum": _words("install update upgrade search check-update"),
    "apk": _words("add update upgrade fetch search"),
    "zypper": _words("install in update up refresh search"),
    "snap": _words("install refresh find download"),
    "flatpak": _words("install update search"),
    "choco": _words("install upgrade search"),
    "winget": _words("install upgrade search"),
    "scoop": _words("install update search"),
    "mise": _words("install i use upgrade up ls-remote self-update"),
    "asdf": _words("install plugin latest update"),
    "nvm": _words("install ls-remote"),
    "rustup": _words("install update toolchain component target self default"),
    "pre-commit": _words("autoupdate install-hooks"),
    "terraform": _words("init apply plan destroy refresh import login get"),
    "tofu": _words("init apply plan destroy refresh import login get"),
    "pulumi": _words("up preview destroy refresh login"),
    "helm": _words("install upgrade pull push repo search uninstall dependency status list rollback get"),
    "ansible": _words(""),
    "docker": _words("push pull login search logout"),
    "code": _words(""),
}  # fmt: skip
#: Subcommands that run the command behind them.
_RUNNING: dict[str, frozenset[str]] = {
    "npm": _words("exec x"),
    "pnpm": _words("exec"),
    "yarn": _words("exec"),
    "bun": _words("x"),
    "uv": _words("run"),
    "poetry": _words("run"),
    "pdm": _words("run"),
    "pipenv": _words("run"),
    "hatch": _words(""),
    "conda": _words(""),
    "bundle": _words("exec"),
    "mise": _words("exec x"),
}
_SENDING = _words("publish push upload")


def _manager(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    name = verb if verb in _FETCHING else verb.rstrip("0123456789.-")
    start = _unwrapped(name, words)
    if start >= len(words):
        line.saw(verb)
        # Without a subcommand, these install.
        return NETWORK if verb in ("yarn", "pnpm") and len(words) == 1 else RUN
    sub = words[start]
    if sub == "pip" and name == "uv":
        return _manager(line, "pip", words[start:], command)
    line.saw(f"{verb} {sub}"[:_MAX_VERB])
    if sub in _RUNNING.get(name, ()):
        inner = start + _unwrapped(name, words[start:])
        return max(RUN, line.verb(words[inner:], command)) if inner < len(words) else RUN
    is_network = sub in _FETCHING[name]
    rest = words[start + 1 :]
    if name == "go":
        is_network |= sub == "install" and any("@" in word for word in rest)
        is_network |= sub == "mod" and rest[:1] in (["download"], ["tidy"], ["vendor"])
    elif name == "helm" and sub == "dependency":
        is_network = True
    elif name == "docker":
        return _docker(line, sub, words, start, command)
    if is_network:
        for word in rest:
            value = word.partition("=")[2] if word[:2] == "--" and "=" in word else word
            if has_url(value.removeprefix("git+")):
                line.found.reaches(value.removeprefix("git+"), "sink" if sub in _SENDING else "source")
        return NETWORK
    return RUN


def _docker(line: _Line, sub: str, words: Sequence[str], start: int, command: Command) -> int:
    if sub in ("compose", "container"):
        inner = start + _unwrapped("docker", words[start:])
        if inner >= len(words):
            return RUN
        sub, start = words[inner], inner
    if sub == "exec":
        inner = start + _unwrapped("docker", words[start:]) + 1
        return max(RUN, line.verb(words[inner:], command)) if inner < len(words) else RUN
    if sub == "cp":
        operands, _ = _split("docker", words[start + 1 :])
        for path in operands[:1]:
            line.found.reads(path.rpartition(":")[2])
        for path in operands[1:2]:
            line.found.writes(path.rpartition(":")[2])
        return WRITE
    if sub in _FETCHING["docker"]:
        if sub in ("push", "pull"):
            image = next((word for word in words[start + 1 :] if word[:1] != "-"), "")
            registry, is_host, _ = image.partition("/")
            if is_host and ("." in registry or ":" in registry):
                line.found.reaches_host(registry.partition(":")[0], "sink" if sub == "push" else "source")
        return NETWORK
    return RUN


_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1", "/tmp", "/var/run/postgresql"})


def _database(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    operands, options = _split("psql" if verb in ("psql", "pg_dump", "pg_restore") else "mysql", words[1:])
    rank = RUN
    for word in [*operands, *(value for _, value in options)]:
        if has_url(word):
            before = line.found.reaches(word, "sink")
            rank = NETWORK if before else rank
    for name, value in options:
        if name in ("-h", "--host"):
            if value not in _LOCAL:
                line.found.reaches_host(value, "sink")
                rank = NETWORK
        elif name in ("-f", "--file"):
            line.found.reads(value)
    return rank


def _crontab(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    line.saw(verb)
    return READ if "-l" in words else WRITE


def _directory(line: _Line, verb: str, words: Sequence[str], command: Command) -> int:
    # PowerShell lists drives of all kinds; one of them is the environment.
    if any(word.lower().rstrip("/*") == "env:" for word in words[1:]):
        _dump(line, command)
    return _reader("ls", implied=True, names_only=True)(
        line, verb, [w for w in words if not _SWITCH.match(w)], command
    )


def _table() -> dict[str, _Judge]:
    table: dict[str, _Judge] = {}

    def put(verbs: str, judge: _Judge) -> None:
        for verb in verbs.split():
            table[verb] = judge

    for verb in (
        "cat less more most bat head tail wc nl tac sort uniq cut column od xxd hexdump strings fold paste cmp comm diff"
        " join expand fmt view pygmentize zcat bzcat xzcat zless iconv base64 base32 cksum md5sum sha1sum sha256sum"
        " sha512sum shasum md5 b2sum sum delta difft look pr csvlook xmllint plutil exiftool pdftotext file mdcat glow"
        " get-content gc get-filehash import-csv sqlite3_analyzer tokei cloc scc"
    ).split():
        put(verb, _reader(verb))
    for verb in "grep rg ag ack jq yq awk ast-grep sg xq gron htmlq select-string sls findstr".split():
        put(verb, _reader(verb, skip=1, implied=verb in ("rg", "ag", "ack", "ast-grep", "sg")))
    for verb in "ls tree du df stat lsof realpath readlink namei getfacl lsattr test-path get-item resolve-path".split():
        put(verb, _reader(verb, implied=verb in ("ls", "tree", "du", "df"), names_only=True))
    put("dir get-childitem gci vdir", _directory)
    put("sed", _sed)
    put("find", _find)
    put("fd", _fd)
    put("tar", _tar)
    put("zip 7z 7za rar", _zip)
    put("unzip unrar", _unzip)
    put("gzip gunzip bzip2 bunzip2 xz unxz zstd unzstd lz4 compress", _compress)
    put("touch mkdir mktemp mkfifo mknod new-item ni md", _writer(CREATE))
    put("tee truncate sponge set-content add-content out-file sc ac fallocate export-csv", _writer(WRITE))
    put("chmod chown chgrp setfacl chattr xattr icacls attrib takeown", _attributes)
    put("rm rmdir unlink shred srm trash trash-put del erase rd remove-item ri wipe", _delete)
    put(
        "cp mv install ln copy move xcopy robocopy copy-item move-item cpi mi rename ren rename-item mklink ditto",
        _copy,
    )
    put("type", _type)
    put("dd", _dd)
    put("apply_patch applypatch", _apply_patch)
    put("patch", _patch)
    put("split csplit", _reader("split"))
    put("vi vim nvim nano emacs ed ex pico micro code", _editor)
    put("crontab", _crontab)
    put("sudo doas nice nohup stdbuf time setsid ionice unbuffer caffeinate builtin exec coproc chrt strace ltrace watch"
        " parallel npx uvx winpty busybox command_not_found noglob nocorrect runuser setpriv direnv gtime rlwrap"
        " firejail bwrap proxychains proxychains4 torsocks faketime systemd-run", _wrapper())  # fmt: skip
    put("timeout flock chroot taskset nsenter", _wrapper(skip=1))
    put("env", _env)
    put("printenv", _printenv)
    put("command", _command_v)
    put("xargs", _xargs)
    put("eval invoke-expression iex", _eval)
    put(" ".join(_SHELLS), _shell)
    put("su", _su)
    put("source .", _source)
    put("python node ruby php lua osascript Rscript julia pypy ipython tsx ts-node", _interpreter)
    put("perl", _perl)
    put("powershell pwsh cmd", _powershell)
    put(" ".join(_AGENTS), _agent)
    put("curl", _curl)
    put("wget wget2", _wget)
    put("http https httpie xh curlie", _httpie)
    put("nc", _nc)
    put("socat", _socat)
    put("ssh mosh", _ssh)
    put("scp rsync sftp", _scp)
    put("telnet ftp tftp lftp ncftp ping ping6 nslookup whois traceroute tracepath mtr nmap masscan rustscan aria2c axel"
        " invoke-webrequest iwr invoke-restmethod irm start-bitstransfer test-netconnection resolve-dnsname w3m lynx"
        " links youtube-dl yt-dlp websocat grpcurl wscat ab wrk hey k6 certutil bitsadmin lwp-request", _hosts("source"))  # fmt: skip
    put("dig host drill kdig", _hosts("source", count=4))
    put("ngrok cloudflared localtunnel lt bore frpc tailscale", _hosts("sink"))
    put("open xdg-open start", _open)
    put("mail mailx mutt neomutt sendmail msmtp swaks send-mailmessage", _mail)
    put("openssl", _openssl)
    put("git", _git)
    put("gh hub", _service("github.com"))
    put("glab", _service("gitlab.com"))
    put("aws gcloud gsutil bq az doctl heroku vercel netlify fly flyctl wrangler firebase supabase railway render linode-cli"
        " hcloud oci ibmcloud s3cmd s5cmd rclone azcopy b2 mc slack stripe twilio sentry-cli datadog jira linear vault"
        " op bw lpass doppler circleci buildkite-agent eksctl gcloud-crc32c ibmcloud cf", _service(""))  # fmt: skip
    put("kubectl oc k9s", _kubectl)
    put("psql mysql pg_dump pg_restore mysqldump mongo mongosh mongodump redis-cli sqlcmd cqlsh clickhouse-client",
        _database)  # fmt: skip
    put(" ".join(_FETCHING), _manager)
    return table


_JUDGES = _table()
