"""The command line: one file a command.

``tier`` is dispatched before click is imported: agents' hooks call it for every change.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["tier"]:
        from sentineld.cli.tier import main as tier

        return tier(arguments[1:])
    from sentineld.cli.app import main as app

    return app(arguments)
