"""How the copies' expert weights start, as the formulas of `growc.operators.experts` say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from growc.anatomy.sites import Units
from growc.audit.readings.slots import Copied, Slot
from growc.audit.value import Value, computed, moved
from growc.numerics.functions.orthogonal import orthogonal
from growc.numerics.functions.singular import svd_mix, svd_perturb
from growc.numerics.functions.sparse import sparse_code_mix
from growc.numerics.functions.units import drop_units, shuffle
from growc.numerics.matrices import one_thread
from growc.numerics.random import Stream
from growc.operators.experts.copy import Copy
from growc.operators.experts.copy_noise import CopyNoise
from growc.operators.experts.drop import Drop
from growc.operators.experts.interpolate import Interpolate
from growc.operators.experts.orthogonal import Orthogonal
from growc.operators.experts.random import Random
from growc.operators.experts.scaled_copy import ScaledCopy
from growc.operators.experts.shuffle import Shuffle
from growc.operators.experts.sparse_code_mix import SparseCodeMix
from growc.operators.experts.svd_mix import SvdMix
from growc.operators.experts.svd_perturb import SvdPerturb

UNSTEADY = 64.0
"""By how much decompositions may enlarge an error of what they read."""
SPREAD = 4.0
"""The same of fresh draws whose mean and deviation are those of what they replace."""


def copy_of_expert(tensor: Copied, slot: Slot) -> Value:
    """What a slot with a copy starts as in one expert tensor."""
    how = tensor.step.operator.experts
    return STARTS[type(how)](tensor, slot, how)


def _copy(tensor: Copied, slot: Slot, _: Copy) -> Value:
    return tensor.own(slot)


def _copy_noise(tensor: Copied, slot: Slot, how: CopyNoise) -> Value:
    own, unit = tensor.own(slot), tensor.std if how.unit == "std" else 1.0
    noise = how.noise * unit * tensor.normal(slot.number)
    return computed(own.wide + noise, f"{own.says} with noise", own, noise)


def _scaled_copy(tensor: Copied, slot: Slot, how: ScaledCopy) -> Value:
    own = tensor.own(slot)
    return computed(how.scale * own.wide, f"{how.scale:g} times {own.says}", own)


def _shuffle(tensor: Copied, slot: Slot, _: Shuffle) -> Value:
    own = tensor.own(slot)
    if tensor.units is None:
        return own
    made = shuffle([own.tensor], layout(tensor.units), _of_expert(tensor, slot))
    return moved(own, made)


def _drop(tensor: Copied, slot: Slot, how: Drop) -> Value:
    own, units = tensor.own(slot), tensor.units
    if units is None:
        return own
    noise = tensor.normal(slot.number)
    settings = {**layout(units), "fraction": how.fraction, "fresh": how.fresh, "down": int(units.down)}
    with one_thread():
        made = drop_units([own.wide, noise], settings, _of_expert(tensor, slot))
    return computed(made, f"{own.says} with {how.fraction:g} of its units drawn anew", own, gain=SPREAD)


def _interpolate(tensor: Copied, slot: Slot, how: Interpolate) -> Value:
    return tensor.between(slot, 1 - how.own)


def _orthogonal(tensor: Copied, slot: Slot, _: Orthogonal) -> Value:
    own = tensor.own(slot)
    with one_thread():
        made = orthogonal([own.wide], layout(tensor.units) if tensor.units else {}, _of_tensor(tensor, slot))
    return computed(made, f"orthogonal to {own.says}", own, gain=UNSTEADY)


def _svd_perturb(tensor: Copied, slot: Slot, how: SvdPerturb) -> Value:
    own, units = tensor.own(slot), tensor.units
    if units is None or own.tensor.dim() < 2:
        return own
    moving = {"values": how.values, "vectors": how.vectors, "unit": how.unit, "drop": how.drop}
    with one_thread():
        made = svd_perturb([own.wide], {**layout(units), **moving, **_ranked(how.rank)}, _of_tensor(tensor, slot))
    return computed(made, f"{own.says} with its singular values and vectors moved", own, gain=UNSTEADY)


def _svd_mix(tensor: Copied, slot: Slot, how: SvdMix) -> Value:
    own, other, units = tensor.own(slot), tensor.other(slot), tensor.units
    if units is None or own.tensor.dim() < 2:
        return tensor.between(slot, how.ratio)
    stream = _of_tensor(tensor, slot) if how.rank is not None else Stream("", slot.number)
    with one_thread():
        made = svd_mix([own.wide, other.wide], {**layout(units), "ratio": how.ratio, **_ranked(how.rank)}, stream)
    says = f"{own.says} and that of {slot.neighbour}, mixed by their singular vectors"
    return computed(made, says, own, other, gain=UNSTEADY)


def _sparse_code_mix(tensor: Copied, slot: Slot, how: SparseCodeMix) -> Value:
    own, other, units = tensor.own(slot), tensor.other(slot), tensor.units
    if units is None or own.tensor.dim() < 2:
        return tensor.between(slot, how.mix)
    codes = {"dictionary": how.dictionary, "sparsity": how.sparsity, "mix": how.mix, "iterations": how.iterations}
    with one_thread():
        made = sparse_code_mix([own.wide, other.wide], {**layout(units), **codes}, _of_tensor(tensor, slot))
    says = f"{own.says} and that of {slot.neighbour}, mixed by their sparse codes"
    return computed(made, says, own, other, gain=UNSTEADY)


def _random(tensor: Copied, slot: Slot, _: Random) -> Value:
    return computed(tensor.std * tensor.normal(slot.number), "fresh draws as large as the source's weights")


STARTS: Mapping[type[Any], Callable[[Copied, Slot, Any], Value]] = {
    Copy: _copy,
    CopyNoise: _copy_noise,
    ScaledCopy: _scaled_copy,
    Shuffle: _shuffle,
    Drop: _drop,
    Interpolate: _interpolate,
    Orthogonal: _orthogonal,
    SvdPerturb: _svd_perturb,
    SvdMix: _svd_mix,
    SparseCodeMix: _sparse_code_mix,
    Random: _random,
}


def layout(units: Units) -> dict[str, int]:
    """Where the matrices of an expert lie in its row, as leaf numerics are told it."""
    return {"dim": units.dim, "times": units.times, "interleaved": int(units.interleaved)}


def _ranked(rank: int | None) -> dict[str, int]:
    return {} if rank is None else {"rank": rank}


def _of_tensor(tensor: Copied, slot: Slot) -> Stream:
    return Stream(tensor.step.seed_of(tensor.name), slot.number)


def _of_expert(tensor: Copied, slot: Slot) -> Stream:
    """The same for all tensors of an expert."""
    return Stream(tensor.step.seed_of(f"{tensor.site.experts}/units"), slot.number)
