"""What is gathered at once, in which type, and which rank holds which rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from growc.engine.distribute import full, local
from growc.engine.layout import Layout
from growc.engine.losses import mean_loss
from growc.model import inspect
from growc.model.build import load_config
from tests.engine.models import HEADS, LENGTH, OTHERS, built, grown, text
from tests.engine.ranks import on_ranks
from tests.families import FAMILIES

CONFIGS = FAMILIES | {"tied": HEADS["tied"], "exclusive": grown("qwen3_moe")}


def units(model: Any) -> set[str]:
    """Modules that are gathered by themselves, or with others."""
    return {name for name, module in model.named_modules() if isinstance(module, FSDPModule)}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_and_every_router_is_a_unit_in_bf16(alone: None, name: str) -> None:
    graph = inspect(CONFIGS[name], LENGTH)
    layers = {f"{graph.blocks.path}.{i}" for i in range(graph.layers)}
    routers = {site.router for site in graph.moe}
    assert layers | routers | {""} <= units(built(CONFIGS[name], precision="bf16"))
    assert not units(built(CONFIGS[name], precision="fp32")), "one rank has nothing to divide"


@pytest.mark.parametrize("name", CONFIGS)
def test_shards_are_fp32_and_cover_everything(alone: None, name: str) -> None:
    model = built(CONFIGS[name], precision="bf16")
    for each in model.parameters():
        assert isinstance(each, DTensor)
        assert each.dtype is torch.float32
        assert local(each).shape == each.shape


FALCON = dict(
    model_type="falcon_h1", vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8,
    mamba_n_groups=1, mamba_d_state=8, mamba_chunk_size=8, ssm_multipliers=[0.5, 0.25, 2.0, 1.5, 3.0],
    time_step_limit=[0.0, 1.0],
)  # fmt: skip
"""A model whose layers have a buffer that no checkpoint holds and that the model around them fills."""


@pytest.mark.parametrize("name", [*CONFIGS, "falcon_h1"])
def test_buffers_that_no_checkpoint_holds_are_ready(alone: None, name: str) -> None:
    config = FALCON if name == "falcon_h1" else CONFIGS[name]
    plain = AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32)
    kept, found = plain.state_dict().keys(), dict(built(config).named_buffers())
    rest = {each: buffer for each, buffer in plain.named_buffers() if each not in kept}
    assert rest or name == "gpt2"
    for each, buffer in rest.items():
        assert torch.equal(found[each], buffer), each


def norms(layout: Layout) -> dict[str, float]:
    """The norms of the whole gradients of one step, every rank with other tokens."""
    model, parts = built(OTHERS["divided"], layout), text(2).chunk(layout.ranks)
    mean_loss(model, parts[dist.get_rank()]).backward()
    return {name: float(full(p.grad).norm()) for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.process
def test_dense_layers_are_not_divided_with_the_experts(tmp_path: Path, alone: None) -> None:
    found = on_ranks(norms, Layout(2, 2), tmp_path)
    assert found == pytest.approx(norms(Layout(1, 1)), rel=1e-5)


def held(layout: Layout, config: dict[str, Any]) -> dict[str, Any]:
    """Units, and the shapes of this rank's shards of the experts and of a dense matrix."""
    model = built(config, layout)
    named: dict[str, Any] = dict(model.named_parameters())
    embedding: Any = model.get_input_embeddings()
    site = inspect(config, LENGTH).moe[0]
    return {
        "units": sorted(units(model)),
        "experts": list(local(named[site.expert_tensors[0]]).shape),
        "embedding": list(local(embedding.weight).shape),
        "placements": [str(p) for p in named[site.expert_tensors[0]].placements],
    }


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("layout", "experts", "rows"),
    [
        (Layout(2, 1), 4, 128),
        (Layout(2, 2), 4, 128),
        (Layout(4, 2), 2, 64),
        (Layout(2, 2, 2), 4, 128),
        (Layout(2, 1, 2), 4, 128),
    ],
    ids=str,
)
def test_ranks_hold_their_share(tmp_path: Path, layout: Layout, experts: int, rows: int) -> None:
    """Of 8 experts, and of the 256 rows of the embedding."""
    found = on_ranks(held, layout, tmp_path, FAMILIES["qwen3_moe"])
    assert found["experts"][0] == experts
    assert found["embedding"][0] == rows
    dispatch = {f"model.layers.{i}.mlp.experts" for i in range(2)}
    assert (dispatch <= set(found["units"])) == (layout.ep > 1)
