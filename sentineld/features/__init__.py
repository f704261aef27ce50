"""Features: what one tool call does, as pairs of a name and a value that habits can count.

Names stand for consequences: ``out.*`` (something leaves), ``net.*`` and ``fetch.*`` (something is fetched),
``delete.*``, ``write.*``, ``take.*``, ``later.*`` (it runs later), ``agent.*`` (agents obey it), ``guard.*``
(a guard is taken away), ``secret.*``, ``power.*``, ``run.*``. Values are hosts, recipients, verbs, options,
places and short arguments; nothing of a tool's output is read, and no free text.

Some are raw, because only the session says what they mean; detectors turn them into features of their own:
``path.sink``, ``path.source``, ``path.delete``, ``path.setting`` (normal paths; the last one is written with
what takes no check of an agent's away: see ``features.guards``), ``secret`` (the path), ``deletes``
(``all``: see ``MASS``), ``to.host``
and ``to.name`` (whom a tool sends to, as an entity and as an argument), ``call`` (a hash of tool and
arguments) and ``act`` (the action, for the order).

Bounded: 16 entities and 16 verbs of a call, 64 members an object, 6 levels, 64 characters a value.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from sentineld.arguments import command_of
from sentineld.decode import encode_element
from sentineld.event import Entity, Feature
from sentineld.features.guards import takes_nothing
from sentineld.features.lines import Lines
from sentineld.features.paths import normal, traits
from sentineld.features.terms import MAX_BLOB, MAX_TERM, blob_bits, leaves, term
from sentineld.shell import MAX_KEPT, Command, parse_kept
from sentineld.taxonomy import Call, Taxonomy
from sentineld.verbs.line import MAX_STEPS
from sentineld.verbs.options import names

#: What features are called and what they hold: another number, and starters are to be made anew
#: (bench/starter.py).
VERSION = 1

_LOCAL = re.compile(
    r"git-remote:origin\Z|localhost|127\.\d+\.\d+\.\d+|::1|0\.0\.0\.0|\[::1?\]|host\.docker\.internal"
    r"|.*\.(?:local|localhost|test|example)\Z"
)
#: Whose place on a shared host it is.
_TENANT = re.compile(
    r"(?:github|gitlab|bitbucket|codeberg|huggingface|gist\.github|raw\.githubusercontent)\.(?:com|org|co)"
    r"[:/]([\w.-]+)|repos/([\w.-]+)/|(?:^|\s)(?:-R|--repo)[ =]([\w.-]+)/"
)
#: What one of is in every line that has any of these.
_TENANT_PARTS = (".co", ".org", "repos/", "-R", "--repo")
#: Hosts on which anybody has a place.
_SHARED = names(
    "github.com gitlab.com bitbucket.org api.github.com gist.github.com raw.githubusercontent.com"
    " codeberg.org huggingface.co"
)
#: Mail providers whose domain says nothing about whose address it is.
_MAILBOXES = names(
    "gmail.com googlemail.com outlook.com hotmail.com live.com yahoo.com icloud.com me.com aol.com gmx.de"
    " gmx.net web.de mail.com proton.me protonmail.com yandex.ru mail.ru qq.com 163.com zoho.com"
)
#: Tools that change something outside; those that take something away.
_CHANGES = re.compile(
    r"(?:^|[_.\-])(?:send|post|create|add|invite|share|update|set|delete|remove|transfer|pay|reserve|book"
    r"|schedule|reschedule|cancel|append|write|publish|upload|move|grant|forward|reply|submit|execute|approve)"
    r"(?:[_.\-]|$)"
)
_REMOVES = re.compile(
    r"(?:^|[_.\-])(?:delete|remove|cancel|revoke|drop|purge|trash|destroy|kick|ban|archive)(?:[_.\-]|$)"
)
#: Arguments that say to whom or where to; and which thing.
_TARGET = re.compile(
    r"recipient|participant|attendee|member|(?:^|[_.])(?:to|cc|bcc|user|users|channel|channels|account|url|email"
    r"|address|owner|assignee|team|hotel|restaurant|company|iban|phone)(?:$|[_.])|_(?:user|email|account|url)$"
)
_IDENTIFIES = re.compile(r"(?:^|[_.])(?:ids?|name|user|file|path|key|uid)$|_id$")
#: Runs as somebody else, or outside of what the session's own processes may do.
_POWER = names(
    "sudo doas su pkexec runas docker podman nerdctl nsenter chroot unshare launchctl systemctl service"
    " crontab at batch dscl useradd adduser usermod passwd visudo spctl csrutil tccutil defaults sysctl"
    " iptables pfctl ufw mount umount insmod kextload setcap security kubectl helm terraform schtasks reg sc"
    " setfacl osascript screen tmux systemd-run loginctl"
)
_INTERPRETER = re.compile(
    r"(?:python|pypy|node|ruby|php|perl|lua|deno|bun|osascript|Rscript|julia|pwsh|powershell|bash|sh"
    r"|zsh)[\d.]*\Z"
)
_OUTWARD = re.compile(
    r" (?:publish|push|upload|deploy|release|create|send|share|sync|put|import|comment|secret|gist"
    r"|key|ssh-key)\b"
)
#: An interpreter's code that reaches the network.
_REACHES = re.compile(
    r"urllib|urlopen|\brequests\b|http\.client|HTTPS?Connection|httpx|aiohttp|socket\.|ftplib|smtplib|paramiko"
    r"|fetch\(|net\.connect|axios|Net::HTTP|LWP::|fsockopen|curl_|TCPSocket|WebClient|Invoke-WebRequest"
)
#: Sockets of container engines: whoever may write there is root.
_ENGINE = re.compile(r"(?:docker|containerd|podman|crio)\.sock")
#: What deletes though it is not made for that.
_MAY_DELETE = frozenset({"find", "fd", "rsync", "git clean", "xargs"})
#: What a call that deletes whole directories, or all that a pattern or a search finds, has.
MASS: Feature = ("deletes", "all")
_MASS = re.compile(
    r"\s--?(?:\w*r\w*|recursive|delete\S*|exec\w*)(?=\s|\Z)|rmtree|\*|\bxargs\b|recurse", re.IGNORECASE
)
#: An interpreter's code that deletes directories.
_REMOVING_CODE = re.compile(r"\b(?:rmtree|rm_rf|rimraf|rmSync)\b")
#: Absolute paths somewhere in code; a redirect into what a substitution finds.
_PATHS = re.compile(r"(?<![\w.~/])(?:~|\$HOME)?/[\w.@%+-][\w.@%+/-]{2,255}")
_MAX_PATHS = 8
_COMPUTED = re.compile(r">\s*\"?\$\(")
_OF_CLASS = {
    "network_request": "out.verb",
    "file_delete": "delete.verb",
    "file_write": "write.verb",
    "file_create": "write.verb",
    "shell_exec": "run.verb",
    "agent_spawn": "run.verb",
}
#: Classes that a line may be of though none of its verbs is.
_OWN_CLASSES = frozenset({"network_request", "file_delete"})
#: Options by which a shell is given a script.
_SCRIPT_OPTIONS = frozenset({"-c", "-lc", "-ic"})
#: Characters of a line that are looked at.
_MAX_LINE = MAX_KEPT
_MAX_TENANTS = 8
#: Verbs that write what their line says, if nothing is read.
_SAYING = frozenset({"cat", "tee", "echo", "printf", "mkdir", "cd"})
#: Of paths, which are looked at as entities.
_PATH_STARTS = frozenset({"/", "~"})
_MAX_VALUE = 64

#: How many tools are kept by their name, and arguments by tool, place and value, texts and others apart:
#: about 5 MiB at worst.
_KEPT_TOOLS = 1024
_KEPT_ARGUMENTS = 4096
_KEPT_VALUES = 1024
#: Longest name of a tool and place of an argument, largest number, that are kept.
_MAX_KEPT_TOOL = 128
_MAX_KEPT_INT = 1 << 63
_SCALARS = frozenset({float, bool, type(None)})
#: How many command lines are kept, and the longest, characters: about 5 MiB at worst. Agents run four in ten
#: of their lines again.
_KEPT_LINES = 512
_MAX_KEPT_LINE = 256


class _Tool(NamedTuple):
    """What a tool's name says: its features (server or name, then method), its action, what it does."""

    first: tuple[Feature, ...]
    act: Feature
    does_change: bool
    does_remove: bool


class _Verb(NamedTuple):
    """What is known of a verb by itself; ``feature`` is None where it says nothing."""

    name: str
    event_class: str
    feature: Feature | None
    is_interpreter: bool


class _Line(NamedTuple):
    """Features of a call that runs a command line, in the three places where they stand among the others."""

    secret: tuple[Feature, ...]
    deletes: tuple[Feature, ...]
    rest: tuple[Feature, ...]


class Features:
    """Reads the features of calls; ``taxonomy`` says of what class a verb is and which paths are secret.

    Calls repeat in parts, so parts are kept: a tool by its name, a verb, an argument by tool, place and
    value, a command line by its text and judgement (see ``_KEPT_LINES``). What is longer than anybody types
    is read anew each time, so that nobody fills memory with it.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._class_of = lru_cache(4096)(self._find_class)
        self._verb = lru_cache(4096)(self._find_verb)
        self._tool = lru_cache(_KEPT_TOOLS)(_find_tool)
        self._line = lru_cache(_KEPT_LINES)(self._find_line)
        self._text = lru_cache(_KEPT_ARGUMENTS)(self._find_argument)
        self._value = lru_cache(_KEPT_VALUES, typed=True)(self._find_argument)
        self._lines = Lines(self._class_of, is_local)

    def describe(self, tool: str, arguments: object) -> Call:
        """Return what a call does, with its features."""
        call = self._taxonomy.classify(tool, arguments)
        return Call(call.event_class, call.entities, call.commands, self.of(tool, arguments, call))

    def of(
        self, tool: str, arguments: object, call: Call, *, has_failed: bool = False
    ) -> tuple[Feature, ...]:
        """Return the features of a call, each once.

        ``has_failed``: its own record says that it did nothing. A command line may have done a part of it.
        """
        event_class, entities, verbs, _ = call
        # To tell the latest few calls of a session apart: who collides is taken to repeat itself.
        digest = ("call", f"{crc32(encode_element((tool, arguments))):x}")
        named = self._tool(tool) if len(tool) <= _MAX_KEPT_TOOL else _find_tool(tool)
        if verbs:
            command = command_of(arguments)
            is_short = type(command) is str and len(command) <= _MAX_KEPT_LINE
            line = (self._line if is_short else self._find_line)(command, call)
            return (*line.secret, *named.first, *line.deletes, digest, *line.rest)
        found: list[Feature] = []
        if not has_failed:
            if len(entities) == 1 and (entity := entities[0])[1] == "source" and entity[0] == "path":
                # As most calls.
                found.append(("path.source", normal(entity[2])))
            elif entities:
                self._add_entities(found, tool, call, arguments, event_class == "file_delete")
            if arguments or type(arguments) is not dict:
                self._add_arguments(found, tool, arguments, event_class == "network_request")
            if len(found) > 1:
                found = [*dict.fromkeys(found)]
        # What stands before has names that nothing else has.
        if event_class == "credential_access":
            return ("secret", self._secret_of(entities)), *named.first, digest, named.act, *found
        if event_class == "file_delete":
            return *named.first, ("deletes", ""), digest, named.act, *found
        return *named.first, digest, named.act, *found

    def _find_line(self, command: str | tuple[str, ...] | None, call: Call) -> _Line:
        event_class, entities, verbs, _ = call
        line, commands = _parts_of(command)
        known = [*map(self._verb, verbs)]
        interpreter = next((verb.name for verb in known if verb.is_interpreter), "")
        is_delete = (
            event_class == "file_delete"
            # A line deletes that is not told by its class.
            or ("--del" in line and "rsync" in verbs)
            or (interpreter != "" and _REMOVING_CODE.search(line) is not None)
        )
        found: list[Feature] = [("act", verbs[-1])]
        if entities:
            is_said = _SAYING.issuperset(verbs) and "$(" not in line and "`" not in line
            self._add_entities(found, "", call, line if is_said else None, is_delete)
        if event_class in _OWN_CLASSES and all(verb.event_class != event_class for verb in known):
            if event_class == "network_request":
                found.append(("net.code" if known[-1].is_interpreter else "net.by", verbs[-1]))
            else:
                found += [
                    ("delete.verb", verb.name)
                    for verb in known
                    if verb.name in _MAY_DELETE or verb.is_interpreter
                ]
        found += [verb.feature for verb in known if verb.feature is not None]
        found += self._lines.of(commands, len(line) <= _MAX_KEPT_LINE)
        _add_rest(found, line, call, interpreter, is_delete)
        secret = (("secret", self._secret_of(entities)),) if event_class == "credential_access" else ()
        deletes = (MASS if _MASS.search(line) else ("deletes", ""),) if is_delete else ()
        return _Line(secret, deletes, tuple(dict.fromkeys(found)))

    def _add_entities(
        self, found: list[Feature], tool: str, call: Call, written: object, is_delete: bool
    ) -> None:
        by, verbs = "", call.commands
        for kind, role, value in call.entities:
            if kind == "path":
                what = "path.source" if role == "source" else "path.delete" if is_delete else "path.sink"
                path = normal(value)
                if what == "path.sink" and traits(path).steering and _says_all(call, written):
                    what = "path.setting"
                found.append((what, path))
                continue
            if is_local(value):
                continue
            by = by or self._actor(tool, verbs)
            if role == "sink":
                if not verbs:
                    found.append(("to.host", value))
                else:
                    found += recipient(value)
                found.append(("out.by", f"{by}>{kind}{':' + value if value in _SHARED else ''}"))
            elif verbs:
                found.append(("net.host", value))
                found.append(("net.by", f"{by}:{value}" if value in _SHARED else by))
            else:
                found.append(("fetch.host", value))

    def _add_arguments(self, found: list[Feature], tool: str, arguments: object, goes_out: bool) -> None:
        is_kept, text_of = len(tool) <= _MAX_KEPT_TOOL, self._text
        for path, value in leaves(arguments):
            if type(value) is str:
                if value[:1] in _PATH_STARTS:
                    continue
                if len(value) > MAX_TERM:
                    if goes_out and (bits := blob_bits(value)) > MAX_BLOB:
                        found.append(("out.blob", str(bits)))
                elif is_kept and len(path) <= _MAX_KEPT_TOOL:
                    found += text_of(tool, path, value)
                else:
                    found += self._find_argument(tool, path, value)
            elif is_kept and len(path) <= _MAX_KEPT_TOOL and _is_small(value):
                found += self._value(tool, path, value)
            else:
                found += self._find_argument(tool, path, value)

    def _named(self, tool: str) -> _Tool:
        return self._tool(tool) if len(tool) <= _MAX_KEPT_TOOL else _find_tool(tool)

    def _find_argument(self, tool: str, path: str, value: object) -> tuple[Feature, ...]:
        text = term(value)
        if text is None:
            return ()
        feature = (f"arg:{tool}.{path}"[:128], text)
        named = self._named(tool)
        if named.does_change and type(value) is str:
            is_target, identifies = _find_path(path)
            if named.does_remove and identifies:
                return feature, ("delete.target", f"{tool} {text}"[:128])
            if is_target:
                return feature, ("to.name", text)
        return (feature,)

    def _actor(self, tool: str, verbs: tuple[str, ...]) -> str:
        """Return by what a call reaches out: the verb that does, else the last one, else the tool."""
        for verb in verbs:
            if self._class_of(verb) == "network_request":
                return verb
        return verbs[-1] if verbs else tool[:_MAX_VALUE]

    def _secret_of(self, entities: tuple[Entity, ...]) -> str:
        for entity in entities:
            if entity.kind == "path" and self._taxonomy.holds_credentials(entity.value):
                return normal(entity.value)
        return ""

    def _find_class(self, verb: str) -> str:
        return self._taxonomy.classify("Bash", {"command": f"{verb} x"}).event_class

    def _find_verb(self, verb: str) -> _Verb:
        event_class = self._class_of(verb)
        name: str | None
        if verb.partition(" ")[0] in _POWER:
            name = "power.verb"
        elif event_class == "network_request" and _OUTWARD.search(verb) and verb != "git push":
            name = "out.publish"
        else:
            name = _OF_CLASS.get(event_class)
        return _Verb(verb, event_class, None if name is None else (name, verb), is_interpreter(verb))


def _add_rest(found: list[Feature], line: str, call: Call, interpreter: str, is_delete: bool) -> None:
    """Add what a line does as a whole; ``interpreter`` is the first of its verbs that is one, or empty."""
    if is_delete and not any(entity.role == "sink" for entity in call.entities):
        # Code that deletes names what it deletes somewhere in itself.
        for number, path in enumerate(_PATHS.finditer(line)):
            if number < _MAX_PATHS:
                found.append(("path.delete", normal(path[0])))
    if ">" in line and "$(" in line and _COMPUTED.search(line):
        # It writes to what a substitution finds.
        for kind, role, value in call.entities:
            if kind == "path" and role == "source":
                found.append(("path.sink", normal(value)))
    if ".sock" in line and _ENGINE.search(line):
        found.append(("power.verb", "socket"))
    if call.event_class == "network_request":
        if any(map(line.__contains__, _TENANT_PARTS)):
            found += _tenants(line, call.entities)
    elif call.event_class == "credential_access" and interpreter and _REACHES.search(line):
        found.append(("net.code", interpreter))


def _says_all(call: Call, written: object) -> bool:
    """Say whether a call itself says what it writes, and takes no check of an agent's away."""
    return not any(entity.role == "source" for entity in call.entities) and takes_nothing(written)


def recipient(value: str) -> Iterator[Feature]:
    """Yield the features of somebody or a host that something leaves for."""
    user, _, domain = value.rpartition("@")
    yield "out.host", value if not user or domain in _MAILBOXES else domain
    if user:
        yield "out.target", value


@lru_cache(1024)
def does_change(tool: str) -> bool:
    """Say whether a tool changes something, by its name."""
    name = (tool.rpartition("__")[2] if tool.startswith("mcp__") else tool).lower()
    return _CHANGES.search(name) is not None or _REMOVES.search(name) is not None


@lru_cache(4096)
def is_local(host: str) -> bool:
    """Say whether a host is this machine, or none that anybody can have."""
    return _LOCAL.match(host) is not None


@lru_cache(1024)
def is_interpreter(verb: str) -> bool:
    """Say whether a verb runs code that is given to it."""
    return _INTERPRETER.match(verb) is not None


def _find_tool(tool: str) -> _Tool:
    lower, name = tool.lower(), tool[:_MAX_VALUE]
    does_remove = _REMOVES.search(lower) is not None
    does_change = does_remove or _CHANGES.search(lower) is not None
    act = ("act", name)
    if not tool.startswith("mcp__"):
        return _Tool((("first.tool", name),), act, does_change, does_remove)
    server, _, method = tool.rpartition("__")
    kind = "out.tool" if _CHANGES.search(method.lower()) else "first.method"
    return _Tool((("first.tool", server[:_MAX_VALUE]), (kind, name)), act, does_change, does_remove)


def _is_small(value: object) -> bool:
    """Say whether something other than a text is worth to be kept."""
    return -_MAX_KEPT_INT < value < _MAX_KEPT_INT if type(value) is int else type(value) in _SCALARS


@lru_cache(1024)
def _find_path(path: str) -> tuple[bool, bool]:
    """Return whether the path of an argument says to whom, and which thing."""
    name = path[:256].lower()
    return _TARGET.search(name) is not None, _IDENTIFIES.search(name) is not None


def _parts_of(command: str | tuple[str, ...] | None) -> tuple[str, Sequence[Command]]:
    """Return a command line and its commands; those of a shell's ``-c`` where it is given as words."""
    if command is None:
        return "", ()
    if not isinstance(command, str):
        if len(command) < 3 or command[-2] not in _SCRIPT_OPTIONS:
            return " ".join(command)[:_MAX_LINE], (Command(list(command)),)
        command = command[-1]
    line = command[:_MAX_LINE]
    return line, parse_kept(line, MAX_STEPS // 2)[0]


def _tenants(line: str, entities: tuple[Entity, ...]) -> Iterator[Feature]:
    goes_out = any(entity.role == "sink" and entity.kind == "host" for entity in entities)
    name = "out.tenant" if goes_out else "net.tenant"
    for number, found in enumerate(_TENANT.finditer(line)):
        if number >= _MAX_TENANTS:
            return
        yield name, (found[1] or found[2] or found[3]).lower()[:_MAX_VALUE]
