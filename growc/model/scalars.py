"""Numbers that modules compute from sizes (a scale by the square root of a width), which no tensor shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from growc.anatomy.model_graph import ModelGraph
from growc.model.build import build_meta, load_config
from growc.operators.claims import Problem


def moved_scalars(source: ModelGraph, grown: ModelGraph) -> Iterator[Problem]:
    """Why a growth in width would not be exact: fractions that modules of the grown model have otherwise."""
    before, after = _scalars(source), _scalars(grown)
    for name, number in after.items():
        if name in before and before[name] != number:
            message = f"{name} follows the sizes: it is {before[name]:g} in the source and would be {number:g}"
            yield Problem("GROW398", message, "leave the size as it is that it follows")
            return


def _scalars(model: ModelGraph) -> dict[str, float]:
    """The fractions that modules have as attributes, by module and name."""
    meta: Any = build_meta(load_config(model.config))
    return {
        f"{path}.{key}": number
        for path, module in meta.named_modules()
        for key, number in vars(module).items()
        if type(number) is float
    }
