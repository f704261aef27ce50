"""Taxonomy: what a tool call does, from the tool's name and its arguments.

``Taxonomy.classify`` returns a ``Call``: the event class, the entities that are touched, the verbs of a
command line. The class comes from the tool's name (see ``sentineld.tools``), for a shell from its command
line (``sentineld.commands``); a path or command that gives access to credentials is ``credential_access``
whatever the tool. ``docs/taxonomy.md`` has the tables, the order and the limits.

Pure and total: no arguments make it fail, and its time and results are bounded.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from sentineld.arguments import CHANGING, code_of, command_of, directory_of, look, path_alone, touch
from sentineld.commands import Commands
from sentineld.credentials import holds_credentials, is_harmless, is_secret
from sentineld.entities import Findings, SecretPath
from sentineld.errors import ConfigError
from sentineld.event import EVENT_CLASSES, Entity, Feature
from sentineld.tools import class_of_tool, known_name, sends
from sentineld.verbs.files import patch_rank
from sentineld.verbs.line import class_of
from sentineld.verbs.options import names
from sentineld.verbs.programs import MAX_CODE, judge_code

__all__ = ["Call", "Taxonomy", "classify", "holds_credentials", "tool_class"]

#: Tools whose ``command`` is a verb of their own: what the verbs make of their class.
_EDITORS = names("str_replace_editor str_replace_based_edit_tool memory")
_EDITOR_COMMANDS = {"view": "file_read", "create": "file_create", "delete": "file_delete"}
_PATCHES = frozenset({"apply_patch"})
_POWERSHELLS = names("powershell write_powershell read_powershell cmd")
#: Shells that run code, not command lines; the last one runs code where it gets text alone.
_CODE_TOOLS = names(
    "python execute_code code_execution code_interpreter js_repl repl ipython run_notebook_cell run_code"
    " run_python"
)
_CODE_OR_SHELL = frozenset({"exec"})

#: Longest name of a tool that is looked up; what is longer would only fill the cache.
_MAX_NAME = 128
_KEPT_NAMES = 1024
#: Longest command line, in characters, whose result is kept, and how many are: about 4 MiB at worst.
_MAX_KEPT = 512
_KEPT = 512
#: Longest path whose call is kept, and how many are: about 1 MiB at worst.
_MAX_KEPT_PATH = 256
_KEPT_PATHS = 512
_MAX_TEXT = 131_072
_MAX_PATH = 4096

#: Makes a named tuple in half the time.
_new = tuple.__new__

_MEMBERS = ("tools", "verbs", "credential_paths")


class Call(NamedTuple):
    """What a tool call does.

    ``event_class`` is one of ``event.EVENT_CLASSES``. ``entities`` are at most 16, where data could leave
    first, each value at most 256 characters. ``commands`` are the verbs of a command line in order, each
    once, at most 16: ``git push``, ``sed``. The last one is ``commands.SWEPT`` where a line was too much work
    to be judged command by command; its class may be worse than the line then. ``features`` are what habits
    count (``sentineld.features``), where somebody reads them.
    """

    event_class: str
    entities: tuple[Entity, ...] = ()
    commands: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()


class _Traits(NamedTuple):
    """What is known of a tool by its name: ``short`` is the name without what stands before its last dot.

    ``is_plain``: its arguments only name what it touches; ``call`` is one that names nothing.
    """

    event_class: str
    short: str
    is_code: bool
    is_windows: bool
    is_sending: bool
    is_plain: bool
    call: Call


_NO_TRAITS = _Traits(
    "tool_call", "", is_code=False, is_windows=False, is_sending=False, is_plain=False, call=Call("tool_call")
)


class Taxonomy:
    """The classes of tool calls; ``extra`` adds to what is built in.

    ``extra`` has up to three members::

        {
            "tools": {"my_tool": "file_read", "acme_*": "api_call"},     # `*` and `?` match, case does not
            "verbs": {"deployctl": "network_request", "deployctl status": "file_read"},
            "credential_paths": ["*/vault/*.json"],                     # `*` matches `/` too
        }

    Raises ``ConfigError`` naming the key where a member, a class or a pattern is off.
    """

    def __init__(self, extra: Mapping[str, Any] | None = None, key: str = "taxonomy") -> None:
        extra = extra or {}
        for name in extra:
            if name not in _MEMBERS:
                raise ConfigError(f"{key}: there is no `{name}`", hint=_nearest(name, _MEMBERS))
        tools = _classes(extra.get("tools", {}), f"{key}.tools")
        verbs = _classes(extra.get("verbs", {}), f"{key}.verbs")
        self._exact = {
            name.lower(): event_class for name, event_class in tools.items() if not _is_pattern(name)
        }
        self._patterns = [
            (re.compile(_glob(name.lower())), event_class)
            for name, event_class in tools.items()
            if _is_pattern(name)
        ]
        self._is_secret = _secret_path(extra.get("credential_paths", ()), f"{key}.credential_paths")
        self._commands = Commands(verbs)
        self._traits = lru_cache(_KEPT_NAMES)(self._find_traits)
        self._judge_kept = lru_cache(_KEPT)(self._judge_any)
        self._touch_kept = lru_cache(_KEPT_PATHS)(self._touch)

    def tool_class(self, tool: str) -> str:
        """Return the event class of a tool by its name alone; ``tool_call`` where the name says nothing."""
        return self._of(tool).event_class

    def classify(self, tool: str, arguments: object) -> Call:
        """Return what a call does.

        ``arguments`` are decoded: an object by name, the text of a command line, the words of one program.
        """
        is_kept = type(tool) is str and len(tool) <= _MAX_NAME
        traits = self._traits(tool) if is_kept else self._of(tool)
        event_class = traits.event_class
        if event_class == "shell_exec":
            if traits.is_code or (traits.short in _CODE_OR_SHELL and isinstance(arguments, str)):
                return self._judge_code(arguments)
            command = command_of(arguments)
            if command is not None:
                return self._judge(command, directory_of(arguments), traits.is_windows)
        if traits.is_plain and type(arguments) is dict:
            # Most calls name one path or nothing.
            path = path_alone(arguments)
            if path == "":
                return traits.call
            if path is not None and len(path) <= _MAX_KEPT_PATH:
                return self._touch_kept(event_class, path)
        found = Findings(self._is_secret)
        if type(arguments) is dict or isinstance(arguments, Mapping):
            if traits.short in _SPECIAL:
                event_class = _judge_special(traits, arguments, found)
            elif event_class in _UNKNOWN and ("command" in arguments or "cmd" in arguments):
                call = self._judge_unknown(traits, arguments)
                if call is not None:
                    return call
            look(event_class, arguments, found, is_sending=traits.is_sending)
        elif isinstance(arguments, str) and traits.short in _PATCHES:
            event_class = class_of(patch_rank(arguments[:_MAX_TEXT], found))
        return Call("credential_access" if found.has_credentials else event_class, found.entities())

    def holds_credentials(self, path: str) -> bool:
        """Say whether a path, however it is spelled, leads to a file of credentials."""
        return Findings(self._is_secret).is_secret(path)

    def _of(self, tool: str) -> _Traits:
        return self._traits(tool) if isinstance(tool, str) and len(tool) <= _MAX_NAME else _NO_TRAITS

    def _find_traits(self, tool: str) -> _Traits:
        short = known_name(known_name(tool).rpartition(".")[2])
        event_class = self._find_class(tool)
        return _Traits(
            event_class,
            short,
            short in _CODE_TOOLS,
            short in _POWERSHELLS,
            sends(tool),
            short not in _SPECIAL,
            Call(event_class),
        )

    def _find_class(self, tool: str) -> str:
        name = tool.strip().lower()
        event_class = self._exact.get(name)
        if event_class is not None:
            return event_class
        for pattern, event_class in self._patterns:
            if pattern.match(name):
                return event_class
        return class_of_tool(tool)

    def _touch(self, event_class: str, path: str) -> Call:
        """Return a call of a tool of a class that names one path and nothing else."""
        if self._is_secret is is_secret and is_harmless(path):
            role = "sink" if event_class in CHANGING else "source"
            entity = _new(Entity, ("path", role, path))
            return _new(Call, (event_class, (entity,), (), ()))
        found = Findings(self._is_secret)
        touch(event_class, path, found)
        return Call("credential_access" if found.has_credentials else event_class, found.entities())

    def _judge(self, command: str | tuple[str, ...], directory: str, is_windows: bool) -> Call:
        is_short = len(command) <= _MAX_KEPT if isinstance(command, str) else _is_short(command)
        return (self._judge_kept if is_short else self._judge_any)(command, directory, is_windows)

    def _judge_any(self, command: str | tuple[str, ...], directory: str, is_windows: bool) -> Call:
        found = Findings(self._is_secret)
        if directory:
            found.enter(directory)
        event_class, verbs = self._commands.judge(command, found, is_windows=is_windows)
        return _new(Call, (event_class, found.entities(), verbs, ()))

    def _judge_code(self, arguments: object) -> Call:
        found = Findings(self._is_secret)
        code = code_of(arguments) or ""
        verbs: tuple[str, ...] = ()
        if len(code) <= MAX_CODE:
            event_class = class_of(judge_code(found, code))
        else:
            # As when it is given to an interpreter, for which it is too much as well.
            event_class, verbs = self._commands.judge(("python", "-c", code), found)
        return Call("credential_access" if found.has_credentials else event_class, found.entities(), verbs)

    def _judge_unknown(self, traits: _Traits, arguments: Mapping[Any, Any]) -> Call | None:
        """Judge a command line given to a tool that is no shell by its name; None: it is none."""
        command = command_of({"command": arguments.get("command") or arguments.get("cmd")})
        if command is None or traits.event_class == "other":
            return None
        call = self._judge(command, directory_of(arguments), False)
        is_told = traits.event_class == "tool_call" or call.event_class == "credential_access"
        return call if is_told else call._replace(event_class=traits.event_class)


_SPECIAL = _EDITORS | _PATCHES | {"web_fetch"}
#: Classes of tools that may run a command line of which their name tells nothing.
_UNKNOWN = frozenset({"tool_call", "api_call"})


def _judge_special(tool: _Traits, arguments: Mapping[Any, Any], found: Findings) -> str:
    """Return the class of a call to a tool whose arguments say more than those of others."""
    if tool.short in _EDITORS:
        return _EDITOR_COMMANDS.get(str(arguments.get("command"))[:16], tool.event_class)
    if tool.short in _PATCHES:
        patch = arguments.get("input", arguments.get("patch"))
        if isinstance(patch, str):
            return class_of(patch_rank(patch[:_MAX_TEXT], found))
    elif isinstance(arguments.get("prompt"), str):
        # Gemini's takes its URLs in a sentence.
        found.reaches_urls(arguments["prompt"][:_MAX_TEXT], "source")
    return tool.event_class


def _is_short(words: tuple[str, ...]) -> bool:
    return len(words) <= 16 and sum(map(len, words)) <= _MAX_KEPT


def _classes(table: object, key: str) -> dict[str, str]:
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{key} must be a table of names and event classes", hint=f'{key} = {{name = "file_read"}}'
        )
    for name, event_class in table.items():
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"{key}: a name is empty")
        if event_class not in EVENT_CLASSES:
            raise ConfigError(
                f"{key}.{name}: there is no event class {event_class!r}",
                hint=_nearest(str(event_class), EVENT_CLASSES),
            )
    return dict(table)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(known)}"


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _glob(pattern: str) -> str:
    # Atomic groups: a pattern with many stars stays linear in its stars and in the text.
    first, *rest = (re.escape(part).replace(r"\?", ".") for part in re.sub(r"\*+", "*", pattern).split("*"))
    if not rest:
        return f"(?s:{first})\\Z"
    *middle, last = rest
    return f"(?s:{first}{''.join(f'(?>.*?{part})' for part in middle)}.*{last})\\Z"


def _secret_path(patterns: object, key: str) -> SecretPath:
    if not isinstance(patterns, (list, tuple)):
        raise ConfigError(f"{key} must be a list of patterns", hint=f'{key} = ["*/vault/*.json"]')
    if not patterns:
        return is_secret
    globs: list[str] = []
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.strip("*?/ "):
            raise ConfigError(f"{key}: {pattern!r} would match every path", hint='"*/vault/*.json"')
        lower = pattern.lower().replace("\\", "/").removeprefix("~")
        globs.append(
            _glob(lower if lower[0] in "/*" and not pattern.startswith("~") else f"*/{lower.lstrip('/')}")
        )
    return _OwnPaths(globs, patterns)


class _OwnPaths:
    """Files of credentials: those that are built in, and those of patterns."""

    def __init__(self, globs: list[str], patterns: Iterable[str]) -> None:
        self._match: Callable[[str], object] = re.compile("|".join(globs)).match
        #: By pattern, what is in each of its paths: for lines that are too long to look at every word.
        self.literals = [
            [
                part.strip("/").encode()
                for part in re.split(r"[*?~]", pattern.lower().replace("\\", "/"))
                if part
            ]
            for pattern in patterns
        ]

    def __call__(self, normal: str) -> bool:
        if is_secret(normal):
            return True
        if len(normal) > _MAX_PATH:
            return False
        return self._match((normal if normal[:1] == "/" else f"/{normal}").lower()) is not None


_DEFAULT = Taxonomy()


def tool_class(tool: str) -> str:
    """Return the event class of a tool by its name alone; ``tool_call`` where the name says nothing."""
    return _DEFAULT.tool_class(tool)


def classify(tool: str, arguments: object) -> str:
    """Return the event class of a tool call by what is built in."""
    return _DEFAULT.classify(tool, arguments).event_class
