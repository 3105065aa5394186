"""Winners among siblings, and routers that know them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from growc.anatomy.replicas import order
from growc.model.build import load_config
from growc.model.inspect import inspect
from growc.nn.exclusive import Siblings, make_exclusive
from growc.operators.expert_upcycling import ExpertUpcycling
from tests.families import FAMILIES
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(3)

groups = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@given(groups, st.integers(0, 2**32 - 1), st.booleans())
def test_one_winner_per_group_and_token(replicas: list[int], seed: int, ties: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    keys = torch.randn(9, sum(replicas), generator=draw)
    if ties:
        keys = keys.round()
    hidden = torch.randn(9, 16, generator=draw)
    winners = Siblings(replicas).winners(keys, hidden)
    start = 0
    for size in replicas:
        group = winners[:, start : start + size]
        assert (group.sum(dim=1) == 1).all()
        assert (keys[:, start : start + size][group] == keys[:, start : start + size].amax(dim=1)).all()
        start += size


def test_ties_are_spread_over_siblings() -> None:
    winners = Siblings([4, 2]).winners(torch.zeros(4000, 6), torch.randn(4000, 64))
    assert winners[:, :4].float().mean(dim=0).sub(1 / 4).abs().max() < 0.03
    assert winners[:, 4:].float().mean(dim=0).sub(1 / 2).abs().max() < 0.03


class SoftmaxWithBias(nn.Module):
    """The one combination that no tested family has: softmax scores with a selection bias, renormalised or not."""

    bias: Tensor

    def __init__(self, experts: int, width: int, top_k: int, renormalise: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, width, dtype=torch.float64))
        self.register_buffer("bias", torch.randn(experts, dtype=torch.float64) * 0.1)
        self.top_k, self.renormalise, self.num_experts = top_k, renormalise, experts

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = F.linear(hidden, self.weight)
        scores = logits.softmax(dim=-1)
        chosen = (scores + self.bias).topk(self.top_k, dim=-1).indices
        gates = scores.gather(-1, chosen)
        return logits, gates / gates.sum(-1, keepdim=True) if self.renormalise else gates, chosen


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("replicas", [(2, 2, 2, 2, 2), (1, 3, 2, 1, 3)])
def test_softmax_with_selection_bias_is_exact(renormalise: bool, replicas: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    source = SoftmaxWithBias(5, 8, 2, renormalise)
    grown = SoftmaxWithBias(sum(replicas), 8, 2, renormalise)
    slots = torch.tensor(order(replicas))
    noise = torch.tensor([c > 0 for r in replicas for c in range(r)]) * torch.rand(len(slots)) * 1e-2
    grown.load_state_dict({"weight": source.weight[slots], "bias": source.bias[slots] + noise})
    make_exclusive(grown, replicas)
    hidden = torch.randn(200, 8, dtype=torch.float64)
    (_, gates, chosen), (_, expected_gates, expected) = grown(hidden), source(hidden)
    assert torch.equal(slots[chosen], expected)
    assert torch.allclose(gates, expected_gates, atol=1e-14)
    gates.sum().backward()
    assert grown.weight.grad is not None
    assert torch.isfinite(grown.weight.grad).all()


@pytest.mark.process
@pytest.mark.slow
def test_import_growc_is_all_that_loading_needs(tmp_path: Path) -> None:
    source = inspect(FAMILIES["glm4_moe"], 32)
    operator = ExpertUpcycling.model_validate({**EXACT, "layers": [2]})
    config = operator.config(source, {site.layer: operator.allocate(site) for site in operator.sites(source)})
    model = AutoModelForCausalLM.from_config(load_config(config))
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["model_type"] == "growc"
    orders = ("import growc, transformers", "import transformers, growc")
    code = "import os, torch\n"  # what takes long, once
    for imports in orders:
        code += f"if not os.fork():\n    {imports}\n"
        code += f"    m = transformers.AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})\n"
        code += "    print(type(m.model.layers[2].mlp.gate).__name__, m.model.layers[1].mlp.gate.weight.shape[0])\n"
        code += "    raise SystemExit\n"
        code += "os.wait()\n"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert seen.stdout.splitlines() == ["ExclusiveGlm4MoeTopkRouter 8"] * len(orders), seen.stderr
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert copy.deepcopy(again.config).to_dict()["growc"] == config["growc"]


@pytest.mark.process
@pytest.mark.slow
def test_a_grown_model_runs_on_the_kernels_of_its_family(tmp_path: Path) -> None:
    """Loaded in a process that never built the stock model: transformers decides by the source of a class's module."""
    source, operator = inspect(FAMILIES["mixtral"], 32), ExpertUpcycling.model_validate(EXACT)
    config = operator.config(source, {site.layer: operator.allocate(site) for site in source.moe})
    AutoModelForCausalLM.from_config(load_config(config)).save_pretrained(tmp_path)
    code = f"import growc, transformers; m = transformers.AutoModelForCausalLM.from_pretrained({str(tmp_path)!r});"
    code += "print(m.config._experts_implementation, m.config._attn_implementation)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert seen.stdout.split() == ["grouped_mm", "sdpa"], seen.stderr


@pytest.mark.process
def test_stock_transformers_refuses_a_grown_model(tmp_path: Path) -> None:
    """A loader that does not know siblings would compute another function: it must not load the model at all."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "growc"}), encoding="utf-8")
    code = f"import transformers; transformers.AutoConfig.from_pretrained({str(tmp_path)!r})"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert seen.returncode != 0
    assert "growc" in seen.stderr
