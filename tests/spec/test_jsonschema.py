"""The schema for editors: draft 07, described throughout, and of the same mind as the loader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from growc.operators import OPERATORS, operator
from growc.spec import json_schema
from growc.spec.known import fields
from growc.spec.schema import Spec


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _parts(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _parts(item)


def test_only_draft_07() -> None:
    schema = json_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert json.loads(json.dumps(schema)) == schema
    later = {
        "prefixItems",
        "$defs",
        "$dynamicRef",
        "unevaluatedProperties",
        "dependentSchemas",
        "discriminator",
    }
    for part in _parts(schema):
        assert not later & part.keys()
        if "$ref" in part:
            assert part.keys() == {"$ref"}
            assert part["$ref"].removeprefix("#/definitions/") in schema["definitions"]


def test_every_property_is_described() -> None:
    schema = json_schema()
    definitions = {"Spec": schema, **schema["definitions"]}
    bare = [name for name, definition in definitions.items() if not definition.get("description")]
    for name, definition in definitions.items():
        fields_here = definition.get("properties", {}).items()
        bare += [f"{name}.{key}" for key, field in fields_here if not field.get("description")]
    assert bare == []


def test_every_key_of_the_language_is_there() -> None:
    schema = json_schema()
    assert schema["properties"].keys() == fields(Spec).keys()
    assert schema["required"] == ["growth", "name", "model", "stages"]
    steps = schema["definitions"]["Stage"]["properties"]["grow"]["items"]["oneOf"]
    assert len(steps) == len(OPERATORS)
    for name, step in zip(OPERATORS, steps, strict=True):
        definition = schema["definitions"][step["$ref"].removeprefix("#/definitions/")]
        assert definition["properties"]["op"]["const"] == name
        assert definition["properties"].keys() == {"op"} | fields(operator(name)).keys()
        assert "op" in definition["required"]
        assert definition["additionalProperties"] is False


def test_alternatives_are_stated() -> None:
    definitions = json_schema()["definitions"]
    assert definitions["Stage"]["oneOf"] == [{"required": ["train"]}, {"required": ["grow"]}]
    assert [list(each.values()) for each in definitions["Model"]["oneOf"]] == [
        [["hub"]], [["path"]], [["config"]], [["module"]],
    ]  # fmt: skip
    alone, keys = definitions["Precision"]["oneOf"]
    assert alone["enum"] == ["fp32", "bf16"]
    assert keys["properties"].keys() == {"compute", "moments"}
    kinds = [variant["required"] for variant in definitions["Validation"]["oneOf"]]
    assert kinds == [
        ["fraction"],
        ["source"],
        ["kind"],
        ["kind", "path"],
        ["kind", "path"],
        ["kind", "path", "dtype"],
    ]
