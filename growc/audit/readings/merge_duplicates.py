"""Merging of siblings: every group becomes one expert, their mean; equal siblings give their bits back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch

from growc.anatomy.sites import MoeSite
from growc.audit.layers import spoken_of
from growc.audit.record import recorded_replicas
from growc.audit.rows import Told, row
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed
from growc.operators.merge_duplicates import MergeDuplicates


def read(step: Step[MergeDuplicates]) -> Reading:
    """See `growc.audit.readings`."""
    told: dict[str, Told] = {}
    for site in merged_sites(step):
        recorded_replicas(step, site.layer, [1] * site.num_experts)
        for name in spoken_of(step, site):
            told[name] = Told(step.source.dtype(name), _row(step, site, name))
    return told


def merged_sites(step: Step[MergeDuplicates]) -> list[MoeSite]:
    """The layers that are merged: of `all`, those with siblings, where the model knows them and is not told."""
    how = step.operator
    known = not (how.factor or how.replicas) and any(site.siblings for site in step.before.moe)
    if how.layers == "all":
        return [site for site in step.before.moe if site.siblings or not known]
    return [site for site in step.before.moe if site.layer in how.layers]


def groups_of(step: Step[MergeDuplicates], site: MoeSite) -> list[range]:
    """The numbers of the siblings of every group."""
    how = step.operator
    told = [how.factor or 1] * (site.num_experts // (how.factor or 1)) if how.replicas is None else how.replicas
    return [range(start, end) for start, end in pairwise(accumulate(site.siblings or told, initial=0))]


def mean_of(siblings: Sequence[Value]) -> Value:
    """The mean of rows; of equal ones, the first bit by bit."""
    first = siblings[0]
    if all(one.slack is None and torch.equal(one.tensor, first.tensor) for one in siblings):
        return first
    mean = torch.stack([one.wide for one in siblings]).mean(dim=0)
    return computed(mean, f"the mean of {len(siblings)} siblings from {first.says} on", *siblings)


def was_divided(step: Step[MergeDuplicates], site: MoeSite, name: str) -> bool:
    """Whether the growth that scaled the top-K, and is undone, has divided this tensor."""
    if step.operator.top_k == "fixed" or site.repetition is None:
        return False
    if name == site.selection_bias:
        return site.repetition.scores_shrink
    down = any(unit.down and unit.tensor == name for unit in site.units)
    return down and not site.repetition.gates_add_up


def _row(step: Step[MergeDuplicates], site: MoeSite, name: str) -> Callable[[int], Value]:
    groups = groups_of(step, site)
    scale = (step.operator.factor or 1) if was_divided(step, site, name) else 1

    def of(number: int) -> Value:
        group = groups[number]
        first = row(step.source, name, group[0])
        value = first if name == site.selection_bias else mean_of([row(step.source, name, one) for one in group])
        return value if scale == 1 else computed(scale * value.wide, f"{scale} times {value.says}", value, gain=scale)

    return of
