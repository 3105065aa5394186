"""Experts by the library grouped-gemm are transformers' own, whatever they are built of and wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from growc.engine import grouped_gemm
from growc.engine.distribute import local
from growc.engine.layout import Layout
from growc.engine.losses import mean_loss
from growc.engine.recompute import recompute_layers
from growc.model import inspect
from growc.model.build import load_config
from growc.spec.kernels import Kernels
from tests.engine import gmm
from tests.engine.models import LENGTH, NEMOTRON, built, from_dense, text, with_adjugates
from tests.engine.ranks import on_ranks
from tests.families import FAMILIES

CONFIGS = {name: FAMILIES[name] for name in ("qwen3_moe", "mixtral", "gpt_oss", "deepseek_v3")} | {"nemotron": NEMOTRON}


@pytest.fixture
def library() -> Iterator[None]:
    with gmm.library():
        yield


def _experts(name: str) -> Any:
    """The experts of a layer, in float64, with weights and biases that are drawn."""
    grouped_gemm.register()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(load_config(CONFIGS[name]), dtype=torch.float64)
    experts = model.get_submodule(inspect(CONFIGS[name], LENGTH).moe[0].experts)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_(std=0.3)
    return experts


def _found(experts: Any, kernel: str, chosen: Tensor, gates: Tensor) -> tuple[Tensor, ...]:
    """The output, and gradients of tokens, gates and weights."""
    experts.config._experts_implementation = kernel
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(len(chosen), 32, dtype=torch.float64, generator=generator).requires_grad_()
    gates = gates.clone().requires_grad_()
    output = experts(hidden, chosen, gates)
    weights = torch.randn(output.shape, dtype=torch.float64, generator=generator)
    return (output, *torch.autograd.grad((output * weights).sum(), [hidden, gates, *experts.parameters()]))


def _routed(tokens: int, slots: int) -> tuple[Tensor, Tensor]:
    """Two of `slots` experts for every token, of which some get none, and gates."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.rand(tokens, slots, generator=generator, dtype=torch.float64)
    scores[:, ::3] = 0
    gates, chosen = scores.topk(2)
    return chosen, gates


@pytest.mark.parametrize("tokens", [1, 21])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_and_gradients_are_those_of_one_expert_after_another(library: None, name: str, tokens: int) -> None:
    experts, routed = _experts(name), _routed(tokens, 8)
    found, wanted = (_found(experts, kernel, *routed) for kernel in ("grouped_gemm", "eager"))
    assert len(gmm.seen) == 2
    assert 0 in gmm.seen[0]
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_goes_to_experts_of_other_ranks_adds_nothing(library: None, name: str) -> None:
    experts = _experts(name)
    experts._is_expert_parallel = True
    chosen, gates = _routed(21, 9)
    gates = gates.masked_fill(chosen == 8, 0)
    assert bool((chosen == 8).any())
    found, wanted = (_found(experts, kernel, chosen, gates) for kernel in ("grouped_gemm", "batched_mm"))
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    none = torch.full_like(chosen, 8)
    assert not any(value.any() for value in _found(experts, "grouped_gemm", none, torch.zeros_like(gates)))


def gradients(layout: Layout, config: dict[str, Any], kernel: Any, how: Any = "none") -> dict[str, float]:
    """The size of every parameter's gradient on this rank, and the loss."""
    with gmm.library():
        model = built(config, layout, kernels=Kernels(experts=kernel))
        recompute_layers(model, how)
        loss = mean_loss(model, text(2))
        loss.backward()
        assert bool(gmm.seen) == (kernel == "grouped_gemm")
    found = {name: float(local(p.grad).norm()) for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": float(loss.detach()), **found}


@pytest.mark.parametrize("how", ["none", "full", "selective"])
@pytest.mark.parametrize(
    "config",
    [CONFIGS["qwen3_moe"], CONFIGS["gpt_oss"], from_dense("gpt2"), with_adjugates("qwen3_moe")],
    ids=["qwen3_moe", "gpt_oss", "from gpt2", "with adjugates"],
)
def test_models_train_by_it(alone: None, config: dict[str, Any], how: str) -> None:
    found = gradients(Layout(1, 1), config, "grouped_gemm", how)
    assert found == pytest.approx(gradients(Layout(1, 1), config, "grouped_mm"), rel=1e-4)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss"])
def test_experts_of_two_ranks_train_by_it(tmp_path: Path, name: str) -> None:
    found = {}
    for kernel in ("grouped_gemm", "eager"):
        (tmp_path / kernel).mkdir()
        found[kernel] = on_ranks(gradients, Layout(2, 2), tmp_path / kernel, CONFIGS[name], kernel)
    assert found["grouped_gemm"] == pytest.approx(found["eager"], rel=1e-4)
