"""What `_kernel.c` offers; its docstrings say what each does."""

from array import array
from collections.abc import Callable
from typing import Any

EDITION: int

def entropy(payloads: list[bytes], terms: array[int], /) -> list[int]: ...
def native_lines(
    data: bytes, base: int, kinds: dict[str, int], others: int, terms: array[int], /
) -> tuple[list[Any], list[str], list[int], list[int], list[str], list[int], int] | None: ...
def group(
    runs: dict[str, list[Any]],
    agent_ids: list[str],
    times: list[int],
    kinds: list[int],
    entropies: list[int],
    event_types: list[str],
    source_id: int,
    offsets: list[int],
    facts: list[Any] | None,
    /,
) -> None: ...
def attributes(
    items: list[Any], names: tuple[str, str, str, str], other: Callable[[object, int], object], /
) -> dict[str, Any]: ...
def instant(text: str, /) -> int | None: ...
def span(observations: list[Any], /) -> tuple[int, int]: ...
def observe(
    observations: list[Any],
    start: int,
    deadline_us: int,
    clock_us: int,
    newest: int,
    width: int,
    buckets: dict[int, list[int]],
    totals: list[int],
    file_parts: array[float],
    network_parts: array[float],
    entropy_weight: float,
    low: float,
    high: float,
    /,
) -> tuple[int, int, float, int, dict[int, list[int]], int, int, int, int, float | None] | None: ...
