"""Arguments: what the arguments of a tool name: paths, hosts, recipients, accounts, a command line.

By the names that schemas of tools give them (``file_path``, ``filePath``, ``url``, ``recipients``, ``iban``).
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from sentineld.credentials import may_hold_secrets
from sentineld.entities import Findings
from sentineld.verbs.options import names

#: Members of the arguments, and values of one, that are looked at.
_MAX_ITEMS = 64
_MAX_ARGV = 4096

#: Arguments that hold a command line, then those that hold code.
_COMMANDS = (
    "command",
    "full_command",
    "cmd",
    "script",
    "commandline",
    "command_line",
    "commandLine",
    "CommandLine",
    "shell_command",
    "fullCommandText",
    "chars",
    "input",
    # The program's name alone.
    "bash_command",
)
_DIRECTORIES = ("workdir", "cwd", "working_directory", "dir_path", "directory")
_DIRECTORY_NAMES = frozenset(_DIRECTORIES)
_MAX_DIRECTORY = 1024
_CODES = ("code", "source_code", "python_code")

_PATHS = names(
    "path file_path filepath filename file notebook_path dir_path dirpath directory absolute_path"
    " relative_path source source_path paths file_paths files old_path folder attachments include_path"
)
_TARGETS = names("destination destination_path target_path new_path target_file")
_URLS = names("url urls uri endpoint base_url webhook webhook_url href link website")
_RECIPIENTS = names(
    "to cc bcc recipient recipients email emails email_address user_email phone_number channel channels"
    " channel_id channel_name chat_id participants attendees invitees target to_email recipient_email"
    " mailto"
)
_ACCOUNTS = names(
    "iban account account_id account_number recipient_account to_account from_account payee beneficiary"
    " wallet wallet_address bic routing_number"
)


def _spellings(snakes: frozenset[str], kind: str) -> dict[object, str]:
    # file_path is filePath in JavaScript.
    camels = {head + "".join(map(str.title, rest)) for head, *rest in (name.split("_") for name in snakes)}
    return dict.fromkeys(snakes | camels, kind)


_KIND = (
    _spellings(_PATHS, "path")
    | _spellings(_TARGETS, "target")
    | _spellings(_URLS, "url")
    | _spellings(_RECIPIENTS, "recipient")
    | _spellings(_ACCOUNTS, "account")
)
#: The same with those that can hold a command line, whatever the tool.
_TELLING: dict[object, str] = {**_KIND, "command": "command", "cmd": "command"}
_BODIES = names("body data payload json form content upload")
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{10,30}\Z")
_WORD = re.compile(r"[^/\\.~]*\Z")
#: Members of an object in a list that say what the object is.
_NAMING = ("email", "path", "file_path", "address", "id", "url")

#: Classes of tools by which data can leave to somebody.
_REMOTE = names("network_request api_call tool_call other model_call")
_WRITING = frozenset({"file_write", "file_create"})
#: Classes of tools that change what they name.
CHANGING = _WRITING | {"file_delete"}


def command_of(arguments: object) -> str | tuple[str, ...] | None:
    """Return the command line in a shell's arguments: text, or the words of one program; None: none is."""
    if type(arguments) is dict and "action" not in arguments:
        command = arguments.get("command")
        if command and type(command) is str:
            return command
    if isinstance(arguments, str):
        return arguments or None
    if isinstance(arguments, list):
        return _argv(arguments) or None
    if type(arguments) is not dict and not isinstance(arguments, Mapping):
        return None
    action = arguments.get("action")
    if action is not None and isinstance(action, Mapping):
        arguments = action
    for key in _COMMANDS:
        value = arguments.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list):
            words = _argv(value)
            if words:
                return words
    return None


def directory_of(arguments: object) -> str:
    """Return the directory that a command line runs in; empty where it cannot matter for credentials."""
    if type(arguments) is dict or isinstance(arguments, Mapping):
        if _DIRECTORY_NAMES.isdisjoint(arguments):
            return ""
        for key in _DIRECTORIES:
            value = arguments.get(key)
            if isinstance(value, str):
                return value if len(value) <= _MAX_DIRECTORY and may_hold_secrets(value) else ""
    return ""


def code_of(arguments: object) -> str | None:
    """Return the code in the arguments of a tool that runs code; None: there is none."""
    if isinstance(arguments, str):
        return arguments or None
    if isinstance(arguments, Mapping):
        for key in (*_CODES, *_COMMANDS):
            value = arguments.get(key)
            if isinstance(value, str) and value:
                return value
    return None


def path_alone(arguments: dict[Any, Any]) -> str | None:
    """Return the one path that arguments name, empty where they name nothing at all; None: look closer."""
    if len(arguments) > _MAX_ITEMS:
        return None
    path = ""
    for key, value in arguments.items():
        kind = _TELLING.get(key)
        if kind is None:
            if type(value) is dict:
                return None
        elif kind == "path" and type(value) is str and not path and value:
            path = value
        else:
            return None
    return path


def look(event_class: str, arguments: Mapping[Any, Any], found: Findings, *, is_sending: bool) -> None:
    """Note what the arguments of a tool of a class name; ``is_sending``: by its name, data leaves by it."""
    members = arguments.items() if len(arguments) <= _MAX_ITEMS else islice(arguments.items(), _MAX_ITEMS)
    for key, value in members:
        kind = _KIND.get(key)
        if kind == "path" and type(value) is str:
            touch(event_class, value, found)
        elif type(value) is dict:
            # One level down: clients wrap what they pass on.
            for inner_key, inner_value in islice(value.items(), _MAX_ITEMS):
                kind = _KIND.get(inner_key)
                if kind is not None:
                    _note(event_class, kind, inner_key, inner_value, value, found, is_sending=is_sending)
        elif kind is not None:
            _note(event_class, kind, key, value, arguments, found, is_sending=is_sending)


def _note(
    event_class: str,
    kind: str,
    key: object,
    value: object,
    arguments: Mapping[Any, Any],
    found: Findings,
    *,
    is_sending: bool,
) -> None:
    is_remote = event_class in _REMOTE
    for text in (value,) if type(value) is str else _texts(value):
        if kind == "path":
            touch(event_class, text, found)
        elif kind == "target":
            touch("file_write" if event_class != "file_read" else event_class, text, found)
        elif kind == "url":
            if text.startswith("file://"):
                found.reads(text[7:])
            else:
                is_sink = (is_sending and is_remote) or _posts(arguments)
                found.reaches(text, "sink" if is_sink else "source")
        elif kind == "account":
            role = "source" if str(key).startswith("from") else "sink"
            found.add("account", role, text[:_MAX_ARGV].replace(" ", "").lower())
        elif is_remote:
            compact = text[:_MAX_ARGV].replace(" ", "")
            if _IBAN.match(compact):
                found.add("account", "sink", compact.lower())
            else:
                found.sends_to(text[:_MAX_ARGV])


def touch(event_class: str, path: str, found: Findings) -> None:
    """Note what a tool of a class does with a path."""
    if event_class == "file_read":
        found.reads(path)
    elif event_class in _WRITING:
        found.writes(path)
    elif event_class in CHANGING:
        found.changes(path)
    elif event_class in _REMOTE and _WORD.match(path):
        # Such as the name of a search's source.
        pass
    else:
        found.reads(path)


def _posts(arguments: Mapping[Any, Any]) -> bool:
    method = arguments.get("method")
    if isinstance(method, str):
        return method.upper() in ("POST", "PUT", "PATCH", "DELETE")
    return not _BODIES.isdisjoint(arguments)


def _argv(words: list[Any]) -> tuple[str, ...]:
    return tuple([word for word in words[:_MAX_ARGV] if isinstance(word, str)])


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, (list, tuple)):
        for item in value[:_MAX_ITEMS]:
            if isinstance(item, str):
                yield item
            elif isinstance(item, Mapping):
                for key in _NAMING:
                    inner = item.get(key)
                    if isinstance(inner, str):
                        yield inner
                        break
