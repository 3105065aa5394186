"""What a model's fields are, from their JSON schema: one line per field, nested fields indented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel


def fields_of(cls: type[BaseModel], without: str = "") -> Iterator[str]:
    """One line per field: name, what may stand there, the default, what it means. The field `without` is left out."""
    schema = cls.model_json_schema()
    properties = {name: field for name, field in schema.get("properties", {}).items() if name != without}
    yield from _fields(schema | {"properties": properties}, schema.get("$defs", {}), 0)


def _fields(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        default = f" = {_flow(field['default'])}" if "default" in field else ""
        must = " (required)" if name in required and "const" not in field else ""
        says = f"  {field['description']}" if "description" in field else ""
        yield f"{indent}{name}: {_type(field, definitions)}{default}{must}{says}"
        nested = [definitions[v["$ref"].rpartition("/")[2]] for v in _variants(field) if "$ref" in v]
        if nested and all("const" in definition["properties"].get("init", {}) for definition in nested):
            yield from (f"{indent}  {line}" for line in _initialisations(nested))
            continue
        for definition in nested:
            if len(_variants(field)) > 1:
                yield f"{indent}  {_summary(definition)}"
            yield from _fields(definition, definitions, depth + 1 + (len(_variants(field)) > 1))


def _initialisations(definitions: list[dict[str, Any]]) -> Iterator[str]:
    """One line each: they have pages of their own."""
    choices = [definition["properties"]["init"] for definition in definitions]
    names = [" | ".join([choice["const"]] if "const" in choice else choice["enum"]) for choice in choices]
    width = max(map(len, names))
    yield from (f"{name:<{width}}  {_summary(one)}" for name, one in zip(names, definitions, strict=True))


def _variants(field: dict[str, Any]) -> list[dict[str, Any]]:
    return field.get("oneOf") or field.get("anyOf") or [field]


def _summary(definition: dict[str, Any]) -> str:
    return str(definition.get("description", "")).partition("\n")[0]


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    words: list[str] = []
    for variant in _variants(field):
        if "$ref" in variant:
            words.append("{...}" if "{...}" not in words else "")
        elif "const" in variant:
            words.append(str(variant["const"]))
        elif "enum" in variant:
            words.append(" | ".join(map(str, variant["enum"])))
        elif variant.get("type") == "array":
            words.append(f"[{_type(variant.get('items', {}), definitions)}, ...]")
        else:
            words.append(_bounded(variant))
    return " | ".join(filter(None, words))


def _bounded(variant: dict[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {variant[key]:g}" for key, sign in signs.items() if key in variant]
    return " ".join([str(variant.get("type", "")), *bounds])


def _flow(value: Any) -> str:
    return json.dumps(value).replace('"', "")
