"""What experts keep of the moments of the dense network that they were made of."""

from __future__ import annotations

from collections.abc import Callable

from growc.audit.moments.kept import Kept, Moments, kept, over
from growc.audit.readings.dense import Place, places
from growc.audit.readings.virtual_group_upcycling import scales_of
from growc.audit.step import Step
from growc.audit.value import Value
from growc.operators.dense_to_moe import FromDense
from growc.operators.virtual_group_upcycling import VirtualGroupUpcycling


def of_experts(step: Step[FromDense], *, second: bool) -> Moments:
    """Those of an operator that makes experts of dense networks."""
    how, before = step.operator.optimizer_state, step.before.tensors
    if how == "reset":
        return dict.fromkeys(step.after.tensors)
    found: dict[str, Kept | None] = {name: None for name in step.after.tensors if name not in before}
    if how == "gradient":
        for site, network, order in places(step):
            for name in site.expert_tensors:
                place = Place(step, site, network, order, name)
                found[name] = kept(_row_of_expert(place, second=second), min(place.parts))
    return found


def _row_of_expert(place: Place, *, second: bool) -> Callable[[int], Value]:
    """The share of the network's that an expert gets, with even routing."""
    how = place.step.operator
    if not isinstance(how, VirtualGroupUpcycling):
        share = how.experts
        return lambda _: over(place.expert(), share**2 if second else share)
    shards = how.granularity
    share = how.experts // shards if place.units else how.experts
    scales = scales_of(how, place)
    # Where a weight is s times as large, its gradient is 1/s of what it was.
    inverse = [1 / scale**2 if second else 1 / scale for scale in scales]
    return lambda number: over(place.expert(number % shards, shards, inverse), share**2 if second else share)
