"""Records with one value exchanged for any other."""

import json
from typing import Any

from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(item: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to everything inside of a record."""
    found = [path] if path else []
    steps = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, inner in steps:
        found += places(inner, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw one of the records, in which one value is another one or missing."""
    record: dict[str, Any] = json.loads(json.dumps(draw(st.sampled_from(records))))
    *path, last = draw(st.sampled_from(places(record)))
    holder: Any = record
    for key in path:
        holder = holder[key]
    if isinstance(holder, dict) and draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = draw(VALUES)
    return record
