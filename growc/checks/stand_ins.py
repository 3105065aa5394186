"""Which layers the twin of a model has, and which of them grow there: the first layer of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from growc.growth.rewrite import Rewrite
from growc.operators import Operator


def stand_ins(rewrites: Sequence[Rewrite]) -> dict[int, int]:
    """For every layer, the first layer that is built like it before each of `rewrites`."""
    histories = list(zip(*(rewrite.source.blocks.letters for rewrite in rewrites), strict=True))
    return {layer: histories.index(history) for layer, history in enumerate(histories)}


def restricted(rewrite: Rewrite, stands_for: Mapping[int, int]) -> Operator:
    """The operator with the layers that it names, if it names any, replaced by their stand-ins."""
    operator = rewrite.operator
    if getattr(operator, "layers", "all") == "all":
        return operator
    return operator.model_copy(update={"layers": sorted({stands_for[site.layer] for site in rewrite.sites})})
