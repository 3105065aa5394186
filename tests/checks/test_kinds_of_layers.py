"""Families whose layers differ, or whose routers are built, in ways that a proof on one plain layer would not see.

Each is grown file to file and compared with stock transformers, beside what growc's own proof says of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.checks.loss import prove
from growc.checks.twin import twin_of
from growc.diagnostics import GrowcError
from growc.growth.rewrite import Rewrite, refusals, rewrite
from growc.model import inspect
from growc.model.build import load_config
from growc.model.drawn import build, load
from growc.model.reach import LENGTH, NEAR
from growc.operators import operator
from growc.operators.claims import Preserves
from tests.checkpoint.folders import Place, write_spec
from tests.families import FAMILIES, SIZES

pytestmark = pytest.mark.share(3)

LAYERS: dict[str, Any] = dict(SIZES, num_hidden_layers=4, intermediate_size=48)
EXPERTS: dict[str, Any] = dict(LAYERS, moe_intermediate_size=16, num_experts=8, num_experts_per_tok=2)
SLIDING = ["sliding_attention"] * 3 + ["full_attention"]

DENSE: dict[str, dict[str, Any]] = {
    # flex_olmo has the same tensors and no window
    "olmo3": dict(LAYERS, model_type="olmo3", sliding_window=16, layer_types=SLIDING),
    # every fourth layer has no rotary positions
    "smollm3": dict(LAYERS, model_type="smollm3", no_rope_layers=[1, 1, 1, 0]),
    # the class with its tensors and experts, cohere2_moe, has windows, and no positions in every fourth layer
    "cohere": {key: value for key, value in LAYERS.items() if key != "head_dim"} | {"model_type": "cohere"},
    "gemma3_text": dict(LAYERS, model_type="gemma3_text", sliding_window=16, layer_types=SLIDING),
}
MIXTURES: dict[str, dict[str, Any]] = {
    # a selection bias that is a parameter: of the router, and of the block around it
    "laguna": dict(EXPERTS, model_type="laguna"),
    "afmoe": dict(EXPERTS, model_type="afmoe", num_shared_experts=1, num_dense_layers=1, sliding_window=16),
    # a selection bias that the block gives to its router
    "hy_v3": {**EXPERTS, "model_type": "hy_v3", "num_local_experts": 8},
    "minimax_m2": dict(LAYERS, model_type="minimax_m2", num_local_experts=8, num_experts_per_tok=2),
    # a scale of each expert's gate, beside the router's rows
    "gemma4_text": dict(
        LAYERS,
        model_type="gemma4_text",
        moe_intermediate_size=16,
        num_experts=8,
        top_k_experts=2,
        enable_moe_block=True,
        hidden_size_per_layer_input=0,
        num_kv_shared_layers=0,
        sliding_window=16,
        layer_types=SLIDING,
        global_head_dim=8,
    ),
    # a router that is built in float32, whatever dtype is asked for
    "hunyuan_v1_moe": dict(LAYERS, model_type="hunyuan_v1_moe", num_experts=8, moe_topk=2),
}
ERNIE = dict(
    LAYERS, model_type="ernie4_5_moe", moe_intermediate_size=16, moe_num_experts=8, moe_k=2, moe_num_shared_experts=1
)
EXACT = {"op": "expert_upcycling", "routing": "exclusive", "router": {"init": "copy"}}
FREE = {**EXACT, "routing": "free"}
KEPT = [0, 2, 4, 6]
PRUNED = {"op": "expert_pruning", "choose": {"by": "explicit", "kept": KEPT}}
SPARSE = {"op": "sparse_upcycling", "experts": 4, "top_k": 2}


def _slow_but(families: Iterable[str], *fast: str) -> list[Any]:
    """One family of a kind is enough for every day."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in families]


def _place(root: Path, config: dict[str, Any], row: dict[str, Any]) -> Place:
    """A folder that stock transformers wrote, with values of order 1 in all biases and gains."""
    there = Place(root)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "inv_freq" not in name:
                tensor.copy_(torch.randn(tensor.shape) * (tensor.shape[-1] ** -0.5 if tensor.dim() > 1 else 1))
    model.save_pretrained(there.source)
    write_spec(there, config, row)
    return there


def _loaded(folder: Path) -> PreTrainedModel:
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager"
    )
    return model.double().eval()


def _logits(model: PreTrainedModel) -> Tensor:
    ids = torch.randint(256, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        result: Any = model(input_ids=ids, use_cache=False)
    return result.logits


def _planned(config: dict[str, Any], row: dict[str, Any]) -> Rewrite:
    settings = {key: value for key, value in row.items() if key != "op"}
    grows = operator(row["op"]).model_validate(settings)
    source = inspect(config, LENGTH)
    assert not refusals(grows, source)
    return rewrite(grows, source, seed="0", sequence_length=LENGTH)


@pytest.mark.nightly(2)
@pytest.mark.parametrize("family", _slow_but(DENSE, "olmo3"))
def test_experts_in_the_place_of_dense_networks_compute_the_same_past_every_window(family: str, tmp_path: Path) -> None:
    there = _place(tmp_path, DENSE[family], SPARSE)
    there.grow()
    before, after = _logits(_loaded(there.source)), _logits(_loaded(there.grown))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5 * float(before.std()))  # routers round to float32


@pytest.mark.parametrize("family", _slow_but(MIXTURES, "laguna", "afmoe"))
def test_exclusive_copies_compute_the_same_whatever_the_selection_bias(family: str, tmp_path: Path) -> None:
    there = _place(tmp_path, MIXTURES[family], EXACT)
    there.grow()
    before, after = _logits(_loaded(there.source)), _logits(_loaded(there.grown))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5 * float(before.std()))


@pytest.mark.parametrize("row", [FREE, PRUNED], ids=["free", "pruned"])
@pytest.mark.parametrize("family", _slow_but(MIXTURES, "afmoe"))
def test_every_row_of_an_expert_is_that_of_the_expert(family: str, row: dict[str, Any], tmp_path: Path) -> None:
    """All tensors with other sizes than before hold the rows of the chosen experts, wherever the family keeps them."""
    there = _place(tmp_path, MIXTURES[family], row)
    there.grow()
    before, after = (_loaded(folder).state_dict() for folder in (there.source, there.grown))
    order = KEPT if row is PRUNED else [expert for expert in range(8) for _ in range(2)]
    changed = {name for name, tensor in before.items() if after[name].shape != tensor.shape}
    assert len(changed) >= 3
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor[order] if name in changed else tensor), name


@pytest.mark.parametrize("family", _slow_but([*DENSE, *MIXTURES], "olmo3", "afmoe"))
def test_the_twin_has_every_kind_of_layer_and_bears_the_claim_out(family: str) -> None:
    windowed = family in ("olmo3", "gemma3_text")
    config = {**DENSE, **MIXTURES}[family] | ({"sliding_window": 4096} if windowed else {})
    planned = _planned(config, SPARSE if family in DENSE else EXACT)
    twin = twin_of([planned], seed=0)
    small = twin.steps[0].rewrite.source
    assert set(small.blocks.letters) == set(planned.source.blocks.letters)
    assert not windowed or small.config["sliding_window"] == NEAR
    proof = prove(twin, planned.preserves)
    assert (proof.claim, proof.holds) == (Preserves.EXACTLY, True), proof


@pytest.mark.parametrize(
    ("family", "lost"), [("afmoe", {"sliding_window": 64}), ("llama4_text", {"no_rope_layers": [1, 1, 1, 1]})]
)
def test_a_lost_window_or_a_lost_kind_of_layer_is_seen_by_the_twin(family: str, lost: dict[str, Any]) -> None:
    config = {**MIXTURES, "llama4_text": {**FAMILIES["llama4_text"], "num_hidden_layers": 4}}[family]
    planned = _planned(config, EXACT)
    twin = twin_of([planned], seed=0)
    wrong = inspect({**twin.steps[0].rewrite.grown.config, **lost}, LENGTH)
    grown = build(wrong.config)
    load(grown, wrong, {name: twin.grown.state_dict()[name] for name in wrong.tensors})
    assert not prove(replace(twin, grown=grown), Preserves.EXACTLY).holds


@pytest.mark.parametrize("family", _slow_but(MIXTURES, "gemma4_text"))
def test_what_free_copies_compute_is_foretold(family: str) -> None:
    planned = _planned(MIXTURES[family], FREE)
    proof = prove(twin_of([planned], seed=0), planned.preserves)
    assert proof.law_gap is not None
    assert proof.holds, proof


@pytest.mark.parametrize("family", _slow_but(["laguna", "afmoe", "hy_v3", "minimax_m2"], "laguna"))
def test_a_selection_bias_that_is_overlooked_is_seen_by_the_twin(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = _planned(MIXTURES[family], EXACT)
    twin = twin_of([planned], seed=0)
    monkeypatch.setattr("growc.nn.exclusive.selection_biases", lambda *_: ())
    assert not prove(twin, planned.preserves).holds


@pytest.mark.parametrize("family", ["olmo3", "laguna", "afmoe"])
@pytest.mark.slow
def test_the_same_model_is_drawn_in_every_call(family: str) -> None:
    planned = _planned({**DENSE, **MIXTURES}[family], SPARSE if family in DENSE else EXACT)
    first, again = (prove(twin_of([planned], seed=0), planned.preserves) for _ in range(2))
    assert first == again


def test_what_grows_with_the_experts_in_another_way_is_refused(tmp_path: Path) -> None:
    """ERNIE keeps the selection bias of its router in a tensor with the experts along dimension 1."""
    there = _place(tmp_path, ERNIE, EXACT)
    with pytest.raises(GrowcError) as caught:
        there.grow()
    (found,) = caught.value.diagnostics
    assert found.code == "GROW343"
    assert "moe_statics.e_score_correction_bias" in found.message
    assert not there.grown.exists()


def test_the_mixture_of_a_router_with_a_child_is_found() -> None:
    graph = inspect(ERNIE, LENGTH)
    assert [(site.num_experts, site.top_k) for site in graph.moe] == [(8, 2)] * len(graph.moe)
    assert len(graph.moe) == 3
    assert graph.unseen_experts is None
    assert (graph.active_params or 0) < graph.cost.total_params
