"""The K_eff law against the loss that growth really leaves, on models that have learnt something.

`growc.run.grow.predict` runs the source under the law, and growth by plain copies with free routing is then carried
out. Models are in float64 and loss is taken in float32, as in a run: what is left is rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas, order
from growc.anatomy.sites import MoeSite
from growc.checks.twin import apply
from growc.engine.layout import Layout
from growc.engine.losses import mean_loss, ready_head, validation_losses
from growc.growth.rewrite import rewrite
from growc.measures.scores import expert_scores
from growc.model import inspect
from growc.model.drawn import build, draw, load
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.run.grow import Place, Windows, predict
from tests.families import FAMILIES
from tests.operators_cases import EXACT, EXPLICIT

pytestmark = pytest.mark.share(2)

GAP = 1e-6
"""Nats between the predicted loss and the measured one."""

LENGTH = 32
STEPS = 15

ROUTERS: dict[str, dict[str, Any]] = {
    "softmax-of-top-k": FAMILIES["mixtral"],
    "softmax-renormalised": FAMILIES["qwen3_moe"],
    "softmax-plain": FAMILIES["qwen3_moe"] | {"norm_topk_prob": False},
    "sigmoid-renormalised": FAMILIES["glm4_moe"],
    "sigmoid-plain": FAMILIES["deepseek_v3"] | {"norm_topk_prob": False},
    "sigmoid-in-groups": FAMILIES["deepseek_v3_groups"],
}
"""Ways to make gates, by what the K_eff law does to each."""

RULES: dict[str, dict[str, Any]] = {
    "uniform": {"rule": "uniform"},
    "greedy": {"rule": "greedy", "cap": 3, "batches": 2},
    "proportional": {"rule": "proportional", "batches": 2},
    "explicit": {"rule": "explicit"},
}


def _cases() -> Iterator[Any]:
    for router, top_k, factor, rule in product(ROUTERS, (1, 2, 4), (2, 3), RULES):
        marks = [] if (top_k, factor) == (2, 2) else [pytest.mark.slow]
        yield pytest.param(router, top_k, factor, rule, id=f"{router}-K{top_k}-x{factor}-{rule}", marks=marks)


def text(seed: int, sequences: int) -> Windows:
    """Token windows of shape (sequences, LENGTH + 1) with something to learn: a chain that is followed mostly."""
    draws = np.random.default_rng(seed)
    ids = draws.integers(64, size=(sequences, LENGTH + 1))
    for position in range(1, LENGTH + 1):
        follows = draws.random(sequences) < 0.8
        ids[follows, position] = (5 * ids[follows, position - 1] + 3) % 64
    return ids.astype(np.int64)


@cache
def trained(router: str, top_k: int) -> tuple[ModelGraph, PreTrainedModel]:
    """A source whose router has moved from where it started."""
    graph = inspect(ROUTERS[router] | {"num_experts_per_tok": top_k}, LENGTH)
    model = draw(graph.config, seed=0)
    start = {site.layer: model.get_parameter(site.router_rows[0]).detach().clone() for site in graph.moe}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = validation_losses(model, text(1, 16), torch.device("cpu")).mean()
    for step in range(STEPS):
        mean_loss(model, torch.from_numpy(text(100 + step, 8))).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = validation_losses(model, text(1, 16), torch.device("cpu")).mean()
    assert after < before - 0.3
    gated = top_k > 1 or router.endswith("plain")
    for site in graph.moe:  # one gate that is always 1 teaches the router nothing
        moved = (model.get_parameter(site.router_rows[0]) - start[site.layer]).norm() / start[site.layer].norm()
        assert (moved > 0.05) == gated
    return graph, model


def transition(router: str, top_k: int, factor: int, rule: str) -> tuple[float, float, float]:
    """Validation losses in nats: of the source, as predicted for the growth, and after it. K_eff must agree too."""
    graph, model = trained(router, top_k)
    allocation = RULES[rule] | ({"replicas": EXPLICIT[factor]} if rule == "explicit" else {})
    operator = ExpertUpcycling.model_validate({**EXACT, "routing": "free", "factor": factor, "allocation": allocation})
    assert not list(operator.problems(graph))
    planned = rewrite(operator, graph, seed="0", sequence_length=LENGTH)
    device = torch.device("cpu")
    scores: dict[int, tuple[float, ...]] = {}
    if operator.measure:
        batches = [torch.from_numpy(text(200 + i, 8)) for i in range(2)]
        scores = expert_scores(operator.measure, model, {}, planned.mixtures, lambda _: batches, device, "0")
    replicas = {site: operator.allocate(site, scores.get(site.layer), planned.seed) for site in planned.mixtures}
    place = Place(Layout(1, 1), device, "fp32", 0, text(2, 32))
    before = validation_losses(model, place.windows, device).mean()
    prediction = predict(model, graph, replicas, place)
    assert prediction is not None

    bound = planned.bound({site.layer: r for site, r in replicas.items()})
    grown = build(bound.grown.config)
    load(grown, bound.grown, apply(bound.programs, {n: t.detach() for n, t in model.state_dict().items()}))
    ready_head(grown, device)  # whose own forward is not to be counted
    with _Met(grown, replicas) as met:
        after = validation_losses(grown, place.windows, device).mean()
    assert prediction.k_eff == pytest.approx(met.means())
    return float(before), float(prediction.losses.mean()), float(after)


class _Met:
    """Counts the different source experts that tokens meet in a grown model."""

    def __init__(self, grown: PreTrainedModel, replicas: dict[MoeSite, Replicas]) -> None:
        self.grown, self.replicas = grown, replicas
        self.counts: dict[int, list[int]] = {site.layer: [] for site in replicas}

    def __enter__(self) -> _Met:
        self.hooks = [
            self.grown.get_submodule(site.router).register_forward_hook(self._counter(site.layer, sizes))
            for site, sizes in self.replicas.items()
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _counter(self, layer: int, sizes: Replicas) -> Any:
        source = torch.tensor(order(sizes))

        def count(_: object, __: object, routed: tuple[Tensor, ...]) -> None:
            (chosen,) = [out for out in routed if not out.is_floating_point()]
            self.counts[layer] += [len(set(row)) for row in source[chosen].tolist()]

        return count

    def means(self) -> dict[int, float]:
        """K_eff by layer."""
        return {layer: sum(counts) / len(counts) for layer, counts in self.counts.items()}


@pytest.mark.nightly(2)
@pytest.mark.parametrize(("router", "top_k", "factor", "rule"), list(_cases()))
def test_the_predicted_loss_is_the_one_after_growth(router: str, top_k: int, factor: int, rule: str) -> None:
    before, predicted, after = transition(router, top_k, factor, rule)
    assert after == pytest.approx(predicted, abs=GAP)
    if top_k > 1 and rule == "uniform":
        assert abs(predicted - before) > 1e-3, "there was something to predict"
