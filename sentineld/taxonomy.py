"""Taxonomy: the class of a tool call, from the tool's name and its arguments."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from sentineld.event import Entity

_TOOLS: dict[str, tuple[str, ...]] = {
    "file_read": (
        "read",
        "view",
        "read_file",
        "read_many_files",
        "ls",
        "glob",
        "grep",
        "lsp",
        "list_directory",
    ),
    "file_write": (
        "write",
        "edit",
        "multiedit",
        "apply_patch",
        "replace",
        "str_replace",
        "write_file",
        "notebookedit",
    ),
    "file_create": ("create_file",),
    "file_delete": ("delete_file",),
    "network_request": (
        "webfetch",
        "web_fetch",
        "websearch",
        "web_search",
        "web_search_call",
        "google_web_search",
    ),
    "shell_exec": ("bash", "shell", "exec_command", "run_shell_command", "local_shell_call"),
    "agent_spawn": ("task", "spawn_agent"),
    "plan": ("todowrite", "update_plan", "skill"),
    "approval": ("askuserquestion",),
}

_CLASS_OF_TOOL = {tool: name for name, tools in _TOOLS.items() for tool in tools}

#: Paths that hold credentials, normalised, to the end of the path: a sentence about keys does not match.
#: Not among them: public keys, certificates and their chains, and samples such as ``.env.example``.
_CREDENTIAL_PATH = re.compile(
    r"(?:^|/)(?:"
    r"\.ssh/(?!known_hosts|authorized_keys|config$|[^/]*\.pub$)[^/\s]+"
    r"|\.aws/credentials|\.docker/config\.json|\.kube/config|\.netrc|\.pgpass|etc/g?shadow-?"
    r"|\.env(?!\.(?:example|sample|template|dist|defaults?|schema)$)(?:\.[a-z0-9_-]+)*"
    r"|id_(?:rsa|dsa|ed25519|ecdsa)"
    r"|(?![^/]*(?:cert|chain|bundle|public|\bca\b))[^/\s]+\.pem"
    r")\Z",
    re.IGNORECASE,
)

_PATH_ARGUMENTS = ("path", "file_path", "filename", "file", "notebook_path")

#: Longest name of a tool that is looked up; what is longer would only fill the cache.
_MAX_NAME = 256
#: PATH_MAX of Linux: nothing longer can be opened.
_MAX_PATH = 4096


def tool_class(tool: str) -> str:
    """Return the event class of a tool by its name alone; ``tool_call`` where the name is unknown."""
    return _tool_class(tool) if len(tool) <= _MAX_NAME else "tool_call"


@lru_cache(maxsize=4096)
def _tool_class(tool: str) -> str:
    name = tool.lower()
    known = _CLASS_OF_TOOL.get(name)
    if known is not None:
        return known
    if name.startswith("browser_"):
        return "network_request"
    if name.startswith("mcp__") or "__" in name:
        return "api_call"
    return "tool_call"


def classify(tool: str, arguments: object) -> str:
    """Return the event class of a tool call; a path that holds credentials is ``credential_access``."""
    if isinstance(arguments, Mapping):
        for key in _PATH_ARGUMENTS:
            path = arguments.get(key)
            if isinstance(path, str) and holds_credentials(path):
                return "credential_access"
    return tool_class(tool)


def holds_credentials(path: str) -> bool:
    """Say whether a path, however it is spelled, leads to a file of credentials."""
    return len(path) <= _MAX_PATH and _CREDENTIAL_PATH.search(_normal(path)) is not None


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.strip().replace("\\", "/").split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class Call(NamedTuple):
    """What a tool call does: its event class, what it touches, the commands it runs."""

    event_class: str
    entities: tuple[Entity, ...] = ()
    commands: tuple[str, ...] = ()


class Taxonomy:
    """Event classes of tool calls."""

    def classify(self, tool: str, arguments: object) -> Call:
        """Return what a tool call does."""
        return Call(classify(tool, arguments))
