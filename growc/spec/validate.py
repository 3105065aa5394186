"""Nodes against the schema: a `Spec`, and every way in which they are not one."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from growc.diagnostics import Diagnostic
from growc.spec.messages import Located, diagnostics, locate
from growc.spec.nodes import MapNode, Plain, Scalar, plain
from growc.spec.schema import Spec

MOST = 100
"""Values that are explained when they are wrong, and contradictions; further values are counted only."""


def validate(root: MapNode) -> tuple[Spec | None, list[Diagnostic]]:
    """The spec that `root` says, if any, and what is wrong with it.

    A whole number written as a float (`14e9`) passes where an integer is asked. Unknown keys are reported and
    left out, so that the rest of the file is still checked.
    """
    values = plain(root)
    spec, errors = _validated(values, root)
    unknown = [e for e in errors if e.kind == "extra_forbidden"]
    if _mend(values, errors):
        spec, errors = _validated(values, root)
    errors = [*unknown, *errors]
    errors.sort(key=lambda e: e.node.span)
    found = diagnostics(errors[:MOST], root)
    if len(errors) > MOST:
        message = f"there are {len(errors) - MOST} more problems"
        found.append(Diagnostic("GROW108", message, "mend the first ones and check again", errors[MOST].node.span))
    return spec, found


def _validated(values: Plain, root: MapNode) -> tuple[Spec | None, list[Located]]:
    try:
        # As JSON, because only pydantic's JSON mode is strict about numbers and still makes tuples and enums.
        return Spec.model_validate_json(json.dumps(values), strict=True), []
    except ValidationError as error:
        return None, [locate(e, root) for e in error.errors(include_url=False, include_input=False)]


def _mend(values: Plain, errors: list[Located]) -> bool:
    """Make whole floats integers where integers are asked and drop unknown keys; whether there was any."""
    mended = False
    for error in errors:
        if not error.path:
            continue
        *parents, last = error.path
        holder: Any = values
        for step in parents:
            holder = holder[step]
        match error.kind, error.node:
            case "extra_forbidden", _:
                holder.pop(last, None)
            case "int_type", Scalar(float() as number) if number.is_integer():
                holder[last] = int(number)
            case _:
                continue
        mended = True
    return mended
