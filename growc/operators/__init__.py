"""Growth operators: one small file each, and the table of them."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from growc.operators.operator import Operator

OPERATORS: dict[str, str] = {
    "expert_upcycling": "growc.operators.expert_upcycling:ExpertUpcycling",
}
"""Operator name -> where its class lives; a new operator is a file and a row."""


def operator(name: str) -> type[Operator]:
    """The class of the operator called `name`.

    Raises:
        KeyError: there is no such operator.
    """
    module, _, cls = OPERATORS[name].partition(":")
    return cast(type[Operator], getattr(import_module(module), cls))


__all__ = ["OPERATORS", "Operator", "operator"]
