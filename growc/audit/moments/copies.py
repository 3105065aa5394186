"""What copies of experts keep of their source's moments, and what becomes of it when they are merged."""

from __future__ import annotations

from collections.abc import Callable

from growc.audit.allocation import replicas
from growc.audit.layers import spoken_of
from growc.audit.moments.kept import Kept, Moments, kept, nothing, over, times
from growc.audit.readings import reading
from growc.audit.readings.expert_upcycling import divisor_of
from growc.audit.readings.experts import layout
from growc.audit.readings.merge_duplicates import groups_of, mean_of, merged_sites, was_divided
from growc.audit.readings.slots import Copied, Slot, slots
from growc.audit.rows import row
from growc.audit.step import Step
from growc.audit.value import Value, computed, moved
from growc.numerics.functions.units import keep_units, shuffle
from growc.numerics.random import Stream
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.operators.experts.drop import Drop
from growc.operators.experts.interpolate import Interpolate
from growc.operators.experts.orthogonal import Orthogonal
from growc.operators.experts.random import Random
from growc.operators.experts.shuffle import Shuffle
from growc.operators.experts.sparse_code_mix import SparseCodeMix
from growc.operators.experts.svd_mix import SvdMix
from growc.operators.merge_duplicates import MergeDuplicates

UNLIKE = (Interpolate, Orthogonal, Random, SparseCodeMix, SvdMix)
"""Initialisations after which a copy is nothing like its source, and has no moments."""


def of_copies(step: Step[ExpertUpcycling], *, second: bool) -> Moments:
    """Those of expert upcycling, where any are kept."""
    layers = step.operator.layers
    found: dict[str, Kept] = {}
    for site in step.before.moe:
        if layers == "all" or site.layer in layers:
            placed = slots(replicas(step, site))
            for name in spoken_of(step, site):
                tensor = Copied(step, site, placed, name)
                found[name] = kept(_row_of_copy(tensor, second=second), name)
    return found


def _row_of_copy(tensor: Copied, *, second: bool) -> Callable[[int], Value]:
    interpolated = tensor.step.operator.optimizer_state == "interpolate" and _is_interpolated(tensor)
    weights = reading("expert_upcycling")(tensor.step)[tensor.name] if interpolated else None

    def of(number: int) -> Value:
        slot = tensor.slots[number]
        carried, how = _carried(tensor, slot), tensor.step.operator
        match how.optimizer_state:
            case "consistent":
                return over(carried, slot.siblings)
            case "reset_copies":
                return nothing(carried) if slot.turn else carried
            case "scale":
                by = how.state_scale.second if second else how.state_scale.first
                return computed(by * carried.wide, f"{by:g} times {carried.says}", carried)
            case "interpolate" if weights is not None:
                return weights.row(number)
            case "gradient":
                return _as_gradient(tensor, slot, carried, second=second)
            case _:
                return carried

    return of


def _carried(tensor: Copied, slot: Slot) -> Value:
    """For every number that of the source which it comes from; none for units that were drawn anew."""
    own, how, units = tensor.own(slot), tensor.step.operator.experts, tensor.units
    if not slot.turn or units is None or not isinstance(how, (Drop, Shuffle)):
        return own
    stream = Stream(tensor.step.seed_of(f"{tensor.site.experts}/units"), slot.number)
    if isinstance(how, Shuffle):
        return moved(own, shuffle([own.tensor], layout(units), stream))
    return moved(own, keep_units([own.tensor], {**layout(units), "fraction": how.fraction}, stream))


def _as_gradient(tensor: Copied, slot: Slot, carried: Value, *, second: bool) -> Value:
    """Siblings share the tokens of their source, so a gradient is its share, and a square the square of it.

    A tensor that was divided itself gets the tokens at their full weight.
    """
    expert = tensor.name in tensor.site.expert_tensors
    if expert and slot.turn and isinstance(tensor.step.operator.experts, UNLIKE):
        return nothing(carried)
    if expert and divisor_of(tensor) > 1:
        return carried
    return over(carried, slot.siblings**2 if second else slot.siblings)


def _is_interpolated(tensor: Copied) -> bool:
    how = tensor.step.operator
    start = how.experts if tensor.name in tensor.site.expert_tensors else how.router
    return str(start.init) == "interpolate" and len(tensor.step.before.tensors[tensor.name].shape) > 1


def of_merged(step: Step[MergeDuplicates], *, second: bool) -> Moments:
    """Those of the merging of siblings, where any are kept."""
    return {
        name: kept(_row_of_group(step, groups_of(step, site), name, was_divided(step, site, name), second), name)
        for site in merged_sites(step)
        for name in spoken_of(step, site)
    }


def _row_of_group(
    step: Step[MergeDuplicates], groups: list[range], name: str, divided: bool, second: bool
) -> Callable[[int], Value]:
    def of(number: int) -> Value:
        siblings = [row(step.source, name, one) for one in groups[number]]
        mean, size = mean_of(siblings), len(siblings)
        match step.operator.optimizer_state:
            case "copy":
                return mean
            case "reset_copies":
                return siblings[0]
            case "consistent":
                return times(mean, size)
            case _:  # a sum of gradients, and of squares the square of it; of what was divided, each has the whole
                return mean if divided else times(mean, size**2 if second else size)

    return of
