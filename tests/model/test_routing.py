"""What a router does is found by running it: the key of its top-K, and what it makes of repeated logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from growc.anatomy.sites import Repetition
from growc.model import inspect, routing
from tests.families import FAMILIES, MOE_FAMILIES

RENORMALISED = Repetition(same_choice=True, gates_add_up=True, scores_shrink=False)
EXPECTED: dict[str, Repetition | None] = {
    **dict.fromkeys(MOE_FAMILIES, RENORMALISED),
    "deepseek_v3_groups": Repetition(same_choice=False, gates_add_up=True, scores_shrink=False),
    "llama4_text": Repetition(same_choice=True, gates_add_up=False, scores_shrink=False),
    "phimoe": None,
}


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_the_rule_of_every_family(family: str) -> None:
    graph = inspect(FAMILIES[family], 16)
    assert graph.top_k_field == (None if family == "phimoe" else "num_experts_per_tok")
    assert {site.repetition for site in graph.moe} == {EXPECTED[family]}


def test_numbers_that_happen_to_be_equal_are_told_apart() -> None:
    same = {"num_key_value_heads": 2, "num_hidden_layers": 2, "num_experts_per_tok": 2, "decoder_sparse_step": 1}
    assert inspect(FAMILIES["qwen3_moe"] | same, 16).top_k_field == "num_experts_per_tok"


@pytest.mark.parametrize(("renormalised", "adds_up"), [(True, True), (False, False)])
def test_independent_sigmoids_add_up_only_if_renormalised(renormalised: bool, adds_up: bool) -> None:
    graph = inspect(FAMILIES["glm4_moe"] | {"norm_topk_prob": renormalised}, 16)
    assert {site.repetition for site in graph.moe} == {Repetition(True, adds_up, False)}


class _SoftmaxRouter(nn.Module):
    """A softmax over all experts with a selection bias, which no family above has."""

    bias: Tensor

    def __init__(self, experts: int, top_k: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, 4, device="meta"))
        self.register_buffer("bias", torch.empty(experts, device="meta"))
        self.top_k = top_k

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = F.linear(hidden, self.weight).softmax(dim=-1)
        chosen = (scores + self.bias).topk(self.top_k, dim=-1).indices
        return scores, scores.gather(1, chosen), chosen


def test_scores_that_shrink_need_a_smaller_selection_bias() -> None:
    site = inspect(FAMILIES["glm4_moe"], 16).moe[0]
    models: list[Any] = []
    for experts, top_k in ((8, 2), (16, 4)):
        model = nn.Module()
        owner = model
        *path, last = site.router.split(".")
        for name in path:
            owner.add_module(name, nn.Module())
            owner = owner.get_submodule(name)
        owner.add_module(last, _SoftmaxRouter(experts, top_k))
        models.append(model)
    found = routing.repetition(models[0], models[1], site)
    assert found == Repetition(same_choice=True, gates_add_up=True, scores_shrink=True)
