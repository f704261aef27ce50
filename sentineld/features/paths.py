"""Paths as habits see them: without the user's name, and by what they are there for."""

import re

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
#: Components of a path that name a place; what is deeper belongs to it.
_DEPTH = 3
_MAX_PLACE = 64
_MAX_NAME = 32

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
#: What agents take as orders or settings, theirs or another's; and what sentineld is set by.
_AGENTS = re.compile(
    r"(?:^|/)\.(?:claude|codex|gemini|cursor|copilot|aider|continue|windsurf|opencode|openclaw|goose|qwen|amp"
    r"|roo|cline|kiro|factory)(?:/|\Z|\.)"
    r"|(?:^|/)sentineld(?:/|\.toml\Z|\Z)"
    r"|(?:^|/)(?:\.mcp\.json|mcp\.json|\.cursorrules)\Z|/(?:CLAUDE|AGENTS|GEMINI)\.md\Z"
)
#: Where agents' own tools keep plans and scratch: neither orders nor settings.
_OWN_WORK = re.compile(
    r"/\.(?:claude|codex|gemini|cursor)/(?:plans|todos|tmp|scratch\w*|shell-snapshots|worktrees|tasks)/"
)


def normal(path: str) -> str:
    """Return a path with ``~`` for any user's home."""
    return _HOME.sub("~", path, count=1)


def is_scratch(path: str) -> bool:
    """Say whether a normal path lies where everybody keeps what is thrown away."""
    return path.startswith(_SCRATCH)


def is_own_work(path: str) -> bool:
    """Say whether an agent's tool keeps its own plans and scratch there."""
    return _OWN_WORK.search(path) is not None


def agents_part(path: str) -> str:
    """Return what of a normal path says that agents take it as orders or settings; empty where they do not."""
    found = _AGENTS.search(path)
    return "/".join(path[found.start() :].strip("/").split("/")[:2])[:48] if found else ""


def starts_later(path: str) -> bool:
    """Say whether what is written there runs later, without the session."""
    return _STARTS_LATER.search(path) is not None


def hidden(path: str) -> str:
    """Return the first component with a leading dot; empty where there is none."""
    for part in path.split("/"):
        if len(part) > 1 and part[0] == "." and part != "..":
            return part[:_MAX_NAME]
    return ""


def root_of(path: str) -> str:
    """Return the directory of work that a normal path belongs to, such as ``~/project``; empty for none."""
    parts = path.split("/")
    is_work = parts[0] == "~" or (len(parts) > 1 and parts[1] in _WORK)
    if len(parts) >= 4 and is_work and parts[0] in ("~", "") and not parts[1].startswith("."):
        return "/".join(parts[:_DEPTH])
    return ""


def place_of(path: str, root: str) -> str:
    """Return where a normal path is: empty inside of ``root`` (or relative), ``tmp``, else the place's name."""
    if not path.startswith(("/", "~")):
        return ".." if path.startswith("..") else ""
    if is_scratch(path):
        return "tmp"
    if path[0] == "~" and path[1:2] not in ("", "/"):
        return path[:_MAX_NAME]
    if root and f"{path}/".startswith(f"{root}/"):
        return ""
    return "/".join(path.split("/")[:_DEPTH])[:_MAX_PLACE]
