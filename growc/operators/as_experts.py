"""A dense feed-forward network seen as one expert, or as several that share its units."""

from __future__ import annotations

from growc.anatomy.matches import JoinedExpert, NewExpert
from growc.programs import AsExperts, Source


def as_experts(tensor: NewExpert | JoinedExpert, shards: int = 1, scales: tuple[float, ...] = ()) -> AsExperts:
    """The expert tensor that holds the dense network, with a row for each of `shards` shares of its units.

    Args:
        tensor: of shape (experts, ...) for matrices, (experts, outputs) for biases.
        shards: into how many experts the units are split.
        scales: factors on the maps that lie in the tensor, in their order there; none: 1.
    """
    shape, network, units = tensor.shape, tensor.ffn, tensor.units
    down = units is None or units.down
    maps = (network.down,) if down else tuple(network.up[place] for place in tensor.order)
    if len(shape) == 2:
        parts = tuple(Source(f"{path}.bias") for path in maps)
        length = shape[1] if down else network.width
        return AsExperts(parts, (length,) * len(parts), None if down else 0, 0, shards=shards, scales=scales)
    assert units is not None, f"the units of {tensor.name} are not known"
    parts = tuple(Source(f"{path}.weight") for path in maps)
    along = 1 if down != network.transposed else 0
    length = network.width if along == 0 else shape[2 - units.dim]
    return AsExperts(parts, (length,) * len(parts), along, units.dim, units.interleaved, shards, scales)
