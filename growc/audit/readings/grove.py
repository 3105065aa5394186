"""Grove MoE: adjugates are added, whose ways in are drawn and whose ways back are 0; all else stays."""

from __future__ import annotations

from growc.audit.readings.dense import zeros
from growc.audit.record import recorded_replicas
from growc.audit.rows import Told
from growc.audit.step import Reading, Step
from growc.audit.value import computed
from growc.operators.grove import Grove


def read(step: Step[Grove]) -> Reading:
    """See `growc.audit.readings`."""
    layers = step.operator.layers
    told: dict[str, Told] = {}
    for site in step.after.moe:
        if layers == "all" or site.layer in layers:
            recorded_replicas(step, site.layer, [1] * site.num_experts)
            told |= {name: _adjugate(step, name) for name in site.adjugates if name not in step.before.tensors}
    return told


def _adjugate(step: Step[Grove], name: str) -> Told:
    if name.rpartition(".")[2] == "down_proj":
        return zeros(step, name)
    shape, std = step.after.tensors[name].shape[1:], step.operator.std
    says = f"draws with a standard deviation of {std:g}"
    return Told(step.fresh_dtype(name), lambda row: computed(std * step.normal(name, row, shape), says))
