"""The losses on routers, by their definitions."""

from __future__ import annotations

import pytest
import torch

from growc.checks.twin import LENGTH, tokens
from growc.engine.balance import Load, auxiliary_loss, z_loss
from growc.growth.rewrite import rewrite
from growc.model import inspect
from growc.model.drawn import draw, logits
from growc.operators import operator
from growc.spec.schema import Balance
from tests.families import FAMILIES


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "llama4_text", "qwen3"])
def test_losses_of_routers(family: str) -> None:
    """From the logits that routers return: of a mixture of routers (qwen3) those whose softmax is the mean."""
    graph = inspect(FAMILIES[family], LENGTH)
    if not graph.moe:
        grows = operator("router_upcycling").model_validate({"experts": 4})
        graph = rewrite(grows, graph, seed="0", sequence_length=LENGTH).grown
    model = draw(graph.config, 0)
    seen = dict[int, torch.Tensor]()
    place = int(graph.moe[0].dense_dispatch)  # the gates come first where every expert sees every token
    for site in graph.moe:
        model.get_submodule(site.router).register_forward_hook(
            lambda *call, layer=site.layer: seen.__setitem__(layer, call[-1][place])
        )
    load = Load(model, graph.moe, Balance(method="auxiliary", rate=1e-2, z_loss=1e-3))
    logits(model, tokens(model, seed=0))
    counts, expected, even = load.reduced(), list[torch.Tensor](), list[torch.Tensor]()
    for layer, scores in seen.items():
        expected.append((scores.exp().sum(dim=1).log() ** 2).mean())
        share = counts[layer] / counts[layer].sum()
        even.append(len(share) * (share * scores.softmax(dim=1).mean(dim=0)).sum())
    found = z_loss(load, 1e-3)
    torch.testing.assert_close(found.double(), 1e-3 * torch.stack(expected).mean(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        auxiliary_loss(load, counts, 1e-2).double(), 1e-2 * torch.stack(even).mean(), rtol=1e-5, atol=0
    )
    found.backward()
    for site in graph.moe:
        for name, parameter in model.get_submodule(site.router).named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_nothing_is_kept_that_is_not_asked_for() -> None:
    graph = inspect(FAMILIES["mixtral"], LENGTH)
    model = draw(graph.config, 0)
    load = Load(model, graph.moe)
    logits(model, tokens(model, seed=0))
    assert load.counts
    assert not load.mean_squares
    assert not load.mean_probability
