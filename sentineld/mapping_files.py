"""Mapping files: the formats that are built in, and those that an operator declares, as TOML.

``sentineld/formats/*.toml`` are the built-in ones, in the order of their names' first characters: no glob of
theirs matches a file of another one, so the order decides only between records that look alike.
"""

import os
import tomllib
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

from sentineld.errors import ConfigError
from sentineld.mapping import Classify, Mapping, MappingError
from sentineld.native import NATIVE, name_of


def read_mappings(path: str, classify: Classify) -> list[Mapping]:
    """Read one file of mappings, and check all of it. Raises ``ConfigError`` with file and key."""
    return parse_mappings(_read(path), path, classify)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(
            f"the mapping {path} cannot be read: {error.strerror}", hint="--mapping FILE.toml"
        ) from error


def parse_mappings(data: bytes, name: str, classify: Classify, *, is_checked: bool = True) -> list[Mapping]:
    """Return the mappings of a TOML document; ``name`` says where it stands. Raises ``ConfigError``.

    Without ``is_checked`` a mistake in an event shows when the first record is read.
    """
    return _mappings(_document(data, name), name, classify, is_checked=is_checked)


def _document(data: bytes, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: it is not TOML: {error}", hint="docs/mapping.md has examples") from error


def _mappings(document: dict[str, Any], name: str, classify: Classify, *, is_checked: bool) -> list[Mapping]:
    for key in document:
        if key != "source":
            raise ConfigError(f"{name}: {key}: there is no {key!r} in a mapping", hint="[[source]]")
    sources = document.get("source")
    if not isinstance(sources, list) or not sources:
        raise ConfigError(f"{name}: no source is declared", hint="[[source]]")
    mappings: list[Mapping] = []
    for number, table in enumerate(sources):
        try:
            mapping = Mapping(table, classify, f"source[{number}]")
            if is_checked:
                mapping.check()
        except MappingError as error:
            hint = error.hint or "docs/mapping.md"
            raise ConfigError(f"{name}: {error.key}: {error}", hint=hint) from error
        if name_of(mapping.name) == NATIVE or mapping.name in {other.name for other in mappings}:
            raise ConfigError(
                f"{name}: source[{number}].name: there is a format {mapping.name!r} already",
                hint="every name once",
            )
        mappings.append(mapping)
    return mappings


@cache
def _built_in_documents() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return the paths and tables of the built-in files: to parse them takes longest of all at a start."""
    folder = os.path.join(os.path.dirname(__file__), "formats")
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".toml")]
    return tuple((path, _document(_read(path), path)) for path in paths)


def built_in(classify: Classify) -> list[Mapping]:
    """Return the built-in mappings: those without mistakes, so each is compiled when it is first used."""
    return list(_built_in(classify))


@lru_cache(4)
def _built_in(classify: Classify) -> tuple[Mapping, ...]:
    return tuple(
        mapping
        for path, document in _built_in_documents()
        for mapping in _mappings(document, path, classify, is_checked=False)
    )


def all_mappings(paths: Iterable[str], classify: Classify) -> list[Mapping]:
    """Return the operator's mappings, then the built-in ones that none of those replaces by its name."""
    own: list[Mapping] = []
    for path in paths:
        for mapping in read_mappings(path, classify):
            if mapping.name in {other.name for other in own}:
                raise ConfigError(f"{path}: there are two formats {mapping.name!r}", hint="every name once")
            own.append(mapping)
    names = {mapping.name for mapping in own}
    return [*own, *(mapping for mapping in built_in(classify) if mapping.name not in names)]
