"""The tracer, and everything it needs of torch.fx: traces compute what their models compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.model.build import build_meta, load_config
from growc.model.sites import is_attention
from growc.model.trace import trace, value
from tests.families import FAMILIES


def real(config: dict[str, Any]) -> PreTrainedModel:
    """A model with weights, on the CPU, with attention that computes."""
    torch.manual_seed(0)
    built = AutoModelForCausalLM.from_config(
        load_config(config),
        attn_implementation="eager",
        experts_implementation="batched_mm",
        dtype=torch.float32,
    )
    return built.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_equals_the_model_bit_for_bit(family: str) -> None:
    model = real(FAMILIES[family])
    graph = trace(model, 12)
    for seed in range(3):
        ids = torch.randint(0, 256, (1, 12), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            assert torch.equal(graph(ids), model(input_ids=ids).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_tracer_needs_of_fx(family: str) -> None:
    model = build_meta(load_config(FAMILIES[family]))
    graph = trace(model, 12)
    nodes = list(graph.graph.nodes)
    assert [value(n).shape for n in nodes if n.op == "placeholder"] == [(1, 12)]

    for node in nodes:  # every node has its value; tensors are all on meta
        if node.op == "output":
            continue
        held = value(node)
        assert not isinstance(held, fx.Proxy)
        assert not isinstance(held, Tensor) or held.device.type == "meta"

    for node in nodes:  # names are the model's own, without a prefix
        if node.op == "call_module":
            assert model.get_submodule(str(node.target)) is not None

    attentions = [node for node in nodes if is_attention(node)]  # one node per attention, inside its module
    assert len(attentions) == model.config.num_hidden_layers
    for node in attentions:
        inner = list(node.meta["nn_module_stack"].values())[-1][0]
        assert type(model.get_submodule(inner)).__name__.endswith("Attention")


def test_the_opaque_attention_has_no_kernel() -> None:
    q = torch.zeros(1, 2, 3, 4)
    with pytest.raises(NotImplementedError):
        torch.ops.growc.attention(q, q, q, [], 0, 1.0)
