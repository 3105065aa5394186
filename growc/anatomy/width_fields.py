"""The keys of a config that say how wide a model is."""

from __future__ import annotations

from collections.abc import Iterator

from growc.anatomy.model_graph import ModelGraph

STANDARD = ("hidden_size", "num_attention_heads", "num_key_value_heads")
"""What transformers calls the widths of the residual stream and of attention, whatever a family's own names are."""


def width_fields(model: ModelGraph) -> dict[str, int]:
    """The keys that set how many features the stream, the heads and the units of networks and experts have.

    Not the width of a head: what positions are told by is bound to it.
    """
    names = (model.names.get(name, name) for name in STANDARD)
    found = {name: model.config[name] for name in names if type(model.config.get(name)) is int}
    units = dict(_units(model))
    counted = (axis for axis in model.axes if any(units.get((d.tensor, d.dim)) == d.factor for d in axis.dims))
    return found | {axis.field: axis.size for axis in counted if axis.field not in found}


def _units(model: ModelGraph) -> Iterator[tuple[tuple[str, int], int]]:
    """The dimensions that hold intermediate units, with the positions of each unit."""
    for network in model.ffn:
        yield from (((f"{up}.weight", int(network.transposed)), 1) for up in network.up)
    for site in model.moe:
        yield from (((units.tensor, units.dim + 1), units.times) for units in site.units)
