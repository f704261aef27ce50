"""Documents against their published schemas."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parents[2] / "sentineld" / "schemas"


@cache
def registry() -> Registry[Any]:
    resources = [
        Resource.from_contents(json.loads(path.read_text())) for path in SCHEMAS.glob("*.schema.json")
    ]
    return Registry().with_resources((resource.id(), resource) for resource in resources)


def closed(schema: Any) -> Any:
    """Allow no member that the schema does not name: what we print must be documented."""
    if isinstance(schema, dict):
        closing = {"additionalProperties": False} if "properties" in schema else {}
        return {**{key: closed(value) for key, value in schema.items()}, **closing}
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


def check(name: str, document: Any) -> None:
    """Fail unless the document is as its schema says."""
    schema = closed(registry().contents(f"urn:sentineld:schema:{name}"))
    Draft202012Validator(
        schema, registry=registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
    ).validate(document)
