"""The loss in chunks is the loss, for every kind of head, and logits never exist whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM
from typing_extensions import override

from growc.engine import head
from growc.engine.distribute import full
from growc.engine.losses import mean_loss, token_losses
from growc.model.build import load_config
from tests.engine.models import HEADS, LENGTH, OTHERS, built, text
from tests.families import FAMILIES

CONFIGS = {
    **HEADS,
    **{family: FAMILIES[family] for family in ("gpt2", "mixtral", "deepseek_v3", "gpt_oss", "llama4_text")},
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK", 10)  # which does not divide what there is


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_and_gradients_are_those_of_whole_logits(name: str) -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(load_config(CONFIGS[name]), dtype=torch.float32).eval()
    batch = text(3)
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
    expected.mean().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    mean = mean_loss(model, batch)
    mean.backward()
    assert float(mean.detach()) == pytest.approx(float(expected.detach().mean()), rel=1e-6)
    torch.testing.assert_close(token_losses(model, batch).flatten(), expected.detach(), rtol=0, atol=1e-5)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    for each, gradient in wanted.items():
        assert (found[each] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), each


@pytest.mark.parametrize("name", [*CONFIGS, "shared", pytest.param("computed", marks=pytest.mark.process)])
def test_sharded_gradients_are_those_of_the_plain_model(alone: None, name: str) -> None:
    config = (CONFIGS | OTHERS)[name]
    sharded = built(config).eval()
    plain: Any = AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32).eval()
    plain.load_state_dict({key: full(tensor) for key, tensor in sharded.state_dict().items()})
    batch = text(2)
    for model in (sharded, plain):
        mean_loss(model, batch).backward()
    wanted, found = (dict(model.named_parameters()) for model in (plain, sharded))
    assert wanted.keys() == found.keys()
    for each, parameter in wanted.items():
        if parameter.grad is None:
            assert found[each].grad is None
            continue
        gradient = found[each].grad
        assert gradient is not None
        torch.testing.assert_close(full(gradient), parameter.grad, rtol=1e-4, atol=1e-7)


def test_a_head_that_caps_its_logits_is_seen() -> None:
    models = {name: AutoModelForCausalLM.from_config(load_config(config)) for name, config in HEADS.items()}
    for model in models.values():
        mean_loss(model, text(1))
    kinds = {name: head.head_of(model).behind is None for name, model in models.items()}
    assert kinds == {"capped": False, "scaled": False, "divided": False, "biased": True, "tied": True}


class _Largest(TorchDispatchMode):
    """The most elements that a tensor with the vocabulary for its last dimension has."""

    found = 0

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dim() > 1 and result.shape[-1] == 256:
            self.found = max(self.found, result.numel())
        return result


@pytest.mark.parametrize("name", ["capped", "tied", "mixtral"])
def test_logits_never_exist_whole(alone: None, name: str) -> None:
    model, batch = built(CONFIGS[name]), text(4)
    with _Largest() as seen:
        mean_loss(model, batch).backward()
        token_losses(model, batch)
    assert 10 * 256 <= seen.found < 4 * LENGTH * 256


def test_a_head_gives_logits_where_no_loss_is_asked_for(alone: None) -> None:
    model, batch = built(FAMILIES["mixtral"]), text(2)
    mean_loss(model, batch)
    assert model(input_ids=batch[:, :-1]).logits.shape == (2, LENGTH, 256)
