"""Expert pruning: the rows of the experts that stay, in their order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from growc.anatomy.sites import MoeSite
from growc.audit.layers import spoken_of
from growc.audit.record import recorded_replicas, recorded_scores
from growc.audit.rows import Told, row
from growc.audit.scores import expert_scores
from growc.audit.step import Reading, Step
from growc.audit.value import Value
from growc.operators.expert_pruning import ExpertPruning
from growc.operators.selection import ByName, ByReconstruction


def read(step: Step[ExpertPruning]) -> Reading:
    """See `growc.audit.readings`."""
    layers = step.operator.layers
    told: dict[str, Told] = {}
    for site in step.before.moe:
        if layers == "all" or site.layer in layers:
            stay = kept(step, site)
            recorded_replicas(step, site.layer, [int(expert in stay) for expert in range(site.num_experts)])
            for name in spoken_of(step, site):
                told[name] = Told(step.source.dtype(name), _row(step, name, stay))
    return told


def kept(step: Step[ExpertPruning], site: MoeSite) -> list[int]:
    """The experts of a layer that stay: those named, or of every routing group those with the highest scores."""
    choose, experts, groups = step.operator.choose, site.num_experts, site.routing_groups
    if isinstance(choose, ByName):
        return sorted(choose.kept)
    left = step.operator.keep if step.operator.keep is not None else experts - (step.operator.drop or 0)
    if step.operator.drop == 0:
        return list(range(experts))
    assert not isinstance(choose, ByReconstruction), "what needs a run is refused before"
    scores = recorded_scores(step, site.layer, partial(expert_scores, step, site, choose.score, choose.over))
    size = experts // groups
    best = [
        sorted(range(start, start + size), key=lambda i: -scores[i])[: left // groups]
        for start in range(0, experts, size)
    ]
    return sorted(expert for part in best for expert in part)


def _row(step: Step[ExpertPruning], name: str, stay: list[int]) -> Callable[[int], Value]:
    return lambda number: row(step.source, name, stay[number])
