"""Pruning and slimming from weights alone: file to file as in memory, and what needs a run is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from growc.diagnostics import GrowcError
from growc.growth.decision import Decision
from tests.checkpoint.folders import Place, in_memory, place, read, rewrites, source_model
from tests.checkpoint.test_grow import assert_same, load
from tests.families import MOE_FAMILIES

pytestmark = pytest.mark.share(12)

if TYPE_CHECKING:
    from pathlib import Path

NAMED: dict[str, Any] = {"op": "expert_pruning", "choose": {"by": "explicit", "kept": [1, 2, 5, 6]}}
LARGEST: dict[str, Any] = {"op": "expert_pruning", "drop": 4, "choose": {"by": "score", "score": "weight_norm"}}
SLIM: dict[str, Any] = {"op": "expert_slimming", "share": 0.5, "choose": {"score": "weight_norm"}}
CHANCE: dict[str, Any] = {"op": "expert_slimming", "share": 0.25, "choose": {"score": "random"}, "layers": [1]}


def _decision(there: Place, index: int = 0) -> Decision:
    return Decision.read(json.loads((there.grown / "growth.json").read_text())["operators"][index])


@pytest.mark.nightly(2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("operator", [NAMED, LARGEST, SLIM, CHANCE], ids=["named", "largest", "slim", "chance"])
@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_file_to_file_is_in_memory(tmp_path: Path, family: str, operator: dict[str, Any], dtype: torch.dtype) -> None:
    there = place(tmp_path, family, operator, dtype=dtype)
    assert there.grow() == []
    assert_same(read(there.grown), in_memory(there, steps=(_decision(there).bound(rewrites(there)[0]),)))
    load(there.grown)


@pytest.mark.parametrize("family", ["deepseek_v3", "gpt_oss"])
def test_fewer_experts_that_are_slim(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, LARGEST, SLIM)
    there.grow()
    grown = load(there.grown)
    before, after = (sum(p.numel() for p in model.parameters()) for model in (source_model(family), grown))
    assert after < 0.75 * before
    assert [len(rows) for rows in _decision(there, 1).units.values()] == [4 + (family == "deepseek_v3")] * 2


def test_units_with_the_largest_weights_stay(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", SLIM)
    there.grow()
    decision = _decision(there)
    for layer in (0, 1):
        experts: Any = source_model("qwen3_moe").get_submodule(f"model.layers.{layer}.mlp.experts")
        gate, up = experts.gate_up_proj.double().chunk(2, dim=1)
        norms = torch.stack([*(x.square().sum(dim=2) for x in (gate, up)), experts.down_proj.double().square().sum(1)])
        best = norms.sum(dim=0).topk(8, dim=1).indices.sort(dim=1).values
        assert decision.units[layer] == tuple(map(tuple, best.tolist()))


@pytest.mark.parametrize(
    ("operator", "what"),
    [
        ({"op": "expert_pruning", "keep": 4}, "reconstruction error"),
        ({"op": "expert_pruning", "keep": 4, "choose": {"by": "score", "score": "saliency"}}, "score saliency"),
        ({"op": "expert_slimming", "share": 0.5}, "score sensitivity"),
        ({"op": "expert_pruning", "drop": 0, "skipping": "measure"}, "skipping"),
    ],
)
def test_what_needs_a_run_is_refused(tmp_path: Path, operator: dict[str, Any], what: str) -> None:
    with pytest.raises(GrowcError) as raised:
        place(tmp_path, "mixtral", operator).grow()
    (told,) = raised.value.diagnostics
    assert told.code == "GROW312"
    assert what in told.message
    assert told.span is not None
