"""Means over calibration text are those of what modules get, whatever the batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from growc.checks.twin import LENGTH
from growc.measures.inputs import mean_inputs
from growc.model import inspect
from growc.model.drawn import draw
from growc.model.inspect import head_of
from tests.families import FAMILIES

pytestmark = pytest.mark.usefixtures("alone")


@pytest.mark.parametrize("family", ["qwen3", "gpt2", "mixtral"])
def test_what_enters_a_head_is_the_last_hidden_state(family: str) -> None:
    model: Any = draw(inspect(FAMILIES[family], LENGTH).config, 0)
    head = head_of(model)
    assert head == "lm_head"
    batches = list(torch.randint(256, (3, 4, 17), generator=torch.Generator().manual_seed(0)))
    means = mean_inputs(model, {"domain/1": head}, batches, torch.device("cpu"))
    with torch.no_grad():
        states = model(input_ids=torch.cat(batches)[:, :-1], output_hidden_states=True).hidden_states[-1]
    found = torch.tensor(means["domain/1"], dtype=torch.float64)
    torch.testing.assert_close(found, states.flatten(0, 1).mean(0), rtol=0, atol=1e-9)


def test_what_enters_a_network_comes_from_its_norm() -> None:
    graph = inspect(FAMILIES["qwen3"], LENGTH)
    model: Any = draw(graph.config, 0)
    model.train()
    batches, seen = [torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(1))], list[torch.Tensor]()
    modules = {f"{site.layer}/mean_token": site.up[0] for site in graph.ffn}
    means = mean_inputs(model, modules, batches, torch.device("cpu"))
    assert model.training
    norm = model.model.layers[1].post_attention_layernorm
    hook = norm.register_forward_hook(lambda *call: seen.append(call[-1]))
    with torch.no_grad():
        model(input_ids=batches[0][:, :-1])
    hook.remove()
    found = torch.tensor(means["1/mean_token"], dtype=torch.float64)
    torch.testing.assert_close(found, seen[0].flatten(0, 1).mean(0), rtol=0, atol=1e-9)
    assert means.keys() == {"0/mean_token", "1/mean_token"}
