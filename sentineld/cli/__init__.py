"""The command line: one file a command.

``tier`` and ``gate`` are dispatched before click is imported: agents' hooks call them for every change.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # Also while modules are loaded, which takes a moment: whoever changes their mind needs no traceback.
        return 130


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["tier"]:
        from sentineld.cli.tier import main as tier

        return tier(arguments[1:])
    if arguments[:1] == ["gate"]:
        from sentineld.cli.gate import main as gate

        return gate(arguments[1:])
    if arguments[:1] == ["run"]:
        # Until the daemon listens: nothing has begun that a stop would have to finish. A reload waits,
        # for the configuration may have been read before it was changed. Imports take a few hundred
        # milliseconds.
        signal.signal(signal.SIGTERM, _leave)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from sentineld.cli.app import main as app

    return app(arguments)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
