"""What keeps an operator on mixtures of experts from the layers that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from growc.operators.grown_config import shares_weights
from growc.operators.operator import Growable, Problem
from growc.operators.sharing import sharing


def refusals(model: Growable, layers: Literal["all"] | Sequence[int]) -> list[Problem]:
    """Why `layers` of `model`, decoder layers counted from 0, are not all layers whose experts stand for themselves."""
    moe = [site.layer for site in model.moe]
    if not moe:
        message = f"{model.model_type} has no mixture-of-experts layer"
        return [Problem("GROW301", message, "choose a source with experts")]
    if shares_weights(model.config):
        return [sharing(model)]
    found = list[Problem]()
    for position, layer in enumerate(() if layers == "all" else layers):
        where = ("layers", position)
        if layer not in moe:
            known = f"layers with experts: {', '.join(map(str, moe))}"
            found.append(Problem("GROW302", f"layer {layer} has no experts", known, where))
        elif layers != "all" and layer in layers[:position]:
            found.append(Problem("GROW302", f"layer {layer} is given twice", "give it once", where))
    return found
