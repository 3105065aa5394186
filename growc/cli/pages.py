"""The pages of `growc explain`, and the table of operators. Everything in them comes from the code itself."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from growc.cli.fields import fields_of
from growc.diagnostics import CODES
from growc.operators import OPERATORS, Operator, operator
from growc.operators.facets import HasInitialisations, Mixes
from growc.operators.initialisation import Initialisation

SLOTS = "slot (i, c) holds source expert i for c = 1 and a copy of it for c > 1; j is the expert it is mixed with"
"""What the formulas of initialisations have in common."""


def page(topic: str) -> str:
    """The page of an operator, of an initialisation (`experts.drop`, or `drop` for all of that name) or of a code.

    Raises:
        click.UsageError: there is none.
    """
    if topic in OPERATORS:
        return "\n".join(_operator_page(topic, operator(topic)))
    if (code := topic.upper()) in CODES:
        return f"{code}  {CODES[code].title}\n\n{CODES[code].text}\n\nExit code {int(CODES[code].exit)}."
    meant = {name: of for name, of in _initialisations().items() if topic in (name, _bare(name))}
    if meant:
        return "\n\n\n".join("\n".join(_initialisation_page(name, *of)) for name, of in meant.items())
    raise click.UsageError(f"there is no operator, initialisation or diagnostic called {topic!r}: {_guess(topic)}")


def _guess(topic: str) -> str:
    dotted = list(_initialisations())
    known = [*OPERATORS, *CODES, *dotted, *map(_bare, dotted)]
    near = difflib.get_close_matches(topic, known, n=1) or difflib.get_close_matches(topic.upper(), CODES, n=1)
    return f"did you mean {near[0]}?" if near else "see `growc operators`"


def _initialisations() -> dict[str, tuple[type[Initialisation], str]]:
    """Of all operators, by names such as `experts.drop`: the class, and the YAML that chooses it."""
    return {
        f"{kind}.{name}": (cls, f"{op}: {{{field}: {{init: {name}}}}}")
        for op in OPERATORS
        for field, (kind, table) in _tables(operator(op)).items()
        for name, cls in table.items()
    }


def _tables(cls: type[Operator]) -> Mapping[str, tuple[str, Mapping[str, type[Initialisation]]]]:
    return cls.initialisations if issubclass(cls, HasInitialisations) else {}


def _bare(name: str) -> str:
    return name.partition(".")[2]


def _operator_page(name: str, cls: type[Operator]) -> Iterator[str]:
    yield f"{name}  ({cls.site} layers; {cls.paper.title}, {cls.paper.year}, arXiv {cls.paper.arxiv})"
    yield ""
    yield inspect.getdoc(cls) or ""
    yield ""
    if issubclass(cls, Mixes):
        yield "It makes one model of several: `from` lists their states, as `from: [source, math, code.stable]`."
        yield ""
    yield from fields_of(cls)
    if kinds := [kind for kind, _ in _tables(cls).values()]:
        yield ""
        yield f"Every init has a page: {', '.join(f'`growc explain {kind}.NAME`' for kind in kinds)}."


def _initialisation_page(name: str, cls: type[Initialisation], chosen_by: str) -> Iterator[str]:
    yield f"{name}  ({chosen_by})"
    yield ""
    yield inspect.getdoc(cls) or ""
    yield ""
    for field in ("formula", "source", "preserves", "cost"):
        yield f"{field + ':':<11}{getattr(cls, field)}"
    yield f"{'where':<11}{SLOTS}"
    if fields := list(fields_of(cls, without="init")):
        yield from ("", *fields)


def operator_table() -> str:
    """Every operator with what it grows, where it was published, and what it does; under it its initialisations."""
    return "\n".join(line for name in OPERATORS for line in _lines(_row(name, operator(name))))


def _lines(row: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, OPERATORS))
    yield f"{row['op']:<{width}}  {row['site']:<4}  arXiv {row['paper']}  {row['summary']}"
    inner = max((len(init["name"]) for init in row["initialisations"]), default=0)
    for init in row["initialisations"]:
        yield f"  {init['name']:<{inner}}  {init['preserves']:<7}  {init['summary']}"


def operators_json() -> str:
    """The table as one JSON object."""
    return json.dumps({"operators": [_row(name, operator(name)) for name in OPERATORS]}, indent=2)


def _row(name: str, cls: type[Operator]) -> dict[str, Any]:
    inits = [
        {"name": f"{kind}.{init}", "preserves": str(of.claim), "summary": _summary(of)}
        for kind, table in _tables(cls).values()
        for init, of in table.items()
    ]
    row = {"op": name, "site": str(cls.site), "paper": cls.paper.arxiv, "summary": _summary(cls)}
    return row | {"initialisations": inits}


def _summary(cls: type[Any]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]
