"""Features: what one tool call does, as pairs of a name and a value that habits can count.

Names stand for consequences: ``out.*`` (something leaves), ``net.*`` and ``fetch.*`` (something is fetched),
``delete.*``, ``write.*``, ``take.*``, ``later.*`` (it runs later), ``agent.*`` (agents obey it), ``guard.*`` (a
guard is taken away), ``secret``, ``power.*``, ``run.*``. Values are hosts, recipients, verbs, options, places and
short arguments; nothing of a tool's output is read, and no free text.

Some are raw, because only the session says what they mean: ``path.sink``, ``path.source``, ``path.delete``
(normal paths), ``secret`` (the path), ``deletes``, ``call`` (a hash of tool and arguments) and ``act`` (the action, for the order). The detectors
turn those into features of their own.

Bounded: 16 entities and 16 verbs of a call, 64 members an object, 6 levels, 64 characters a value.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

from sentineld.decode import encode_element
from sentineld.event import Entity, Feature
from sentineld.features.lines import MAX_LINE, features_of_line
from sentineld.features.paths import normal
from sentineld.features.terms import MAX_BLOB, blob_bits, leaves, term
from sentineld.taxonomy import Call, Taxonomy

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
_SHARED = frozenset(
    "github.com gitlab.com bitbucket.org api.github.com gist.github.com raw.githubusercontent.com codeberg.org"
    " huggingface.co".split()
)
#: Mail providers whose domain says nothing about whose address it is.
_MAILBOXES = frozenset(
    "gmail.com googlemail.com outlook.com hotmail.com live.com yahoo.com icloud.com me.com aol.com gmx.de"
    " gmx.net web.de mail.com proton.me protonmail.com yandex.ru mail.ru qq.com 163.com zoho.com".split()
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
_POWER = frozenset(
    "sudo doas su pkexec runas docker podman nerdctl nsenter chroot unshare launchctl systemctl service crontab"
    " at batch dscl useradd adduser usermod passwd visudo spctl csrutil tccutil defaults sysctl iptables pfctl"
    " ufw mount umount insmod kextload setcap security kubectl helm terraform schtasks reg sc setfacl osascript"
    " screen tmux systemd-run loginctl".split()
)
_INTERPRETER = re.compile(
    r"(?:python|pypy|node|ruby|php|perl|lua|deno|bun|osascript|Rscript|julia|pwsh|powershell|bash|sh|zsh)[\d.]*\Z"
)
_OUTWARD = re.compile(
    r" (?:publish|push|upload|deploy|release|create|send|share|sync|put|import|comment|secret|gist|key|ssh-key)\b"
)
#: What deletes though it is not made for that.
_MAY_DELETE = frozenset({"find", "fd", "rsync", "git clean", "xargs"})
_MAX_TENANTS = 8
_MAX_VALUE = 64


class Features:
    """Reads the features of calls; ``taxonomy`` says of what class a verb is and which paths are secret."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._verb_class = lru_cache(4096)(self._find_verb_class)

    def describe(self, tool: str, arguments: object) -> Call:
        """Return what a call does, with its features."""
        call = self._taxonomy.classify(tool, arguments)
        return call._replace(features=self.of(tool, arguments, call))

    def of(self, tool: str, arguments: object, call: Call, *, has_failed: bool = False) -> tuple[Feature, ...]:
        """Return the features of a call, each once.

        ``has_failed``: its own record says that it did nothing. A command line may have done a part of it.
        """
        verbs = call.commands
        found: dict[Feature, None] = {}
        if call.event_class == "credential_access":
            found[Feature("secret", self._secret_of(call.entities))] = None
        is_mcp = tool.startswith("mcp__")
        server, _, method = tool.rpartition("__") if is_mcp else (tool, "", "")
        found[Feature("first.tool", server[:_MAX_VALUE])] = None
        if is_mcp:
            does = "out.tool" if _CHANGES.search(method.lower()) else "first.method"
            found[Feature(does, tool[:_MAX_VALUE])] = None
        if call.event_class == "file_delete":
            found[Feature("deletes", "")] = None
        found[Feature("call", _digest(tool, arguments))] = None
        found[Feature("act", (verbs[-1] if verbs else tool)[:_MAX_VALUE])] = None
        if has_failed and not verbs:
            return tuple(found)
        found.update(dict.fromkeys(self._of_entities(tool, call)))
        found.update(dict.fromkeys(self._of_verbs(call)))
        line = _line_of(arguments) if verbs else None
        if line is not None:
            found.update(dict.fromkeys(features_of_line(line, self._verb_class, is_local)))
            if call.event_class == "network_request":
                found.update(dict.fromkeys(_tenants(line, call.entities)))
        elif not verbs:
            found.update(dict.fromkeys(_of_arguments(tool, arguments, call.event_class)))
        return tuple(found)

    def _of_entities(self, tool: str, call: Call) -> Iterator[Feature]:
        by = self._actor(tool, call.commands)
        is_delete = call.event_class == "file_delete"
        for kind, role, value in call.entities:
            if kind == "path":
                what = "path.source" if role == "source" else "path.delete" if is_delete else "path.sink"
                yield Feature(what, normal(value)[:256])
            elif is_local(value):
                continue
            elif role == "sink":
                user, _, domain = value.rpartition("@")
                yield Feature("out.host", value if not user or domain in _MAILBOXES else domain)
                if user:
                    yield Feature("out.target", value)
                yield Feature("out.by", f"{by}>{kind}{':' + value if value in _SHARED else ''}")
            elif call.commands:
                yield Feature("net.host", value)
                yield Feature("net.by", f"{by}{':' + value if value in _SHARED else ''}")
            else:
                yield Feature("fetch.host", value)

    def _of_verbs(self, call: Call) -> Iterator[Feature]:
        verbs = call.commands
        if not verbs:
            return
        classes = [self._verb_class(verb) for verb in verbs]
        if call.event_class == "network_request" and "network_request" not in classes:
            yield Feature("net.code" if _INTERPRETER.match(verbs[-1]) else "net.by", verbs[-1])
        if call.event_class == "file_delete" and "file_delete" not in classes:
            for verb in verbs:
                if verb in _MAY_DELETE or _INTERPRETER.match(verb):
                    yield Feature("delete.verb", verb)
        for verb, event_class in zip(verbs, classes, strict=True):
            if verb.partition(" ")[0] in _POWER:
                yield Feature("power.verb", verb)
            elif event_class == "network_request":
                does_publish = _OUTWARD.search(verb) and verb != "git push"
                yield Feature("out.publish" if does_publish else "out.verb", verb)
            elif event_class == "file_delete":
                yield Feature("delete.verb", verb)
            elif event_class in ("file_write", "file_create"):
                yield Feature("write.verb", verb)
            elif event_class in ("shell_exec", "agent_spawn"):
                yield Feature("run.verb", verb)

    def _actor(self, tool: str, verbs: tuple[str, ...]) -> str:
        """Return by what a call reaches out: the verb that does, else the last one, else the tool."""
        for verb in verbs:
            if self._verb_class(verb) == "network_request":
                return verb
        return verbs[-1] if verbs else tool[:_MAX_VALUE]

    def _secret_of(self, entities: tuple[Entity, ...]) -> str:
        for entity in entities:
            if entity.kind == "path" and self._taxonomy.holds_credentials(entity.value):
                return normal(entity.value)[:256]
        return ""

    def _find_verb_class(self, verb: str) -> str:
        return self._taxonomy.classify("Bash", {"command": f"{verb} x"}).event_class


def is_local(host: str) -> bool:
    """Say whether a host is this machine, or none that anybody can have."""
    return _LOCAL.match(host) is not None


def _line_of(arguments: object) -> str | None:
    if isinstance(arguments, dict):
        arguments = arguments.get("command") or arguments.get("cmd") or arguments.get("script")
    if isinstance(arguments, str):
        return arguments
    if isinstance(arguments, list) and all(isinstance(word, str) for word in arguments):
        # A program and its words, or a shell with its line.
        return arguments[-1] if len(arguments) > 1 and arguments[-2] in ("-c", "-lc") else " ".join(arguments)
    return None


def _tenants(line: str, entities: tuple[Entity, ...]) -> Iterator[Feature]:
    goes_out = any(entity.role == "sink" and entity.kind == "host" for entity in entities)
    name = "out.tenant" if goes_out else "net.tenant"
    for number, found in enumerate(_TENANT.finditer(line[:MAX_LINE])):
        if number >= _MAX_TENANTS:
            return
        yield Feature(name, (found[1] or found[2] or found[3]).lower()[:_MAX_VALUE])


def _of_arguments(tool: str, arguments: object, event_class: str) -> Iterator[Feature]:
    lower = tool.lower()
    does_remove = _REMOVES.search(lower) is not None
    does_change = does_remove or _CHANGES.search(lower) is not None
    goes_out = event_class == "network_request"
    for path, value in leaves(arguments):
        if isinstance(value, str):
            if value.startswith(("/", "~")):
                continue
            if goes_out and (size := blob_bits(value)) > MAX_BLOB:
                yield Feature("out.blob", str(size))
        text = term(value)
        if text is None:
            continue
        yield Feature(f"arg:{tool}.{path}"[:128], text)
        if does_change and isinstance(value, str):
            name = path.lower()
            if does_remove and _IDENTIFIES.search(name):
                yield Feature("delete.target", f"{tool} {text}"[:128])
            elif _TARGET.search(name):
                yield Feature("out.target", text)


def _digest(tool: str, arguments: object) -> str:
    return blake2b(encode_element([tool, arguments]), digest_size=6).hexdigest()
