"""Virtual-group upcycling: expert j is shard j mod G of the dense network; groups of G experts have one router row."""

from __future__ import annotations

from growc.audit.readings.dense import Place, drawn_router, read_dense
from growc.audit.step import Reading, Step
from growc.audit.value import Value
from growc.operators.virtual_group_upcycling import VirtualGroupUpcycling


def read(step: Step[VirtualGroupUpcycling]) -> Reading:
    """See `growc.audit.readings`."""
    shards = step.operator.granularity

    def expert(place: Place, number: int) -> Value:
        return place.expert(number % shards, shards, scales_of(step.operator, place))

    return read_dense(step, expert, drawn_router(step, shards))


def scales_of(how: VirtualGroupUpcycling, place: Place) -> list[float]:
    """The factors on the parts in one expert tensor that make up for small gates.

    Gates of a token sum to 1, or near even routing to K/E. A group of shards gets one share of that for each of its
    shards, of which every one is a G-th of the network's units, so that c = G, or G E / K.
    """
    parts, gated = len(place.parts), len(place.network.up) == 2
    of_gates = 1.0 if how.gates == "renormalised" else how.experts / how.top_k
    c = how.granularity * of_gates
    if how.scaling == "none":
        return [1.0] * parts
    if place.units is None:
        return [of_gates]  # the bias of the way back is whole in every shard
    if how.scaling == "paper":
        return [c ** (1 / 3)] * parts
    if not gated:
        return [c if place.down else 1.0]
    # The gate goes through the activation; up and down are what the output is linear in.
    return [c**0.5] if place.down else [1.0, c**0.5]
