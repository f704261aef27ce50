"""Text that agents supplied, made safe to show on a terminal and in a log."""

#: Characters shown of one text.
MAX_TEXT = 400


def visible(text: str, limit: int = MAX_TEXT) -> str:
    """Return text with everything but printable characters escaped, cut to ``limit`` characters."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    if cut.isprintable():
        return cut
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in cut
    )
