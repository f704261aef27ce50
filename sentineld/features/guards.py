"""Guards: what is written into settings of agents, as far as it says by itself that it takes no check away.

A project's own settings are a part of its work: hooks that run its own scripts, rights for its own commands.
What is wrong whoever writes it: rights for everything, approval or a sandbox that is switched off, hooks that
are, a hook or a server that reaches the network or runs what is not in the tree, fewer hooks or denials than
before. What cannot be read here (a copy of another file, a program's output) says nothing for itself.
"""

import re
from collections.abc import Mapping

#: Members that hold what a tool writes, and what was there before.
_NEW = ("content", "file_text", "new_string", "new_str", "text", "patch")
_OLD = ("old_string", "old_str")
_MAX_EDITS = 64
#: Where longer, it cannot be told.
_MAX_TEXT = 65_536

_TAKES_AWAY = re.compile(
    # Approval, sandboxes, hooks and records switched off; one's own or all of a kind.
    r"bypass|dangerous|yolo|disable|dontAsk|skip\w*(?:permission|prompt|approv)|auto_?(?:approv|accept|run)"
    r"|acceptEdits|enableAll|full[-_]?access|full[-_]auto|\bapproval\w*[\"']?\s*[:=]\s*[\"']?never"
    r"|sandbox\w*[\"']?\s*[:=]\s*[\"']?(?:false|none|off|null|0)|trust\w*[\"']?\s*[:=]\s*[\"']?(?:true|trusted|all)"
    r"|enabled?[\"']?\s*[:=]\s*[\"']?(?:false|off|0)|(?:hooks|deny|ask)[\"']?\s*[:=]\s*(?:\{\s*\}|\[\s*\]|null)"
    r"|cleanupPeriod|telemetry|otel_"
    # Rights for everything.
    r"|[\[,]\s*[\"'](?:\*|Bash|Write|Edit|WebFetch|mcp__\w*\*?|\w+\(\s*[:*/]*\s*\))[\"']\s*(?=[\],])"
    # The network, servers, keys, encoded text, and programs that are not in the tree.
    r"|\w+://|\b(?:curl|wget|nc|ncat|socat|ssh|scp|eval|base64|osascript|python\d?\s+-c|node\s+-e)\b|/dev/tcp"
    r"|mcp_?servers|api_?key|base_?url|_proxy|command[\"']?\s*[:=]\s*\[?\s*[\"'](?:\w+\s+)*(?:[~/]|\$HOME|\.\./)"
    r"|/tmp/|\\u00|\\x",
    re.IGNORECASE,
)
#: What there may not be less of.
_CHECKS = re.compile(r"[\"'](?:command|deny|ask|matcher|hooks|PreToolUse|permissions)[\"']")


def takes_nothing(written: object) -> bool:
    """Say whether what is written can be read, and takes no check away.

    ``written`` are a tool's arguments, or a command line that holds the text itself.
    """
    if isinstance(written, str):
        return _is_harmless(written, "")
    if not isinstance(written, Mapping):
        return False
    edits = written.get("edits")
    parts = edits[:_MAX_EDITS] if isinstance(edits, list) else [written]
    if isinstance(edits, list) and len(edits) > _MAX_EDITS:
        return False
    return bool(parts) and all(isinstance(part, Mapping) and _is_plain(part) for part in parts)


def _is_plain(part: Mapping[str, object]) -> bool:
    new = [text for name in _NEW if isinstance(text := part.get(name), str)]
    old = [text for name in _OLD if isinstance(text := part.get(name), str)]
    return len(new) == 1 and _is_harmless(new[0], "".join(old))


def _is_harmless(new: str, old: str) -> bool:
    if not new.strip() or len(new) + len(old) > _MAX_TEXT or _TAKES_AWAY.search(new):
        return False
    return len(_CHECKS.findall(new)) >= len(_CHECKS.findall(old))
