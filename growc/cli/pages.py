"""The pages of `growc explain`, and the table of operators. Everything in them comes from the code itself."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterator
from typing import Any

import click

from growc.diagnostics import CODES
from growc.operators import OPERATORS, Operator, operator


def page(topic: str) -> str:
    """The page of an operator or a code.

    Raises:
        click.UsageError: there is none.
    """
    if topic in OPERATORS:
        return "\n".join(_operator_page(topic, operator(topic)))
    if (code := topic.upper()) in CODES:
        return f"{code}  {CODES[code].title}\n\n{CODES[code].text}\n\nExit code {int(CODES[code].exit)}."
    near = difflib.get_close_matches(topic, [*OPERATORS, *CODES], n=1) or difflib.get_close_matches(
        topic.upper(), CODES, n=1
    )
    guess = f"did you mean {near[0]}?" if near else "see `growc operators`"
    raise click.UsageError(f"there is no operator and no diagnostic called {topic!r}: {guess}")


def _operator_page(name: str, cls: type[Operator]) -> Iterator[str]:
    yield f"{name}  ({cls.site} layers; {cls.paper.title}, {cls.paper.year}, arXiv {cls.paper.arxiv})"
    yield ""
    yield inspect.getdoc(cls) or ""
    yield ""
    schema = cls.model_json_schema()
    yield from _fields(schema, schema.get("$defs", {}), 0)


def _fields(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> Iterator[str]:
    """One line per field: name, what may stand there, the default, what it means; nested fields are indented."""
    indent = "  " * depth
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        default = f" = {_flow(field['default'])}" if "default" in field else ""
        must = " (required)" if name in required and "const" not in field else ""
        says = f"  {field['description']}" if "description" in field else ""
        yield f"{indent}{name}: {_type(field, definitions)}{default}{must}{says}"
        for variant in _variants(field):
            if "$ref" in variant:
                nested = definitions[variant["$ref"].rpartition("/")[2]]
                if len(_variants(field)) > 1:
                    yield f"{indent}  {_summary(nested)}"
                yield from _fields(nested, definitions, depth + 1 + (len(_variants(field)) > 1))


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


def operator_table() -> str:
    """Every operator with what it grows, where it was published, and what it does."""
    rows = [_row(name, operator(name)) for name in OPERATORS]
    names = max(len(row["op"]) for row in rows)
    return "\n".join(f"{r['op']:<{names}}  {r['site']:<4}  arXiv {r['paper']}  {r['summary']}" for r in rows)


def operators_json() -> str:
    """The table as one JSON object."""
    return json.dumps({"operators": [_row(name, operator(name)) for name in OPERATORS]}, indent=2)


def _row(name: str, cls: type[Operator]) -> dict[str, Any]:
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    return {"op": name, "site": str(cls.site), "paper": cls.paper.arxiv, "summary": summary}
