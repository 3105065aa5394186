"""The language as JSON Schema (draft 07) for editors: https://json-schema.org/draft-07/json-schema-release-notes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, cast, get_args

from growc.operators import OPERATORS, Operator, operator
from growc.spec.schema import CorpusSpec, Spec

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema of a `.growth.yaml` file, with each operator's own keys."""
    definitions: Schema = {}
    schema = _schema_of(Spec, "", definitions)
    steps = [_operator_schema(name, operator(name), definitions) for name in OPERATORS]
    grow = definitions["Stage"]["properties"]["grow"]
    grow |= {"type": "array", "minItems": 1, "items": {"oneOf": steps}}
    del grow["anyOf"], grow["default"]
    _exactly_one(definitions["Stage"], "train", "grow")
    _exactly_one(definitions["Model"], "hub", "path", "config", "module")
    definitions["Validation"] = _validation(definitions)
    definitions["Precision"] = _precision(definitions["Precision"])
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "growc spec (.growth.yaml)"}
    return head | schema | {"title": head["title"], "definitions": definitions}


def _schema_of(model: type[Any], prefix: str, definitions: Schema) -> Schema:
    """A model's schema; its definitions go to `definitions`, named with `prefix`."""
    template = f"#/definitions/{prefix}{{model}}"
    schema: Schema = model.model_json_schema(ref_template=template)
    for name, definition in schema.pop("$defs", {}).items():
        definitions[prefix + name] = _for_editors(definition)
        for field in definitions[prefix + name].get("properties", {}).values():
            if "const" in field:  # what tells a variant from the others means what the variant means
                field.setdefault("description", definition.get("description", "").partition("\n")[0])
    return _for_editors(schema)


def _operator_schema(name: str, cls: type[Operator], definitions: Schema) -> Schema:
    schema = _schema_of(cls, f"{cls.__name__}.", definitions)
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    properties = {"op": {"const": name, "description": summary}, **schema.get("properties", {})}
    definitions[cls.__name__] = schema | {
        "properties": properties,
        "required": ["op", *schema.get("required", [])],
    }
    return {"$ref": f"#/definitions/{cls.__name__}"}


def _exactly_one(definition: Schema, *keys: str) -> None:
    definition["oneOf"] = [{"required": [key]} for key in keys]


def _validation(definitions: Schema) -> Schema:
    """A fraction or a source, or the keys of a source, each beside `sequences`."""
    whole = definitions["Validation"]
    properties: Schema = whole["properties"]
    sequences = {"sequences": properties["sequences"]}
    variants: list[Schema] = []
    for key in ("fraction", "source"):
        own = {key: properties[key]} | sequences
        variants.append({"type": "object", "additionalProperties": False, "properties": own, "required": [key]})
    for kind in get_args(get_args(CorpusSpec)[0]):
        source = definitions[kind.__name__]
        variants.append(source | {"properties": source["properties"] | sequences})
    return {"description": whole["description"], "oneOf": variants}


def _precision(whole: Schema) -> Schema:
    """A type alone, or keys."""
    return {"description": whole["description"], "oneOf": [{"enum": whole["properties"]["compute"]["enum"]}, whole]}


def _for_editors(schema: Any) -> Any:
    """Without titles and OpenAPI's discriminators; draft 07 ignores what stands beside a `$ref`."""
    if isinstance(schema, list):
        return [_for_editors(item) for item in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    plain = dict(_without_noise(cast(Schema, schema)))
    if "$ref" in plain and len(plain) > 1:
        plain["allOf"] = [{"$ref": plain.pop("$ref")}]
    return plain


def _without_noise(schema: Schema) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        if key == "properties":
            yield key, {name: _for_editors(field) for name, field in value.items()}
        elif key not in ("title", "discriminator"):
            yield key, _for_editors(value)
