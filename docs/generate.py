"""Write the reference pages that come from the code: docs/configuration.md, the table in docs/metrics.md.

python docs/generate.py           write them
python docs/generate.py --check   exit 1 where one is out of date
"""

import sys
from pathlib import Path

from sentineld.config import Option, Table, duration_text, options, tables
from sentineld.metrics import METRICS
from sentineld.options import Duration

DOCS = Path(__file__).parent

_CONFIGURATION = """# Configuration

One TOML file; every option has a default that works. It is found at the path of `--config`, else at
`/etc/sentineld/sentineld.toml`, else at `~/.config/sentineld/sentineld.toml`. `sentineld init` writes a
starter file, `sentineld check` tests one, and SIGHUP makes a running daemon read it again (it keeps the old
one, and says why, where the new one is faulty).

Order: defaults, file, environment, flags of the command line. Unknown options are refused, and the nearest
name is told. Durations are a number with a unit: `250ms`, `30s`, `15m`, `1h`, `2d`, `1w`.

This page is generated from the declarations in `sentineld/config.py`.

| option | type | default | meaning | environment |
|---|---|---|---|---|
"""


_TABLE_BEGIN, _TABLE_END = "<!-- written by docs/generate.py -->", "<!-- until here -->"


def configuration() -> str:
    """Return the page of all options."""
    rows = [
        f"| `{option.key}` | {option.type_name} | {_default(option)} "
        f"| {option.description} | `{option.variable}` |\n"
        for option in options()
    ]
    return _CONFIGURATION + "".join(rows) + "".join(map(_table, tables()))


def metrics() -> str:
    """Return the page of metrics: its text as it is, its table as the code says."""
    head, begin, rest = (DOCS / "metrics.md").read_text(encoding="utf-8").partition(_TABLE_BEGIN)
    rows = "".join(
        f"| `{item.name}{{{', '.join(item.labels)}}}` | {item.kind} | {item.help} |\n"
        if item.labels
        else f"| `{item.name}` | {item.kind} | {item.help} |\n"
        for item in METRICS
    )
    table = f"\n\n| metric | kind | what it says |\n| --- | --- | --- |\n{rows}\n"
    return head + begin + table + _TABLE_END + rest.partition(_TABLE_END)[2]


def _table(table: Table) -> str:
    text = f"\n## `{table.key}`\n\n{table.description} Only the file can give it.\n\n"
    if table.options:
        rows = [
            f"| `{option.key}` | {option.type_name} | {_default(option)} | {option.description} |\n"
            for option in table.options
        ]
        text += "| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows) + "\n"
    return f"{text}```toml\n{table.example}\n```\n"


def _default(option: Option) -> str:
    default = option.default
    if isinstance(default, Duration):
        default = duration_text(default)
    if isinstance(default, bool):
        default = str(default).lower()
    return f"`{default}`" if default not in ("", []) else ""


def main() -> int:
    """Write or check every page."""
    stale = 0
    for name, text in {"configuration.md": configuration(), "metrics.md": metrics()}.items():
        path = DOCS / name
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text() != text:
                print(f"{path} is out of date: python docs/generate.py")
                stale += 1
        else:
            path.write_text(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
