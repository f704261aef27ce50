"""``sentineld schema``: the JSON Schemas of all documents."""

import difflib
import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import click

from sentineld.cli.app import common, print_json
from sentineld.errors import UsageError

_SUFFIX = ".schema.json"
_URN = "urn:sentineld:schema:"


def _folder() -> Traversable:
    return resources.files("sentineld") / "schemas"


def _names() -> list[str]:
    names = [item.name for item in _folder().iterdir()]
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def _complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [name for name in _names() if name.startswith(begun)]


@click.command(
    name="schema",
    epilog="Example: sentineld schema status > status.schema.json",
)
@click.argument("name", required=False, shell_complete=_complete)
@common
def schema(name: str | None, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Print the JSON Schema of a document, by its name; without one, list the names."""
    del config_path, state_dir  # Every command takes them.
    names = _names()
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
    print_json(_bundled(name))


def _bundled(name: str) -> dict[str, Any]:
    """Return a schema that needs no other: those that it refers to stand in it, with their own ids."""
    schema, *others = _with_others(name, {}).values()
    if others:
        schema["$defs"] = schema.get("$defs", {}) | {
            other["$id"].removeprefix(_URN): other for other in others
        }
    return schema


def _with_others(name: str, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add a schema, and all that it refers to, to those that were found."""
    if name not in found:
        found[name] = json.loads((_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8"))
        for other in _references(found[name]):
            _with_others(other, found)
    return found


def _references(part: Any) -> list[str]:  # noqa: ANN401 (any part of a schema)
    """Return the names of the other schemas that a part of a schema refers to."""
    if isinstance(part, list):
        return [name for item in part for name in _references(item)]
    if not isinstance(part, dict):
        return []
    own = part.get("$ref", "")
    names = [own.removeprefix(_URN)] if isinstance(own, str) and own.startswith(_URN) else []
    return names + [name for value in part.values() for name in _references(value)]
