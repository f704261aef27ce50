"""Failures: how an error is shown, as lines on stderr and, with ``--json``, as a document on stdout."""

from collections.abc import Sequence
from typing import Any

from sentineld.cli.prose import filled
from sentineld.errors import ConfigError, SentineldError
from sentineld.visible import visible

#: Characters shown of an error: it may quote what somebody passed on from an agent.
MAX_ERROR = 4000


def failure_lines(error: SentineldError) -> list[str]:
    """Return what is printed of an error, and of the others that were found beside it."""
    lines = []
    for one in _all(error):
        lines.append(filled(visible(str(one), MAX_ERROR), first="error: "))
        if one.hint:
            lines.append(filled(visible(one.hint, MAX_ERROR), first="try: "))
    return lines


def failure_document(error: SentineldError) -> dict[str, Any]:
    """Return the document of an error."""
    told = [
        {"error": visible(str(one), MAX_ERROR), "hint": visible(one.hint, MAX_ERROR)} for one in _all(error)
    ]
    return {"errors": told, "exit_code": error.exit_code}


def wants_document(arguments: Sequence[str]) -> bool:
    """Say whether a command line asks for documents, also one that cannot be understood."""
    words = list(arguments)
    return "--json" in words[: words.index("--") if "--" in words else len(words)]


def _all(error: SentineldError) -> Sequence[SentineldError]:
    return (error, *(error.others if isinstance(error, ConfigError) else ()))
