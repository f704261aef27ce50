"""Mapping files: the formats that are built in, and those that an operator declares, as TOML.

``sentineld/formats/*.toml`` are the built-in ones, in the order of their names' first characters: no glob of
theirs matches a file of another one, so the order decides only between records that look alike.
"""

import os
import tomllib
from collections.abc import Iterable
from functools import lru_cache

from sentineld.errors import ConfigError
from sentineld.mapping import Classify, Mapping, MappingError
from sentineld.recognition import NATIVE


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
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: it is not TOML: {error}", hint="docs/mapping.md has examples") from error
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
        if mapping.name == NATIVE or mapping.name in {other.name for other in mappings}:
            raise ConfigError(
                f"{name}: source[{number}].name: there is a format {mapping.name!r} already",
                hint="every name once",
            )
        mappings.append(mapping)
    return mappings


@lru_cache(4)
def built_in(classify: Classify) -> tuple[Mapping, ...]:
    """Return the built-in mappings: those without mistakes, so each is compiled when it is first used."""
    found: list[Mapping] = []
    folder = os.path.join(os.path.dirname(__file__), "formats")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".toml"):
            path = os.path.join(folder, name)
            found += parse_mappings(_read(path), path, classify, is_checked=False)
    return tuple(found)


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
