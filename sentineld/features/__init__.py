"""Features: what one tool call does, as pairs of a name and a value that habits can count.

Names stand for consequences: ``out.*`` (something leaves), ``net.*`` and ``fetch.*`` (something is fetched),
``delete.*``, ``write.*``, ``take.*``, ``later.*`` (it runs later), ``agent.*`` (agents obey it), ``guard.*``
(a guard is taken away), ``secret.*``, ``power.*``, ``run.*``. Values are hosts, recipients, verbs, options,
places and short arguments; nothing of a tool's output is read, and no free text.

Some are raw, because only the session says what they mean; detectors turn them into features of their own:
``path.sink``, ``path.source``, ``path.delete`` (normal paths), ``secret`` (the path), ``deletes``
(``all``: see ``MASS``), ``to.host``
and ``to.name`` (whom a tool sends to, as an entity and as an argument), ``call`` (a hash of tool and
arguments) and ``act`` (the action, for the order).

Bounded: 16 entities and 16 verbs of a call, 64 members an object, 6 levels, 64 characters a value.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from zlib import crc32

from sentineld.arguments import command_of
from sentineld.decode import encode_element
from sentineld.event import Entity, Feature
from sentineld.features.lines import Lines
from sentineld.features.paths import normal
from sentineld.features.terms import MAX_BLOB, blob_bits, leaves, term
from sentineld.shell import MAX_KEPT, Command, parse_kept
from sentineld.taxonomy import Call, Taxonomy
from sentineld.verbs.line import MAX_STEPS
from sentineld.verbs.options import names

_LOCAL = re.compile(
    r"git-remote:origin\Z|localhost|127\.\d+\.\d+\.\d+|::1|0\.0\.0\.0|\[::1?\]|host\.docker\.internal"
    r"|.*\.(?:local|localhost|test|example)\Z"
)
#: Whose place on a shared host it is.
_TENANT = re.compile(
    r"(?:github|gitlab|bitbucket|codeberg|huggingface|gist\.github|raw\.githubusercontent)\.(?:com|org|co)"
    r"[:/]([\w.-]+)|repos/([\w.-]+)/|(?:^|\s)(?:-R|--repo)[ =]([\w.-]+)/"
)
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
#: Options by which a shell is given a script.
_SCRIPT_OPTIONS = frozenset({"-c", "-lc", "-ic"})
#: Characters of a line that are looked at.
_MAX_LINE = MAX_KEPT
_MAX_TENANTS = 8
#: Of paths, which are looked at as entities.
_PATH_STARTS = frozenset({"/", "~"})
_MAX_VALUE = 64


class Features:
    """Reads the features of calls; ``taxonomy`` says of what class a verb is and which paths are secret."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._class_of = lru_cache(4096)(self._find_class)
        self._of_verb = lru_cache(4096)(self._find_feature)
        self._traits = lru_cache(1024)(_find_traits)
        self._lines = Lines(self._class_of, is_local)

    def describe(self, tool: str, arguments: object) -> Call:
        """Return what a call does, with its features."""
        call = self._taxonomy.classify(tool, arguments)
        return call._replace(features=self.of(tool, arguments, call))

    def of(
        self, tool: str, arguments: object, call: Call, *, has_failed: bool = False
    ) -> tuple[Feature, ...]:
        """Return the features of a call, each once.

        ``has_failed``: its own record says that it did nothing. A command line may have done a part of it.
        """
        event_class, verbs = call.event_class, call.commands
        found: list[Feature] = []
        if event_class == "credential_access":
            found.append(("secret", self._secret_of(call.entities)))
        name, first, _, _ = self._traits(tool)
        found.append(("first.tool", name))
        if first is not None:
            found.append(first)
        line, commands = _line_of(arguments) if verbs else ("", ())
        is_delete = event_class == "file_delete" or _deletes_too(verbs, line)
        if is_delete:
            found.append(MASS if _MASS.search(line) else ("deletes", ""))
        found.append(("call", _digest(tool, arguments)))
        found.append(("act", verbs[-1] if verbs else tool[:_MAX_VALUE]))
        if has_failed and not verbs:
            return tuple(found)
        if call.entities:
            found += self._of_entities(tool, call, is_delete=is_delete)
        if verbs:
            found += self._of_verbs(call)
            found += self._of_line(line, commands, call, is_delete=is_delete)
        else:
            self._add_arguments(found, tool, arguments, goes_out=event_class == "network_request")
        return tuple(dict.fromkeys(found))

    def _of_entities(self, tool: str, call: Call, *, is_delete: bool) -> Iterator[Feature]:
        by = ""
        for kind, role, value in call.entities:
            if kind == "path":
                what = "path.source" if role == "source" else "path.delete" if is_delete else "path.sink"
                yield what, normal(value)
                continue
            if is_local(value):
                continue
            by = by or self._actor(tool, call.commands)
            if role == "sink":
                if not call.commands:
                    yield "to.host", value
                else:
                    yield from recipient(value)
                yield "out.by", f"{by}>{kind}{':' + value if value in _SHARED else ''}"
            elif call.commands:
                yield "net.host", value
                yield "net.by", f"{by}:{value}" if value in _SHARED else by
            else:
                yield "fetch.host", value

    def _of_verbs(self, call: Call) -> Iterator[Feature]:
        verbs = call.commands
        if call.event_class == "network_request" and "network_request" not in map(self._class_of, verbs):
            yield "net.code" if is_interpreter(verbs[-1]) else "net.by", verbs[-1]
        if call.event_class == "file_delete" and "file_delete" not in map(self._class_of, verbs):
            for verb in verbs:
                if verb in _MAY_DELETE or is_interpreter(verb):
                    yield "delete.verb", verb
        for verb in verbs:
            feature = self._of_verb(verb)
            if feature is not None:
                yield feature

    def _of_line(
        self, line: str, commands: Sequence[Command], call: Call, *, is_delete: bool
    ) -> Iterator[Feature]:
        yield from self._lines.of(commands)
        if is_delete and not any(entity.role == "sink" for entity in call.entities):
            # Code that deletes names what it deletes somewhere in itself.
            for number, found in enumerate(_PATHS.finditer(line)):
                if number < _MAX_PATHS:
                    yield "path.delete", normal(found[0])
        if ">" in line and "$(" in line and _COMPUTED.search(line):
            # It writes to what a substitution finds.
            for kind, role, value in call.entities:
                if kind == "path" and role == "source":
                    yield "path.sink", normal(value)
        if ".sock" in line and _ENGINE.search(line):
            yield "power.verb", "socket"
        if call.event_class == "network_request":
            yield from _tenants(line, call.entities)
        elif call.event_class == "credential_access":
            interpreter = next(filter(is_interpreter, call.commands), None)
            if interpreter is not None and _REACHES.search(line):
                yield "net.code", interpreter

    def _add_arguments(self, found: list[Feature], tool: str, arguments: object, *, goes_out: bool) -> None:
        _, _, does_change, does_remove = self._traits(tool)
        for path, value in leaves(arguments):
            if type(value) is str:
                if value[:1] in _PATH_STARTS:
                    continue
                if goes_out and len(value) > _MAX_VALUE and (size := blob_bits(value)) > MAX_BLOB:
                    found.append(("out.blob", str(size)))
            text = term(value)
            if text is None:
                continue
            found.append((f"arg:{tool}.{path}"[:128], text))
            if does_change and type(value) is str:
                is_target, identifies = _find_path(path)
                if does_remove and identifies:
                    found.append(("delete.target", f"{tool} {text}"[:128]))
                elif is_target:
                    found.append(("to.name", text))

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

    def _find_feature(self, verb: str) -> Feature | None:
        if verb.partition(" ")[0] in _POWER:
            return "power.verb", verb
        event_class = self._class_of(verb)
        if event_class == "network_request" and _OUTWARD.search(verb) and verb != "git push":
            return "out.publish", verb
        name = _OF_CLASS.get(event_class)
        return None if name is None else (name, verb)


def _deletes_too(verbs: tuple[str, ...], line: str) -> bool:
    """Say whether a line deletes that is not told by its class."""
    if "--del" in line and "rsync" in verbs:
        return True
    return _REMOVING_CODE.search(line) is not None and any(map(is_interpreter, verbs))


def recipient(value: str) -> Iterator[Feature]:
    """Yield the features of somebody or a host that something leaves for."""
    user, _, domain = value.rpartition("@")
    yield "out.host", value if not user or domain in _MAILBOXES else domain
    if user:
        yield "out.target", value


@lru_cache(4096)
def is_local(host: str) -> bool:
    """Say whether a host is this machine, or none that anybody can have."""
    return _LOCAL.match(host) is not None


@lru_cache(1024)
def is_interpreter(verb: str) -> bool:
    """Say whether a verb runs code that is given to it."""
    return _INTERPRETER.match(verb) is not None


def _find_traits(tool: str) -> tuple[str, Feature | None, bool, bool]:
    """Return of a tool: its server or name, the feature of its method, whether it changes, and removes."""
    lower = tool.lower()
    does_remove = _REMOVES.search(lower) is not None
    does_change = does_remove or _CHANGES.search(lower) is not None
    if not tool.startswith("mcp__"):
        return tool[:_MAX_VALUE], None, does_change, does_remove
    server, _, method = tool.rpartition("__")
    name = "out.tool" if _CHANGES.search(method.lower()) else "first.method"
    return server[:_MAX_VALUE], (name, tool[:_MAX_VALUE]), does_change, does_remove


@lru_cache(1024)
def _find_path(path: str) -> tuple[bool, bool]:
    """Return whether the path of an argument says to whom, and which thing."""
    name = path[:256].lower()
    return _TARGET.search(name) is not None, _IDENTIFIES.search(name) is not None


def _line_of(arguments: object) -> tuple[str, Sequence[Command]]:
    """Return a command line and its commands; those of a shell's ``-c`` where it is given as words."""
    command = command_of(arguments)
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


def _digest(tool: str, arguments: object) -> str:
    # To tell the latest few calls of a session apart: who collides is taken to repeat itself.
    return f"{crc32(encode_element([tool, arguments])):x}"
