"""``sentineld schema``: the JSON Schemas of all documents."""

import difflib
from importlib import resources

import click

from sentineld.cli.app import common, print_json
from sentineld.errors import UsageError

_SUFFIX = ".schema.json"


@click.command(
    name="schema",
    epilog="Example: sentineld schema status > status.schema.json",
)
@click.argument("name", required=False)
@common
def schema(name: str | None, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Print the JSON Schema of a document, by its name; without one, list the names."""
    del config_path, state_dir  # Every command takes them.
    folder = resources.files("sentineld") / "schemas"
    names = sorted(
        item.name.removesuffix(_SUFFIX) for item in folder.iterdir() if item.name.endswith(_SUFFIX)
    )
    if name is None:
        if as_json:
            print_json({"schemas": names})
        else:
            click.echo("\n".join(names))
        return
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise UsageError(
            f"there is no schema {name!r}", hint=f"sentineld schema {near[0]}" if near else "sentineld schema"
        )
    click.echo((folder / f"{name}{_SUFFIX}").read_text(encoding="utf-8"), nl=False)
