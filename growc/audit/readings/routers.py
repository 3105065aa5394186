"""How the router's new rows and biases start, as the formulas of `growc.operators.routers` say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from growc.audit.readings.slots import Copied, Slot
from growc.audit.value import Value, computed
from growc.numerics.functions.orthogonal import orthogonal
from growc.numerics.matrices import one_thread
from growc.numerics.random import Stream
from growc.numerics.svd import perturbed
from growc.operators.routers.adversarial import Adversarial
from growc.operators.routers.bias_only import BiasOnly
from growc.operators.routers.copy import Copy
from growc.operators.routers.copy_noise import CopyNoise
from growc.operators.routers.interpolate import Interpolate
from growc.operators.routers.orthogonal import Orthogonal
from growc.operators.routers.perturb_new_only import PerturbNewOnly
from growc.operators.routers.scaled_copy import ScaledCopy
from growc.operators.routers.split import Split
from growc.operators.routers.svd_perturb import SvdPerturb
from growc.operators.routers.temperature import Temperature

UNSTEADY = 64.0
"""By how much a decomposition may enlarge an error of what it reads."""


def copy_of_router(tensor: Copied, slot: Slot) -> Value:
    """What any slot starts as in one tensor of a router: its rows, a bias of its logits, or one of selection."""
    how, site = tensor.step.operator.router, tensor.site
    if tensor.shape:
        if isinstance(how, Split):
            return _split(tensor, slot, how)
        return ROWS[type(how)](tensor, slot, how) if slot.turn else tensor.own(slot)
    start = tensor.own(slot)
    if not slot.turn:
        return start
    selects = tensor.name == site.selection_bias
    if isinstance(how, Temperature) and not selects:
        start = computed(start.wide / how.temperature, f"{start.says} / {how.temperature:g}", start)
    return _noisy(tensor, slot, start) if selects or site.selection_bias is None else start


def _noisy(tensor: Copied, slot: Slot, start: Value) -> Value:
    """The bias that decides, of a copy."""
    how, terms, says = tensor.step.operator.router, list[Tensor | float](), start.says
    if isinstance(how, BiasOnly):
        unit = 1.0 if how.unit == "absolute" or not how.noise else tensor.std
        noise = tensor.step.normal(f"{tensor.name}/bias_only", slot.number, ())
        terms += [how.shift, how.noise * unit * noise]
        says += f" moved by {how.shift:g} and noise"
    if how.bias_noise:
        terms.append(how.bias_noise * tensor.step.uniform(tensor.name, slot.number, ()))
        says += f" with noise of up to {how.bias_noise:g}"
    return computed(start.wide + sum(terms), says, start, *terms) if terms else start


def _copy(tensor: Copied, slot: Slot, _: Copy | BiasOnly) -> Value:
    return tensor.own(slot)


def _copy_noise(tensor: Copied, slot: Slot, how: CopyNoise) -> Value:
    own, unit = tensor.own(slot), tensor.std if how.unit == "std" else 1.0
    noise = how.noise * unit * tensor.normal(slot.number)
    return computed(own.wide + noise, f"{own.says} with noise", own, noise)


def _perturb_new_only(tensor: Copied, slot: Slot, how: PerturbNewOnly) -> Value:
    own, every = tensor.own(slot), tensor.all.wide
    copied = every[[other.expert for other in tensor.slots if other.turn]]
    noise = how.noise * float(copied.std(correction=0)) * tensor.normal(slot.number)
    return computed(own.wide + noise, f"{own.says} with noise", own, noise)


def _split(tensor: Copied, slot: Slot, how: Split) -> Value:
    """For all siblings, the original too: one draw for every two of them, which one gets and the other loses."""
    own = tensor.own(slot)
    if slot.siblings == 1:
        return computed(own.wide, own.says, own)
    v = how.std * tensor.std * tensor.normal(slot.first + slot.turn // 2)
    sign = -1.0 if slot.turn % 2 else 1.0
    return computed(own.wide + sign * v, f"{own.says} {'minus' if sign < 0 else 'plus'} a draw", own, v)


def _interpolate(tensor: Copied, slot: Slot, how: Interpolate) -> Value:
    return tensor.between(slot, 1 - how.own)


def _scaled_copy(tensor: Copied, slot: Slot, how: ScaledCopy) -> Value:
    own = tensor.own(slot)
    return computed(how.scale * own.wide, f"{how.scale:g} times {own.says}", own)


def _temperature(tensor: Copied, slot: Slot, how: Temperature) -> Value:
    own = tensor.own(slot)
    return computed(own.wide / how.temperature, f"{own.says} / {how.temperature:g}", own)


def _orthogonal(tensor: Copied, slot: Slot, _: Orthogonal) -> Value:
    own = tensor.own(slot)
    with one_thread():
        made = orthogonal([own.wide], {}, Stream(tensor.step.seed_of(tensor.name), slot.number))
    return computed(made, f"orthogonal to {own.says}", own, gain=UNSTEADY)


def _adversarial(tensor: Copied, slot: Slot, how: Adversarial) -> Value:
    own, mean = tensor.own(slot), tensor.all.wide.mean(dim=0)
    made = own.wide - how.strength * (own.wide - mean)
    return computed(made, f"{own.says} moved towards the mean row", own, how.strength * own.wide, tensor.all)


def _svd_perturb(tensor: Copied, slot: Slot, how: SvdPerturb) -> Value:
    """The whole matrix is moved once for the first copies of all experts, once more for the second, and so on."""
    step, made = tensor.step, tensor.step.once(tensor.name, dict[int, Tensor])
    if slot.turn not in made:
        moving: dict[str, Any] = {"values": how.values, "vectors": how.vectors, "unit": how.unit}
        with one_thread():
            made[slot.turn] = perturbed(tensor.all.wide, Stream(step.seed_of(tensor.name), slot.turn), **moving)
    says = f"row {slot.expert} of {tensor.name} with its singular values and vectors moved"
    return computed(made[slot.turn][slot.expert], says, tensor.all, gain=UNSTEADY)


ROWS: Mapping[type[Any], Callable[[Copied, Slot, Any], Value]] = {
    Copy: _copy,
    BiasOnly: _copy,
    CopyNoise: _copy_noise,
    PerturbNewOnly: _perturb_new_only,
    Interpolate: _interpolate,
    ScaledCopy: _scaled_copy,
    Temperature: _temperature,
    Orthogonal: _orthogonal,
    Adversarial: _adversarial,
    SvdPerturb: _svd_perturb,
}
