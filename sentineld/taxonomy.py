"""Taxonomy: the class of a tool call, from the tool's name and its arguments."""

import re
from collections.abc import Mapping
from functools import lru_cache

_TOOLS: dict[str, tuple[str, ...]] = {
    "file_read": ("read", "view", "read_file", "read_many_files", "ls", "glob", "grep", "lsp", "list_directory"),
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
    "network_request": ("webfetch", "web_fetch", "websearch", "web_search", "web_search_call", "google_web_search"),
    "shell_exec": ("bash", "shell", "exec_command", "run_shell_command", "local_shell_call"),
    "agent_spawn": ("task", "spawn_agent"),
    "plan": ("todowrite", "update_plan", "skill"),
    "approval": ("askuserquestion",),
}

_CLASS_OF_TOOL = {tool: name for name, tools in _TOOLS.items() for tool in tools}

#: Paths that hold credentials. Anchored at path separators, so that prose about keys does not match.
_CREDENTIAL_PATH = re.compile(
    r"(?:^|/)(?:\.ssh/(?!known_hosts|config)[^/\s]+|\.aws/credentials|\.netrc|\.pgpass|\.env(?:\.[a-z]+)?"
    r"|\.docker/config\.json|\.kube/config|id_(?:rsa|ed25519|ecdsa)|[^/\s]+\.pem|etc/(?:g?shadow))$",
    re.IGNORECASE,
)

_PATH_ARGUMENTS = ("path", "file_path", "filename", "file", "notebook_path")


@lru_cache(maxsize=4096)
def tool_class(tool: str) -> str:
    """Return the event class of a tool by its name alone; ``tool_call`` where the name is unknown."""
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
            if isinstance(path, str) and len(path) <= 4096 and _CREDENTIAL_PATH.search(path):
                return "credential_access"
    return tool_class(tool)
