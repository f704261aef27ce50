"""Write the reference pages that come from the code.

These are docs/commands.md, docs/configuration.md, docs/schemas.md and the table in docs/metrics.md.

python docs/generate.py           write them
python docs/generate.py --check   exit 1 where one is out of date
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path

import click

import sentineld
from sentineld.cli import main as sentineld_command
from sentineld.cli.app import COMMANDS, cli
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


_COMMANDS = """# Commands

What each command says with `--help`. Every one takes `--json`, which prints a document with a
[schema](schemas.md), and `--config` and `--state-dir`, which say where things are
([paths](paths.md)).

| exit code | meaning |
| --- | --- |
| 0 | fine |
| 1 | a finding (`tier`, `gate`, `check`, `doctor`, `demo`: see there) |
| 2 | the command line is wrong |
| 3 | the state is missing or stale |
| 74 | the disk is full or fails: try again |
| 75 | another daemon holds the state directory |
| 77 | no permission |
| 78 | the configuration is wrong |

Errors are `error: ...` and `try: ...` on stderr, one pair for each mistake; with `--json` they are a document
on stdout as well (`sentineld schema error`). Sentences are filled to the terminal, to `COLUMNS` where that
is set, else to 80 columns; a command that is to be copied stays on one line, and so does whatever a script
reads by lines: `log` in a pipe, `tier`, and documents by `--json`.

This page is generated from the commands themselves.
"""

_SCHEMAS = """# Schemas

JSON Schemas of every document that `--json` prints, and of the files that other programs read;
`sentineld schema NAME` prints one, with all others that it refers to in its `$defs`. A later version adds
keys and changes none. Where an error keeps a command from its document, `--json` prints an `error`.

| name | document |
| --- | --- |
"""

_TABLE_BEGIN, _TABLE_END = "<!-- written by docs/generate.py -->", "<!-- until here -->"


def configuration() -> str:
    """Return the page of all options."""
    rows = [
        f"| `{option.key}` | {option.type_name} | {_default(option)} "
        f"| {_meaning(option)} | `{option.variable}` |\n"
        for option in options()
    ]
    return _CONFIGURATION + "".join(rows) + "".join(map(_table, tables()))


def commands() -> str:
    """Return the page of all commands."""
    # As wide as a narrow terminal, whatever this one is.
    os.environ["COLUMNS"] = "80"
    return _COMMANDS + "".join(f"\n## {' '.join(path)}\n\n```text\n{_help(path)}```\n" for path in _paths())


def _paths() -> Iterator[tuple[str, ...]]:
    with click.Context(cli) as context:
        for name in COMMANDS:
            yield (name,)
            command = cli.get_command(context, name)
            if isinstance(command, click.Group):
                yield from ((name, part) for part in command.list_commands(context))


def _help(path: tuple[str, ...]) -> str:
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        sentineld_command([*path, "--help"])
    return text.getvalue()


def schemas() -> str:
    """Return the page of all schemas."""
    folder = Path(sentineld.__file__).parent / "schemas"
    rows = []
    for path in sorted(folder.glob("*.schema.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        rows.append(f"| `{path.name.removesuffix('.schema.json')}` | {schema['title']} |\n")
    return _SCHEMAS + "".join(rows)


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


def _meaning(option: Option) -> str:
    return option.description + (" A change takes a restart." if option.needs_restart else "")


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
    pages = {
        "commands.md": commands(),
        "configuration.md": configuration(),
        "metrics.md": metrics(),
        "schemas.md": schemas(),
    }
    for name, text in pages.items():
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
