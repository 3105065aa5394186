"""Which layers the twin of a model has, and which of them grow there: one of each kind, and a whole period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import fail
from growc.growth.rewrite import Rewrite
from growc.model.layers import layers_shown
from growc.operators import Operator
from growc.operators.facets import ReordersLayers, WidensAxes


def representative_layers(rewrites: Sequence[Rewrite]) -> dict[int, int]:
    """For every layer, the first layer that is built like it before each of `rewrites`; itself, where layers move."""
    if any(isinstance(rewrite.operator, ReordersLayers) for rewrite in rewrites):
        return {layer: layer for rewrite in rewrites for layer in range(rewrite.source.layers)}
    histories = _histories(rewrites)
    return {layer: histories.index(history) for layer, history in enumerate(histories)}


def depth(rewrites: Sequence[Rewrite]) -> int:
    """How many of the first layers show all that layers are like before each of `rewrites`: all, where they move."""
    if any(isinstance(rewrite.operator, ReordersLayers) for rewrite in rewrites):
        return rewrites[0].source.layers
    return layers_shown(_histories(rewrites))


def check_kinds(model: ModelGraph, small: ModelGraph) -> None:
    """Refuse a small version (GROW406) in which two layers are alike that differ in the model: it would not prove what
    becomes of both.
    """
    pairs = list(zip(small.blocks.letters, model.blocks.letters, strict=False))
    for layer, (letter, kind) in enumerate(pairs):
        other = next((i for i, (same, before) in enumerate(pairs) if same == letter and before != kind), None)
        if other is not None:
            fail(
                "GROW406",
                f"layers {min(layer, other)} and {max(layer, other)} differ in the model, and are alike in small",
                help="measure the claim with `growc check --measure`",
            )


def _histories(rewrites: Sequence[Rewrite]) -> list[tuple[str, ...]]:
    """What every layer is like before each of `rewrites`."""
    return list(zip(*(rewrite.source.blocks.letters for rewrite in rewrites), strict=True))


def restricted(rewrite: Rewrite, stands_for: Mapping[int, int], source: ModelGraph, small: ModelGraph) -> Operator:
    """The operator of one of several rewrites, for `small`, which stands for the `source` of the first of them.

    Layers that it names are replaced by their stand-ins, and sizes by what they are of small ones.
    """
    operator = rewrite.operator
    if isinstance(operator, WidensAxes):
        return operator.on_small(source, small)
    if getattr(operator, "layers", "all") == "all":
        return operator
    return operator.model_copy(update={"layers": sorted({stands_for[site.layer] for site in rewrite.sites})})
