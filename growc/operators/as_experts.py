"""A dense feed-forward network seen as one expert, or as several that share its units."""

from __future__ import annotations

from growc.anatomy.sites import FfnSite, MoeSite
from growc.programs import AsExperts, Source


def as_experts(
    name: str,
    shape: tuple[int, ...],
    site: MoeSite,
    network: FfnSite,
    order: tuple[int, ...],
    shards: int = 1,
    scales: tuple[float, ...] = (),
) -> AsExperts:
    """The expert tensor called `name` that holds the network, with a row for each of `shards` shares of its units.

    Args:
        name: of a tensor of `site`, in the grown model.
        shape: of that tensor: (experts, ...) for matrices, (experts, outputs) for biases.
        site: the mixture that takes the network's place.
        network: in the source.
        order: the places of the network's `up` maps in an expert's tensor.
        shards: into how many experts the units are split.
        scales: factors on the maps that lie in the tensor, in their order there; none: 1.
    """
    units = next((unit for unit in site.units if unit.tensor == name), None)
    down = units is None or units.down
    maps = (network.down,) if down else tuple(network.up[place] for place in order)
    if len(shape) == 2:
        parts = tuple(Source(f"{path}.bias") for path in maps)
        length = shape[1] if down else network.width
        return AsExperts(parts, (length,) * len(parts), None if down else 0, 0, shards=shards, scales=scales)
    assert units is not None, f"the units of {name} are not known"
    parts = tuple(Source(f"{path}.weight") for path in maps)
    along = 1 if down != network.transposed else 0
    length = network.width if along == 0 else shape[2 - units.dim]
    return AsExperts(parts, (length,) * len(parts), along, units.dim, units.interleaved, shards, scales)
