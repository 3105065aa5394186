"""Expert Upcycling: slot (i, c) holds expert i and its router row; copies start as their initialisation says."""

from __future__ import annotations

from growc.audit.allocation import replicas
from growc.audit.layers import spoken_of
from growc.audit.readings.experts import copy_of_expert
from growc.audit.readings.routers import copy_of_router
from growc.audit.readings.slots import Copied, Slot, slots
from growc.audit.rows import Told
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed
from growc.operators.expert_upcycling import ExpertUpcycling


def read(step: Step[ExpertUpcycling]) -> Reading:
    """See `growc.audit.readings`."""
    layers = step.operator.layers
    told: dict[str, Told] = {}
    for site in step.before.moe:
        if layers == "all" or site.layer in layers:
            placed = slots(replicas(step, site))
            for name in spoken_of(step, site):
                told[name] = _told(Copied(step, site, placed, name))
    return told


def _told(tensor: Copied) -> Told:
    of_expert, by = tensor.name in tensor.site.expert_tensors, divisor_of(tensor)

    def row(number: int) -> Value:
        slot = tensor.slots[number]
        if tensor.name in tensor.site.per_expert:
            start = tensor.own(slot)
        elif not of_expert:
            start = copy_of_router(tensor, slot)
        else:
            start = copy_of_expert(tensor, slot) if slot.turn else tensor.own(slot)
        return start if by == 1 else _divided(start, slot, by)

    return Told(tensor.step.source.dtype(tensor.name), row)


def divisor_of(tensor: Copied) -> int:
    """By what a tensor is divided where the top-K grows with the experts, and all siblings are chosen together.

    The gates of siblings add up to their source's, or each is as large as it; then what they weigh must be smaller.
    Scores that are shares of all experts shrink, and a selection bias beside them must shrink too.
    """
    site, factor = tensor.site, tensor.step.operator.factor
    if tensor.step.operator.top_k == "fixed" or site.repetition is None:
        return 1
    down = tensor.units is not None and tensor.units.down
    if down and not site.repetition.gates_add_up:
        return factor
    return factor if tensor.name == site.selection_bias and site.repetition.scores_shrink else 1


def _divided(start: Value, slot: Slot, by: int) -> Value:
    return computed(start.wide / by, f"{start.says} / {by}, one of {slot.siblings} siblings", start)
