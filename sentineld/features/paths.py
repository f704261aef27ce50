"""Paths as habits see them: without the user's name, and by what they are there for."""

import re
from functools import lru_cache
from typing import NamedTuple

_HOME = re.compile(r"(?:/home/[^/]+|/Users/[^/]+|/root|\$HOME|\$\{HOME\})(?=/|\Z)")
_SCRATCH = (
    "/tmp",  # noqa: S108 (a name that is looked for)
    "/private/tmp",
    "/var/folders",
    "/private/var/folders",
    "/var/tmp",  # noqa: S108
    "$TMPDIR",
    "/dev/shm",  # noqa: S108
    "/dev/fd",
)
#: Directories under the root that hold work, not the system.
_WORK = frozenset(
    {"workspace", "app", "repo", "srv", "work", "workspaces", "code", "src", "project", "testbed", "data"}
    | {"mnt", "opt"}
)
#: What a path begins with that may name a home.
_STARTS = frozenset({"/", "$"})
#: Components of a path that name a place; what is deeper belongs to it.
_DEPTH = 3
_MAX_PLACE = 64
_MAX_NAME = 32
_MAX_PATH = 256

#: What starts later, without the session: profiles, hooks, schedulers, pipelines, keys.
_STARTS_LATER = re.compile(
    r"(?:^|/)(?:\.(?:(?:bash|zsh|z|k|fish|csh|tcsh|x|input)?(?:rc|profile|env|login|logout|_profile|_login"
    r"|_aliases|initrc))\Z"
    r"|\.ssh/|\.git/(?:hooks/|config\Z)|\.gitconfig\Z|\.config/(?:autostart|systemd|fish|git)/"
    r"|launch(?:agents|daemons)/|cron[^/]*/"
    r"|\.github/(?:workflows|actions)/|\.gitlab-ci[^/]*\Z|\.circleci/|\.buildkite/|jenkinsfile\Z"
    r"|azure-pipelines[^/]*\Z|\.husky/|\.pre-commit-config|\.vscode/(?:tasks|settings)|\.idea/|\.envrc\Z"
    r"|\.npmrc\Z|pip\.conf\Z|sitecustomize\.py\Z|\.pypirc\Z|\.direnvrc|\.tmux\.conf|\.vimrc|\.emacs"
    r"|etc/(?:profile|bash|zsh|sudoers|cron|systemd|ld\.so|hosts|pam|ssh|init|rc|launchd))",
    re.IGNORECASE,
)
#: Of those, what the next ordinary command runs by itself; pipelines are seen and reviewed by others.
_HOOK = re.compile(
    r"(?:^|/)\.(?:git/(?:hooks/|config\Z)|husky/|envrc\Z|direnvrc\Z|npmrc\Z|vscode/|idea/)|sitecustomize\.py\Z"
)
_AGENT_NAMES = (
    "claude|codex|gemini|cursor|copilot|aider|continue|windsurf|opencode|openclaw|goose|qwen|amp|roo|cline"
    "|kiro|factory"
)
#: What agents take as orders or settings, theirs or another's; and what sentineld is set by.
_AGENTS = re.compile(
    rf"(?:^|/)\.(?:{_AGENT_NAMES})(?:/|\Z|\.)"
    r"|(?:^|/)sentineld(?:/|\.toml\Z|\Z)"
    r"|(?:^|/)(?:\.mcp\.json|mcp\.json|\.cursorrules)\Z|/(?:CLAUDE|AGENTS|GEMINI)\.md\Z"
)
#: Of those, what steers, records or guards an agent: settings, hooks, telemetry, and sentineld's own places.
_STEERING = re.compile(
    rf"/\.(?:{_AGENT_NAMES})/(?:"
    r"(?:settings|hooks|config|mcp|permissions|credentials)(?:\.local)?\.(?:json|toml|ya?ml)\Z"
    r"|(?:hooks|projects|sessions|logs?|history|transcripts|telemetry|statsig)(?:/|\.|\Z))"
    r"|(?:^|/)sentineld(?:/|\.toml\Z|\Z)"
)
#: Where agents' own tools keep plans and scratch: neither orders nor settings.
_OWN_WORK = re.compile(
    r"/\.(?:claude|codex|gemini|cursor)/(?:plans|todos|tmp|scratch\w*|shell-snapshots|worktrees|tasks)/"
)
#: What one of is in every path that one of these finds, in lower case, if it neither begins with a dot nor
#: ends in ``.md``: a cheap look first.
_TELLING = (
    "/.", "sentineld", "mcp.json", "launch", "cron", "jenkins", "azure", "pip.conf", "sitecustom", "etc/"
)  # fmt: skip
#: The same in a name alone.
_TELLING_NAME = re.compile("|".join(re.escape(part) for part in _TELLING if "/" not in part))


class Traits(NamedTuple):
    """What a normal path says by itself.

    ``place`` names it from outside (empty: it is relative), ``root`` the directory of work that it belongs
    to, such as ``~/project`` (empty: none). ``agents`` is the part that agents take as orders or settings,
    ``steering`` the part that steers, records or guards one, ``hidden`` the first component with a leading
    dot. ``later``: what is written there runs later, without the session; ``hook``: at the next ordinary
    command. ``own_work``: an agent's tool keeps its own plans and scratch there.
    """

    path: str
    place: str
    root: str
    is_scratch: bool
    agents: str
    steering: str
    hidden: str
    is_later: bool
    is_hook: bool
    is_own_work: bool


def normal(path: str) -> str:
    """Return a path with ``~`` for any user's home, at most 256 characters."""
    is_any = "/home/" in path or "/Users/" in path or "/root" in path or "HOME" in path
    if not is_any or path[:1] not in _STARTS:
        return path[:_MAX_PATH]
    return (_normal_kept if len(path) <= _MAX_PATH else _normal)(path)


def _normal(path: str) -> str:
    return _HOME.sub("~", path, count=1)[:_MAX_PATH]


_normal_kept = lru_cache(4096)(_normal)


@lru_cache(4096)
def traits(path: str) -> Traits:
    """Return what a normal path says by itself."""
    at = path.rfind("/") + 1
    if at:
        # Paths that never come again have few directories.
        shared, name = _traits_in(path[:at]), path[at:]
        if shared is not None and name[:1] != ".":
            name = name.lower()
            if name[-3:] != ".md" and _TELLING_NAME.search(name) is None:
                return tuple.__new__(Traits, (path, *shared))
    return _find_traits(path)


@lru_cache(1024)
def _traits_in(directory: str) -> tuple[str, str, bool, str, str, str, bool, bool, bool] | None:
    """Return what paths of names that tell nothing have in common in a directory; None: it may differ."""
    if not _is_named_by(directory) or _is_telling(directory.lower()):
        return None
    return _find_traits(directory)[1:]


def _find_traits(path: str) -> Traits:
    place, root = _place(path), _root(path)
    is_scratch = path.startswith(_SCRATCH)
    if not _is_telling(path.lower()):
        return Traits(path, place, root, is_scratch, "", "", "", False, False, False)
    found = _AGENTS.search(path)
    agents = "/".join(path[found.start() :].strip("/").split("/")[:2])[:48] if found else ""
    steering = _STEERING.search(path) if agents else None
    is_later = _STARTS_LATER.search(path) is not None
    return Traits(
        path,
        place,
        root,
        is_scratch,
        agents,
        path[steering.start() :][:48] if steering else "",
        _hidden(path),
        is_later,
        is_later and _HOOK.search(path) is not None,
        bool(agents) and _OWN_WORK.search(path) is not None,
    )


def _is_telling(lower: str) -> bool:
    return lower[:1] == "." or lower.endswith(".md") or any(map(lower.__contains__, _TELLING))


def place_of(path: Traits, root: str) -> str:
    """Return where a path is: empty inside of ``root`` (or relative), ``tmp``, else the place's name."""
    if path.is_scratch:
        return "tmp"
    inside = path.path
    if root and inside.startswith(root) and inside[len(root) : len(root) + 1] in ("", "/"):
        return ""
    return path.place


def place_in(root: str, path: str) -> str:
    """Return the same of a normal path."""
    at = path.rfind("/") + 1
    if at:
        # Paths that never come again have few directories.
        place = _place_in_directory(root, path[:at])
        if place is not None:
            return place
    return _place_kept(root, path)


@lru_cache(4096)
def _place_kept(root: str, path: str) -> str:
    return place_of(traits(path), root)


@lru_cache(4096)
def _place_in_directory(root: str, directory: str) -> str | None:
    """Return where all paths of one directory, given with its slash, are; None: their names matter."""
    if len(root) >= len(directory) or not _is_named_by(directory):
        return None
    return place_of(_find_traits(directory), root)


def root_of(path: str) -> str:
    """Return the directory of work that a normal path belongs to (see ``Traits``)."""
    at = path.rfind("/") + 1
    root = _root_in_directory(path[:at]) if at else ""
    return _root(path) if root is None else root


@lru_cache(1024)
def _root_in_directory(directory: str) -> str | None:
    return _root(directory) if _is_named_by(directory) else None


def _is_named_by(directory: str) -> bool:
    """Say whether a directory alone says in which place its paths are and to which work they belong."""
    start = directory[:1]
    is_named = directory.count("/") >= _DEPTH if start == "/" or directory[:2] == "~/" else start != "~"
    return is_named and not any(one.startswith(directory) for one in _SCRATCH)


def _place(path: str) -> str:
    if path[:1] not in ("/", "~"):
        return ".." if path.startswith("..") else ""
    if path[0] == "~" and path[1:2] not in ("", "/"):
        return path[:_MAX_NAME]
    return "/".join(path.split("/", _DEPTH)[:_DEPTH])[:_MAX_PLACE]


def _root(path: str) -> str:
    if path[:1] not in ("/", "~"):
        return ""
    parts = path.split("/", _DEPTH)
    is_work = parts[0] == "~" or (parts[0] == "" and len(parts) > 1 and parts[1] in _WORK)
    if len(parts) < _DEPTH or not is_work or parts[1][:1] in (".", ""):
        return ""
    return "/".join(parts[:_DEPTH] if len(parts) > _DEPTH else parts[:-1])


def _hidden(path: str) -> str:
    for part in path.split("/"):
        if len(part) > 1 and part[0] == "." and part != "..":
            return part[:_MAX_NAME]
    return ""
