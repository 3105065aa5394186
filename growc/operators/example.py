"""Examples that every operator brings in its own file, as `EXAMPLES`: what tests run it with, and readers try first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, cast

from growc.operators import OPERATORS
from growc.operators.claims import Preserves


@dataclass(frozen=True)
class Example:
    """One way to use an operator: the YAML beside `op`, and what its source is built of.

    The source is a `dense` model or a `mixture` of eight experts, grown by the operators of `grown_by` (each its YAML,
    with `parents`, the number of states that it mixed, where there are several). `parents` is how many states the
    operator itself gets. `preserves` is what it claims of its source.
    """

    settings: Mapping[str, Any]
    preserves: Preserves
    source: Literal["dense", "mixture"] = "mixture"
    grown_by: tuple[Mapping[str, Any], ...] = ()
    parents: int = 1


def examples(op: str) -> Mapping[str, Example]:
    """The examples of the operator called `op`, by name.

    Raises:
        KeyError: there is no such operator.
    """
    module, _, _ = OPERATORS[op].partition(":")
    return cast(Mapping[str, Example], import_module(module).EXAMPLES)
