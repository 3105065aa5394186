"""Scores in one process against a brute force over every expert's own tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from growc.anatomy.sites import MoeSite
from growc.checkpoint.training import State
from growc.measures.scores import expert_scores
from growc.model import inspect
from growc.operators.allocation import Greedy
from tests.checkpoint.folders import source_model
from tests.families import FAMILIES

CPU = torch.device("cpu")
FAMILY = "gpt_oss"
"""Its experts have biases and interleaved units."""


def _batches(count: int) -> list[Tensor]:
    return [torch.randint(256, (4, 17), generator=torch.Generator().manual_seed(i)) for i in range(count)]


def _norm(site: MoeSite, tensors: dict[str, Tensor], expert: int, down: bool | None) -> float:
    """||.|| of one expert's share of the tensors: those back from the units, those into them, or all."""
    chosen = [name for name in site.expert_tensors if down is None or ("down" in name) == down]
    return float(torch.cat([tensors[name][expert].double().flatten() for name in chosen]).norm())


@pytest.mark.parametrize("over", ["all", "fc1", "fc2", "both_mean", "both_product", "both_max", "both_min"])
@pytest.mark.parametrize("score", ["weight_norm", "gradient_squared", "saliency", "curvature"])
def test_scores_are_those_of_a_brute_force(score: Any, over: Any) -> None:
    model, sites = source_model(FAMILY), inspect(FAMILIES[FAMILY], 16).moe
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    draw = torch.Generator().manual_seed(0)
    seconds = {name: torch.rand(p.shape, generator=draw) / 100 for name, p in parameters.items()}
    state: State = {name: {"exp_avg_sq": second} for name, second in seconds.items()}
    rule = Greedy(rule="greedy", score=score, over=over, batches=2)
    found = expert_scores(rule, model, state, sites, _batches, CPU, "0")
    assert all(p.grad is None for p in model.parameters())

    gradients: list[dict[str, Tensor]] = []
    for batch in _batches(2):
        logits: Tensor = model(input_ids=batch[:, :-1]).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        names, values = zip(*model.named_parameters(), strict=True)
        gradients.append(dict(zip(names, torch.autograd.grad(loss, values), strict=True)))

    def one(site: MoeSite, expert: int, down: bool | None) -> float:
        w = _norm(site, parameters, expert, down)
        v = _norm(site, seconds, expert, down)
        norms = [_norm(site, gradient, expert, down) for gradient in gradients]
        formula = {
            "weight_norm": [w],
            "gradient_squared": [g**2 for g in norms],
            "saliency": [w * g for g in norms],
            "curvature": [g**2 / (v + 1e-8) for g in norms],
        }[score]
        return sum(formula) / len(formula)

    for site in sites:
        experts = range(site.num_experts)
        if over in ("all", "fc1", "fc2"):
            expected = [one(site, e, {"all": None, "fc1": False, "fc2": True}[over]) for e in experts]
        else:
            into, back = ([one(site, e, down) for e in experts] for down in (False, True))
            both = [(a / sum(into), b / sum(back)) for a, b in zip(into, back, strict=True)]
            how: Any = {"both_product": lambda p: p[0] * p[1], "both_max": max, "both_min": min}.get(
                over, lambda p: sum(p) / 2
            )
            expected = [how(pair) for pair in both]
        assert found[site.layer] == pytest.approx(expected, rel=1e-4)
        assert max(expected) > min(expected)


def test_chance_needs_no_batch() -> None:
    sites = inspect(FAMILIES[FAMILY], 16).moe
    model = source_model(FAMILY)

    def none(_: int) -> list[Tensor]:
        raise AssertionError

    rule = Greedy(rule="greedy", score="random")
    first, second = (expert_scores(rule, model, {}, sites, none, CPU, seed) for seed in ("0", "1"))
    assert first == expert_scores(rule, model, {}, sites, none, CPU, "0")
    assert first != second
