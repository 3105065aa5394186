"""The terms of the paper's theorem, measured: a diagnostic, never a prediction.

The theorem (arXiv 2604.19835, Theorem 3.1 and Appendix A) is the difference of two upper bounds on regret, for convex
losses and plain gradient steps:

    R_up - R_fs = phi * (L*_source - L*_target)                                               (I, capacity)
                + (||th_U - th*||^2 - ||th_0 - th*||^2) / (2 * sum over t < T of lr_t)         (II, initialisation)

with phi = (sum over t < tau of lr_t) / (sum over t < T of lr_t), where tau is the step of the growth, T the last step,
and th the parameters that the growth adds: th_U as it sets them, th_0 as a random start would, th* their optimum.

Here phi comes from the schedules that were run, the losses of term I from the controls, and the final weights stand in
for th*. Of term II only the ratio ||th_T - th_U|| / ||th_T - th_0|| is given, layer by layer: it has no unit, and under
1 means that the copies began closer to where they ended than fresh weights would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from growc.anatomy.grown_format import without_siblings
from growc.anatomy.sites import MoeSite
from growc.checkpoint.training import read_config, read_tensor
from growc.engine.learning_rate import learning_rate
from growc.files.beside import TRAINING
from growc.growth.graph import GrowNode, Node, TrainNode
from growc.records.folder import RunFolder
from growc.records.summary import Theorem
from growc.records.trajectory import Segment
from growc.run.source import fresh_model
from growc.run.summary.ways import Measured, Way

LABEL = "diagnostic: terms of two upper bounds, not a prediction of the loss"


class Unknown(Exception):
    """Why a term cannot be given."""


class RandomStart:
    """Fresh weights: those from which fixed_target starts, drawn again. The last ones drawn are kept."""

    def __init__(self) -> None:
        self._of: tuple[dict[str, Any], int] | None = None
        self._tensors: Mapping[str, Tensor] = {}

    def tensors(self, config: dict[str, Any], seed: int) -> Mapping[str, Tensor]:
        """Parameters by name of the model of `config` as `seed` draws them."""
        if self._of != (config, seed):
            self._tensors = {}  # frees the last before the next are drawn
            self._of, self._tensors = (config, seed), dict(fresh_model(config, seed).named_parameters())
        return self._tensors


def theorem(way: Way, gap: float | None, folder: RunFolder, random: RandomStart) -> Theorem:
    """The terms for an arm that grows; `why` has the reason for each that is null.

    Args:
        way: the arm.
        gap: L_source - L_target at the end of the controls, in nats, if there are both.
        folder: where the checkpoints lie. One process reads them, a tensor at a time.
        random: the random starts.
    """
    why = dict[str, str]()
    phi: float | None = None
    ratios: dict[int, float | None] = {}
    try:
        growth = _growth(way)
        phi = _phi(way, growth)
        ratios = _ratios(way, growth, folder, random, why)
    except Unknown as reason:
        why["phi"] = why["init_term"] = str(reason)
    capacity = phi * gap if phi is not None and gap is not None else None
    if capacity is None:
        why["capacity_term"] = "there is no phi" if phi is None else "it needs both controls"
    return Theorem(phi, capacity, ratios, LABEL, why)


def added(node: Node) -> tuple[MoeSite, ...]:
    """The layers that have more experts after a node than before."""
    before = {site.layer: site.num_experts for site in node.before.moe}
    return tuple(site for site in node.after.moe if site.num_experts > before.get(site.layer, 0))


def _growth(way: Way) -> Segment[Measured]:
    """The one transition that the theorem speaks of."""
    found = [
        segment for segment in way.segments if isinstance(segment.stage.node, GrowNode) and added(segment.stage.node)
    ]
    if not found:
        raise Unknown("no layer gains experts")
    if len(found) > 1:
        names = ", ".join(segment.stage.node.name for segment in found)
        raise Unknown(f"experts are added more than once ({names}), and the theorem knows one transition")
    return found[0]


def _phi(way: Way, growth: Segment[Measured]) -> float:
    rates = [_rates(segment) for segment in way.segments]
    before, whole = sum(rates[: way.segments.index(growth)]), sum(rates)
    if whole == 0:
        raise Unknown("nothing was trained")
    return before / whole


def _rates(segment: Segment[Measured]) -> float:
    """Sum of the learning rates over the steps of a segment."""
    node = segment.stage.node
    if not isinstance(node, TrainNode):
        return 0.0
    schedule, peak = node.training.schedule, node.training.optimizer.lr
    return sum(learning_rate(schedule, peak, step, node.steps) for step in range(segment.steps))


def _ratios(
    way: Way, growth: Segment[Measured], folder: RunFolder, random: RandomStart, why: dict[str, str]
) -> dict[int, float | None]:
    """||th_T - th_U|| / ||th_T - th_0|| of the experts that the growth added, by layer."""
    if way.end.node is growth.stage.node:
        raise Unknown("nothing was trained after the growth")
    ends, starts = (folder.checkpoint(node.name) / TRAINING for node in (way.end.node, growth.stage.node))
    for path in (ends, starts):
        if not (path / "shards").is_dir():
            raise Unknown(f"the state {path.relative_to(folder.path)} is gone")
    config, field = read_config(ends), way.end.node.after.expert_field
    fresh = random.tensors(without_siblings(config, field) if field else config, way.path.seed)
    experts = {site.layer: site.num_experts for site in way.end.node.after.moe}
    ratios: dict[int, float | None] = {}
    for site in added(growth.stage.node):
        try:
            if experts.get(site.layer) != site.num_experts:
                raise Unknown("its number of experts changed after the growth")
            ratios[site.layer] = _ratio(site, _new(growth, site), ends, starts, fresh)
        except Unknown as reason:
            ratios[site.layer], why[f"init_term.{site.layer}"] = None, str(reason)
    return ratios


def _new(growth: Segment[Measured], site: MoeSite) -> list[int]:
    """The experts of a layer that were not there before: all but the first of every group of copies."""
    old = [True] * next((s.num_experts for s in growth.stage.node.before.moe if s.layer == site.layer), 0)
    grown = growth.stage.grown
    assert grown is not None
    for decision in grown.decisions:
        replicas = decision.replicas.get(site.layer)
        if replicas is None:
            continue
        if len(replicas) != len(old):
            raise Unknown(f"what {decision.op} added to it is not on record")
        old = [was and copy == 0 for was, count in zip(old, replicas, strict=True) for copy in range(count)]
    if old and len(old) != site.num_experts:
        raise Unknown("what was added to it is not on record")
    return [index for index in range(site.num_experts) if not old or not old[index]]


def _ratio(site: MoeSite, new: list[int], ends: Path, starts: Path, fresh: Mapping[str, Tensor]) -> float:
    moved = apart = 0.0
    for name in site.expert_tensors:
        end, start = read_tensor(ends, f"model.{name}"), read_tensor(starts, f"model.{name}")
        for expert in new:  # one at a time: float64 copies stay small
            moved += float((end[expert].double() - start[expert].double()).square().sum())
            apart += float((end[expert].double() - fresh[name][expert].detach().double()).square().sum())
    if apart == 0:
        raise Unknown("its new experts end as a random start would begin")
    return sqrt(moved / apart)
