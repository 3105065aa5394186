"""DeRS: the dense network stays as the base of all experts, and what they differ in starts at 0."""

from __future__ import annotations

from growc.audit.layers import check_known
from growc.audit.readings.dense import drawn_router, places, zeros
from growc.audit.record import recorded_replicas
from growc.audit.rows import Told
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed
from growc.model.layers import layer_of
from growc.operators.ders import Ders, LowRank, Sparse


def read(step: Step[Ders]) -> Reading:
    """See `growc.audit.readings`."""
    told: dict[str, Told] = {}
    router = drawn_router(step)
    for site, _, _ in places(step):
        recorded_replicas(step, site.layer, [step.operator.experts])
        made = [
            name
            for name in step.after.tensors
            if name not in step.before.tensors and layer_of(step.after.blocks.path, name) == site.layer
        ]
        told |= {name: router(name) if name in site.router_rows else _delta(step, name) for name in made}
        check_known(step.after, site.layer, frozenset(made))
    return told


def _delta(step: Step[Ders], name: str) -> Told:
    """The values of sparse deltas are 0 at drawn places; of low-rank ones the outer matrices are 0."""
    shape, dtype = step.after.tensors[name].shape[1:], step.fresh_dtype(name)
    match step.operator.deltas:
        case Sparse(every=every) if not dtype.is_floating_point:

            def places_of(row: int) -> Value:
                # Uniform in (-1, 1), so (u + 1) / 2 is uniform in (0, 1).
                return Value(((step.uniform(name, row, shape) + 1) / 2 * every).floor().to(dtype), "drawn places")

            return Told(dtype, places_of)
        case LowRank(std=std) if name.endswith("_inner"):
            says = f"draws with a standard deviation of {std:g}"
            return Told(dtype, lambda row: computed(std * step.normal(name, row, shape), says))
        case _:
            return zeros(step, name)
