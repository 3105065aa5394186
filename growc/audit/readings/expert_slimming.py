"""Expert slimming: every expert keeps the units with the highest scores, in their order; the router stays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch

from growc.anatomy.sites import FfnSite, MoeSite, Units
from growc.audit.fault import refuse
from growc.audit.record import CLOSE, recorded_replicas, recorded_scores
from growc.audit.rows import Told, row
from growc.audit.scores import positions, unit_scores
from growc.audit.step import Reading, Step
from growc.audit.value import Value, moved
from growc.operators.expert_slimming import ExpertSlimming


def read(step: Step[ExpertSlimming]) -> Reading:
    """See `growc.audit.readings`."""
    layers = step.operator.layers
    told: dict[str, Told] = {}
    for site in step.before.moe:
        if layers != "all" and site.layer not in layers:
            continue
        recorded_replicas(step, site.layer, [1] * site.num_experts)
        shared = _shared(step, site)
        kept = _kept(step, site, shared)
        for unit in site.units:
            told[unit.tensor] = Told(step.source.dtype(unit.tensor), _expert(step, site, unit, kept))
        for ffn, units in zip(shared, kept[site.num_experts :], strict=True):
            told |= {n: Told(step.source.dtype(n), _into(step, n, units)) for n in ffn.into if n in step.before.tensors}
            told[ffn.back] = Told(step.source.dtype(ffn.back), _back(step, ffn.back, units))
    _check_shapes(step, told)
    return told


def _shared(step: Step[ExpertSlimming], site: MoeSite) -> list[FfnSite]:
    """The shared experts of a layer that become narrower with the others: the shapes say which."""
    before, after = step.before.tensors, step.after.tensors
    alike = [ffn for ffn in step.before.ffn if ffn.layer == site.layer and not ffn.transposed]
    return [ffn for ffn in alike if before[ffn.back].shape != after[ffn.back].shape]


def _kept(step: Step[ExpertSlimming], site: MoeSite, shared: Sequence[FfnSite]) -> list[list[int]]:
    """The units that each expert of a layer keeps; `growth.json` must say the same."""
    told: list[list[int]] = step.record.get("units", {}).get(str(site.layer), [])
    if step.settled:
        return told
    scores = unit_scores(step, site, shared, step.operator.choose.score)
    share = max(1, round(step.operator.share * site.width)) / site.width
    kept = [_best(row, round(share * len(row))) for row in scores]
    same = len(told) == len(kept) and all(map(_as_good, scores, kept, told))
    if not same:
        refuse(f"growth.json says that experts of layer {site.layer} keep the units {told}, and they keep {kept}")
    shares = [sum(row[unit] for unit in units) / (sum(row) or 1.0) for row, units in zip(scores, told, strict=True)]
    recorded_scores(step, site.layer, lambda: shares)
    return told


def _best(scores: Sequence[float], count: int) -> list[int]:
    return sorted(sorted(range(len(scores)), key=lambda unit: -scores[unit])[:count])


def _as_good(scores: Sequence[float], units: Sequence[int], others: Sequence[int]) -> bool:
    """Whether other units, as many and in ascending order, have the same scores up to rounding."""
    if list(units) == list(others):
        return True
    pairs = zip(sorted(scores[i] for i in units), sorted(scores[i] for i in others), strict=False)
    close = all(abs(a - b) <= CLOSE * a for a, b in pairs)
    return len(units) == len(others) and sorted({*others}) == [*others] and close


def _expert(
    step: Step[ExpertSlimming], site: MoeSite, unit: Units, kept: Sequence[Sequence[int]]
) -> Callable[[int], Value]:
    def of(expert: int) -> Value:
        found = row(step.source, unit.tensor, expert)
        places = positions(unit, site.width)[torch.tensor(kept[expert])]
        # The layout stays what it is: turn by turn, or unit by unit.
        order = places.flatten() if unit.interleaved else places.T.flatten()
        return moved(found, found.tensor.index_select(unit.dim, order))

    return of


def _into(step: Step[ExpertSlimming], name: str, units: Sequence[int]) -> Callable[[int], Value]:
    return lambda number: row(step.source, name, units[number])


def _back(step: Step[ExpertSlimming], name: str, units: Sequence[int]) -> Callable[[int], Value]:
    def of(number: int) -> Value:
        found = row(step.source, name, number)
        return moved(found, found.tensor[torch.tensor(units)])

    return of


def _check_shapes(step: Step[ExpertSlimming], told: Collection[str]) -> None:
    before, after = step.before.tensors, step.after.tensors
    narrower = {name for name in after if name not in before or before[name].shape != after[name].shape}
    for name in sorted(narrower - {*told}):
        refuse(f"{name} becomes narrower, and no reading says what it must hold")
