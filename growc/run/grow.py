"""One grow stage: predict, measure, allocate, and write the grown tensors into a model laid out anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.diagnostics import fail
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import ModelGraph
from growc.nn.duplicates import as_duplicated
from growc.operators.grown_config import GROWN
from growc.operators.operator import Replicas
from growc.operators.sites import MoeSite
from growc.run.distribute import build_model, named_state
from growc.run.layout import Layout
from growc.run.losses import validation_losses
from growc.run.optimizer import State
from growc.run.scores import expert_scores
from growc.run.sharded import Sharded, grow_tensor
from growc.spec.training import Precision

Windows = np.ndarray[tuple[int, int], np.dtype[np.int64]]


@dataclass
class Prediction:
    """What plain duplication costs, by the K_eff law, computed on the source: losses by window and K_eff by layer."""

    losses: Tensor
    k_eff: dict[int, float]


@dataclass
class Decision:
    """What one operator decided at run time, as the journal records it."""

    op: str
    replicas: dict[int, Replicas]
    scores: dict[int, tuple[float, ...]] = field(default_factory=dict[int, tuple[float, ...]])


@dataclass
class Place:
    """Where a model runs and how it is measured."""

    layout: Layout
    device: torch.device
    precision: Precision
    seed: int
    windows: Windows


def predict(
    model: PreTrainedModel, graph: ModelGraph, replicas: dict[MoeSite, Replicas], place: Place
) -> Prediction | None:
    """The loss that free top-K over plain duplicates will have, before a weight is touched.

    None for a source that routes exclusively already: its groups are not plain duplicates.
    """
    if GROWN in graph.config and "replicas" in str(graph.config[GROWN]):
        return None
    with as_duplicated(model, replicas) as seen:
        losses = validation_losses(model, place.windows, place.device, place.precision)
    return Prediction(losses, {layer: k.mean for layer, k in seen.items()})


def allocate(
    planned: Rewrite,
    model: PreTrainedModel,
    state: State,
    batches: Callable[[int], list[Tensor]],
    place: Place,
) -> Decision:
    """The replicas of every layer, from scores that all ranks agree on where the rule needs them."""
    operator, sites = planned.operator, planned.sites
    if not operator.measured:
        return Decision(operator.op, {site.layer: operator.allocate(site) for site in sites})
    rule = operator.allocation  # pyright: ignore[reportAttributeAccessIssue]
    names = {name for site in sites for name in site.expert_tensors}
    if rule.score == "curvature" and not all("exp_avg_sq" in state.get(name, {}) for name in names):
        fail(
            "GROW310",
            "the curvature score needs Adam's second moment, and the source state has none for its experts",
            help="train the source with adamw in an earlier stage, or use score: gradient_squared",
        )
    scores = expert_scores(rule.score, model, state, sites, batches(rule.batches), place.precision, place.device)
    return Decision(operator.op, {s.layer: operator.allocate(s, scores[s.layer]) for s in sites}, scores)


def apply(
    planned: Rewrite, decision: Decision, model: PreTrainedModel, state: State, place: Place
) -> tuple[PreTrainedModel, ModelGraph, State]:
    """Write the grown model and its optimizer state; the source stays as it is.

    Both models live in memory at once, each as shards; no tensor is gathered whole.
    """
    bound = planned.bound(decision.replicas)
    grown = build_model(bound.grown.config, place.layout, place.device, place.seed)
    targets, sources = named_state(grown), named_state(model)
    assert set(targets) == set(bound.programs), sorted(set(targets) ^ set(bound.programs))
    fetch = Sharded(sources)
    with torch.no_grad():
        for name, tensor in targets.items():
            grow_tensor(bound.programs[name], tensor, fetch)
    return grown, bound.grown, _grow_state(bound, targets, state)


@torch.no_grad()
def _grow_state(bound: Rewrite, targets: dict[str, Tensor], state: State) -> State:
    grown: State = {}
    kinds = sorted({key for entry in state.values() for key in entry if key != "step"})
    moments = {kind: Sharded({name: e[kind] for name, e in state.items() if kind in e}) for kind in kinds}
    for name, programs in bound.moments.items():
        if name not in state or not programs.keep_step:
            continue
        entry = {"step": state[name]["step"].clone()} if "step" in state[name] else {}
        for kind in kinds:
            program = programs.second if kind == "exp_avg_sq" else programs.first
            if kind not in state[name] or program is None:
                continue
            entry[kind] = torch.empty_like(targets[name])
            grow_tensor(program, entry[kind], moments[kind])
        grown[name] = entry
    return grown


def replan(planned: Rewrite, graph: ModelGraph) -> Rewrite:
    """The rewrite on the model as it is: an earlier growth may have been settled by measurement."""
    return rewrite(planned.operator, graph, seed=planned.seed, sequence_length=planned.sequence_length)
