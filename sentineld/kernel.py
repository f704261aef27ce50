"""Kernel: the compiled form of a few functions, where it was built; else their references in Python run.

Native telemetry takes most of its time in decoding, entropy, grouping by agent and the activity score; mapped
records some of it in times and in OTLP's attributes.
``sentineld._kernel`` (C, ``_kernel.c``) does these several times as fast, and nothing else: each function
that asks for ``compiled`` has the same thing in Python below it, does that where ``compiled`` is None or
answers None, and gives the same bits either way (``tests/test_kernel.py`` compares them).

The one switch: ``SENTINELD_KERNEL=reference`` in the environment when the program starts, or ``compiled`` set
to None.
"""

import os
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentineld.event import Observation

#: What ``_kernel.c`` calls itself: a module that was built from another version of it is not used.
EDITION = 2


def _load() -> Any:  # noqa: ANN401 (a module, whose functions _kernel.pyi describes)
    if os.environ.get("SENTINELD_KERNEL") == "reference":
        return None
    try:
        from sentineld import _kernel
    except ImportError:
        return None
    return _kernel if _kernel.EDITION == EDITION else None


#: The compiled functions; None: there are none.
compiled = _load()


_AT = itemgetter(0)


def span(run: "Sequence[Observation]") -> tuple[int, int]:
    """Return the earliest and the latest instant of observations, of which there is one at least."""
    if compiled is not None and type(run) is list:
        found: tuple[int, int] = compiled.span(run)
        return found
    times = list(map(_AT, run))
    return min(times), max(times)


def name() -> str:
    """Say which one is in use: ``compiled`` or ``reference``."""
    return "reference" if compiled is None else "compiled"
