"""One grow stage: predict, measure, allocate, and write the grown tensors into a model laid out anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.grown_format import routes_exclusively
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import MoeSite
from growc.checkpoint.training import State
from growc.engine.distribute import build_model, named_state
from growc.engine.layout import Layout
from growc.engine.losses import ready_head, validation_losses
from growc.engine.sharded import Sharded, grow_tensor
from growc.growth.decision import Decision, by_scores
from growc.growth.rewrite import Rewrite, rewrite
from growc.measures.calibration import Calibration, Parent
from growc.measures.skipping import Skipping, measure_skipping
from growc.measures.table import MEASURES
from growc.nn.duplicates import as_duplicated
from growc.nn.released import as_released
from growc.operators.claims import Moments
from growc.operators.facets import SkipsExperts, measure_of
from growc.programs import of_parent, sources
from growc.spec.kernels import Kernels
from growc.spec.training import FloatType

Windows = np.ndarray[tuple[int, int], np.dtype[np.int64]]


@dataclass
class Prediction:
    """What plain duplication costs, by the K_eff law, computed on the source: losses by window and K_eff by layer."""

    losses: Tensor
    k_eff: dict[int, float]


@dataclass
class DryRun:
    """What free top-K over siblings costs: losses by window, and the share of colliding selections by layer."""

    losses: Tensor
    collisions: dict[int, float]


@dataclass
class Place:
    """Where a model runs and how it is measured."""

    layout: Layout
    device: torch.device
    precision: FloatType
    seed: int
    windows: Windows
    kernels: Kernels = Kernels()  # noqa: RUF009, it is frozen


def predict(
    model: PreTrainedModel, graph: ModelGraph, replicas: dict[MoeSite, Replicas], place: Place
) -> Prediction | None:
    """The loss that free top-K over plain duplicates will have, before a weight is touched.

    None for a source that routes exclusively already: its groups are not plain duplicates.
    """
    if routes_exclusively(graph.config):
        return None
    with as_duplicated(model, replicas) as seen:
        losses = validation_losses(model, place.windows, place.device)
    return Prediction(losses, {layer: k.mean for layer, k in seen.items()})


def dry_run(model: PreTrainedModel, sites: tuple[MoeSite, ...], place: Place) -> DryRun:
    """What a release of siblings will do, before anything changes: the exclusive model with plain top-K."""
    with as_released(model, sites) as seen:
        losses = validation_losses(model, place.windows, place.device)
    return DryRun(losses, {layer: collisions.rate for layer, collisions in seen.items()})


def decide(
    planned: Rewrite, parents: Sequence[Parent], batches: Callable[[int], list[Tensor]], place: Place
) -> Decision:
    """What the operator decides, from measurements that all ranks agree on where it needs some."""
    measure = measure_of(planned.operator)
    if measure is None:
        return by_scores(planned, {})
    return MEASURES[type(measure)](measure, Calibration(planned, parents, batches, place.device))


def skipping(
    planned: Rewrite,
    model: PreTrainedModel,
    graph: ModelGraph,
    batches: Callable[[int], list[Tensor]],
    place: Place,
) -> Skipping | None:
    """What dynamic skipping would do to the pruned model, if its operator asks."""
    operator = planned.operator
    if not (isinstance(operator, SkipsExperts) and operator.skipping_over):
        return None
    layers = {site.layer for site in planned.sites}
    sites = tuple(site for site in graph.moe if site.layer in layers)
    return measure_skipping(model, sites, batches(operator.skipping_over), place.windows, place.device)


def apply(
    planned: Rewrite, decision: Decision, parents: Sequence[Parent], place: Place
) -> tuple[PreTrainedModel, ModelGraph, State]:
    """Write the grown model and its optimizer state; its parents stay as they are.

    All models live in memory at once, each as shards; no tensor is gathered whole.
    """
    bound = decision.bound(planned)
    grown = build_model(bound.grown.config, place.layout, place.device, place.seed, place.precision, place.kernels)
    targets = named_state(grown)
    read = {of_parent(i, n): t for i, parent in enumerate(parents) for n, t in named_state(parent.model).items()}
    state = {of_parent(i, n): entry for i, parent in enumerate(parents) for n, entry in parent.state.items()}
    assert set(targets) == set(bound.programs), sorted(set(targets) ^ set(bound.programs))
    fetch = Sharded(read)
    with torch.no_grad():
        for name, tensor in targets.items():
            grow_tensor(bound.programs[name], tensor, fetch)
    ready_head(grown, place.device)
    return grown, bound.grown, _grow_state(bound, targets, state)


@torch.no_grad()
def _grow_state(bound: Rewrite, targets: dict[str, Tensor], state: State) -> State:
    """Moments are computed in fp32 and keep the type of those that they are made of."""
    grown: State = {}
    kinds = sorted({key for entry in state.values() for key in entry if key != "step"})
    moments = {kind: Sharded({name: e[kind] for name, e in state.items() if kind in e}) for kind in kinds}
    for name, programs in bound.moments.items():
        read = _read(programs) or {name}
        if not programs.keep_step or not read <= state.keys():
            continue
        steps = [state[source]["step"] for source in sorted(read) if "step" in state[source]]
        entry = {"step": torch.stack(steps).amin()} if steps else {}
        for kind in kinds:
            program = programs.second if kind == "exp_avg_sq" else programs.first
            if program is None or not all(kind in state[source] for source in read):
                continue
            types = (state[source][kind].dtype for source in read)
            entry[kind] = torch.empty_like(targets[name], dtype=reduce(torch.promote_types, types))
            grow_tensor(program, entry[kind], moments[kind])
        grown[name] = entry
    return grown


def _read(programs: Moments) -> frozenset[str]:
    return frozenset[str]().union(*(sources(p) for p in (programs.first, programs.second) if p is not None))


def replan(planned: Rewrite, graph: ModelGraph) -> Rewrite:
    """The rewrite on the model as it is: an earlier growth may have been settled by measurement."""
    return rewrite(
        planned.operator, graph, seed=planned.seed, sequence_length=planned.sequence_length, parents=planned.parents
    )
