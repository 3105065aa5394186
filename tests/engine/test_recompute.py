"""Layers that are computed again give the same gradients, and send every token to the experts it went to."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from growc.diagnostics import GrowcError
from growc.engine.balance import Load
from growc.engine.distribute import local
from growc.engine.losses import mean_loss
from growc.engine.recompute import PRODUCTS, forwards, recompute_layers, recomputing, seen, unseen
from growc.model import inspect
from growc.spec.training import Balance
from tests.engine.models import LENGTH, built, grown, text
from tests.families import FAMILIES

CONFIGS = {
    name: FAMILIES[name] for name in ("llama", "mixtral", "deepseek_v3_groups", "gpt_oss", "llama4_text", "phimoe")
}


def _config(name: str) -> dict[str, Any]:
    return grown("glm4_moe") if name == "exclusive" else CONFIGS[name]


def _gradients(name: str, how: Any) -> dict[str, Tensor]:
    model = built(_config(name))
    torch.manual_seed(1)
    recompute_layers(model, how)
    mean_loss(model, text(2)).backward()
    return {name: local(p.grad) for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", [*CONFIGS, "exclusive"])
def test_gradients_are_the_same(alone: None, name: str) -> None:
    plain = _gradients(name, "none")
    assert any(value.any() for value in plain.values())
    for how in ("selective", "full"):
        found = _gradients(name, how)
        assert found.keys() == plain.keys()
        for each, value in plain.items():
            torch.testing.assert_close(found[each], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("products", [PRODUCTS, frozenset()], ids=["selective", "full"])
@pytest.mark.parametrize("view", [False, True])
def test_what_is_written_over_is_computed_again(products: Any, view: bool) -> None:
    """Also through a view that does not share its versions, as a matrix product of three dimensions gives."""
    weight = torch.randn(2, 4, 4, requires_grad=True)

    def layer(hidden: Tensor) -> Tensor:
        found = torch.matmul(hidden, weight) if view else torch.bmm(hidden, weight)
        turned = found.permute(0, 2, 1)
        turned += hidden.permute(0, 2, 1)
        return torch.relu(found) * found

    def gradients(run: Any) -> tuple[Tensor, ...]:
        hidden = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        return torch.autograd.grad(run(hidden * 1).sum(), [hidden, weight])

    again = partial(checkpoint, layer, use_reentrant=False, context_fn=partial(forwards, products))
    for found, wanted in zip(gradients(again), gradients(layer), strict=True):
        torch.testing.assert_close(found, wanted)


def test_nothing_that_compiled_code_gave_is_kept() -> None:
    """It may have been written over; what runs as it is inside of it is kept."""
    matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))

    def layer() -> list[Tensor]:
        with unseen():
            compiled = matrix @ matrix
            with seen():
                return [compiled, matrix @ matrix, matrix.topk(2).indices]

    first, again = forwards(PRODUCTS)
    with first:
        expected = layer()
    matrix += 1
    with again:
        found = layer()
    same = [torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True)]
    assert same == [False, True, True]


@pytest.mark.parametrize("how", ["selective", "full"])
@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3_groups", "phimoe", "exclusive"])
def test_no_token_changes_its_experts(alone: None, name: str, how: Any) -> None:
    """Though the hidden states that routers see the second time are others by far more than a rounding."""
    config = _config(name)
    model, sites = built(config), inspect(config, LENGTH).moe
    chosen: dict[tuple[int, bool], Tensor] = {}
    moved = []

    def watch(layer: int) -> Any:
        def hook(_: Any, __: Any, routed: tuple[Tensor, ...]) -> None:
            whole = [out for out in routed if not out.is_floating_point()]
            chosen[layer, recomputing()] = whole[0].clone()

        return hook

    def disturb(_: Any, inputs: tuple[Tensor, ...]) -> Any:
        if recomputing():
            moved.append(1)
            return (inputs[0] + torch.randn_like(inputs[0]), *inputs[1:])
        return None

    for site in sites:
        model.get_submodule(site.rule).register_forward_hook(watch(site.layer))
        model.get_submodule(site.rule).register_forward_pre_hook(disturb)
    recompute_layers(model, how)
    mean_loss(model, text(2)).backward()
    assert len(moved) == len(sites)
    for site in sites:
        assert torch.equal(chosen[site.layer, False], chosen[site.layer, True])
        assert len(chosen[site.layer, True].unique()) > 2


@pytest.mark.parametrize("how", ["none", "selective", "full"])
def test_tokens_are_counted_once(alone: None, how: Any) -> None:
    model = built(FAMILIES["qwen3_moe"])
    sites = inspect(FAMILIES["qwen3_moe"], LENGTH).moe
    load = Load(model, sites, Balance(method="loss_free", z_loss=1e-3))
    recompute_layers(model, how)
    mean_loss(model, text(2)).backward()
    counts = load.reduced()
    load.close()
    assert {int(count.sum()) for count in counts.values()} == {2 * LENGTH * sites[0].top_k}


def test_less_is_kept(alone: None) -> None:
    def kept(how: Any) -> int:
        model = built(FAMILIES["qwen3_moe"])
        recompute_layers(model, how)
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = mean_loss(model, text(8))
        loss.backward()
        return sum(sizes.values())

    assert kept("full") < 0.5 * kept("none")


def test_a_family_that_cannot_is_told(alone: None) -> None:
    model = built(FAMILIES["llama"])
    type(model).supports_gradient_checkpointing, before = False, type(model).supports_gradient_checkpointing
    try:
        with pytest.raises(GrowcError) as refused:
            recompute_layers(model, "full")
    finally:
        type(model).supports_gradient_checkpointing = before
    assert [d.code for d in refused.value.diagnostics] == ["GROW627"]
