"""BAM: attentions as experts by their definition, what they cost, and how they generate with caches."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, StaticCache

import growc.nn.attention_experts as nn_room
from growc.anatomy.model_graph import ModelGraph
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, grow_drawn, grow_twin, tokens
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.model.drawn import draw, logits
from growc.model.float64_mode import Double
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import operator
from growc.operators.bam import Bam
from growc.operators.claims import Preserves
from growc.programs import of_parent
from tests.checkpoint.folders import Place, write_spec
from tests.families import FAMILIES

pytestmark = pytest.mark.share(6)

BRANCHES = 3
SOURCES: dict[str, dict[str, Any]] = {
    **{family: FAMILIES[family] for family in ("llama", "qwen3", "olmo2")},
    "mistral": dict(FAMILIES["llama"], model_type="mistral", sliding_window=8),
    "cohere": dict(FAMILIES["llama"], model_type="cohere", use_qk_norm=True),  # attention and network side by side
}
KV = ("own", "shared")

SEARCHED = ("mistral", "cohere")
"""Families for whose experts all stock classes are tried, which takes its time."""

every = pytest.mark.parametrize(
    ("family", "kv"),
    [
        pytest.param(family, kv, marks=[pytest.mark.slow] if family in SEARCHED else [])
        for family in SOURCES
        for kv in KV
    ],
)
both = pytest.mark.parametrize("kv", KV)


def bam(**given: Any) -> Bam:
    return Bam.model_validate(given)


@cache
def source(family: str) -> ModelGraph:
    return inspect(SOURCES[family], LENGTH)


@cache
def twin(family: str, kv: str, layers: str = "all") -> Twin:
    return grow_twin(source(family), [bam(kv=kv, layers=layers)], 0, BRANCHES)


def planned(family: str, **given: Any) -> Rewrite:
    return rewrite(bam(**given), source(family), seed="0", sequence_length=LENGTH, parents=BRANCHES)


@every
@pytest.mark.nightly(2)
def test_attention_is_the_sum_of_the_branches_attentions_by_their_gates(family: str, kv: str) -> None:
    """Each branch's own module, run on what enters the grown one; with shared keys, on the mean of their maps."""
    grown = twin(family, kv)
    attention: Any = grown.grown.model.layers[1].self_attn
    calls: list[Any] = []
    hook = attention.register_forward_hook(lambda *call: calls.append(call), with_kwargs=True)
    with torch.no_grad(), Double():
        logits(grown.grown, tokens(grown.source, seed=1))
        hook.remove()
        ((_, _, given, (seen, weights)),) = calls
        hidden = given["hidden_states"]
        gates = (hidden @ attention.router.weight.T).softmax(dim=-1)
        branches = [model.model.layers[1].self_attn for model in (grown.source, *grown.others)]
        states = [{name: value.clone() for name, value in branch.state_dict().items()} for branch in branches]
        shared = [name for name in states[0] if name[0] in "kv" and kv == "shared"]
        assert bool(shared) == (kv == "shared")
        mean = {name: sum(state[name] for state in states) / BRANCHES for name in shared}
        expected = torch.zeros_like(seen)
        for number, (branch, state) in enumerate(zip(branches, states, strict=True)):
            branch.load_state_dict(state | mean)
            expected += gates[..., [number]] * branch(**given)[0]
            branch.load_state_dict(state)
    assert weights is None
    assert float(gates.std(dim=-1).mean() / gates.mean()) > 0.05, "gates tell experts apart"
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12 * float(expected.abs().max()) + 1e-12)


@every
@pytest.mark.nightly(2)
def test_branches_that_are_the_same_are_computed_exactly(family: str, kv: str) -> None:
    alike = (draw(source(family).config, 0),) * BRANCHES
    grown = grow_drawn(alike, source(family), [bam(kv=kv, gates="renormalised")], 0)
    proof = prove(grown, Preserves.EXACTLY)
    assert proof.logit_gap < 1e-12, proof
    assert planned(family, kv=kv).preserves is Preserves.NOT


@every
def test_the_plan_counts_all_attentions_and_both_routers(family: str, kv: str) -> None:
    step = planned(family, kv=kv)
    before, after, config = step.source.cost, step.grown.cost, SOURCES[family]
    width, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    inner, keys = heads * config["head_dim"], config["num_key_value_heads"] * config["head_dim"]
    times = {"own": BRANCHES, "shared": 1}[kv]
    projections = 2 * width * layers * (2 * BRANCHES * inner + 2 * times * keys)
    assert after.parts["attention_projections"] == projections
    assert after.parts["attention"] == BRANCHES * before.parts["attention"]
    assert after.parts["router"] == 2 * (2 * BRANCHES * width * layers)
    assert after.parts["experts"] == before.parts["dense_ffn"]
    assert after.parts["other"] == before.parts["other"] == 0
    added = sum(t.size for n, t in step.grown.tensors.items() if n not in step.source.tensors)
    dropped = sum(t.size for n, t in step.source.tensors.items() if n not in step.grown.tensors)
    assert after.total_params == before.total_params + added - dropped
    assert not step.grown.unreached
    assert after.at(4096).parts["attention"] == BRANCHES * before.at(4096).parts["attention"]


@both
def test_just_the_layers_that_are_asked_for_have_attention_experts(kv: str) -> None:
    step = planned("qwen3", kv=kv, layers=[1])
    assert [site.layer for site in step.grown.attention] == [0, *[1] * BRANCHES]
    assert [site.router is not None for site in step.grown.attention] == [False, *[True] * BRANCHES]
    assert [site.layer for site in step.grown.moe] == [1]


def _stepwise(model: PreTrainedModel, ids: Tensor, past: Any) -> Tensor:
    """Logits of two chunks and then of single tokens, with a cache."""
    scores: list[Tensor] = []
    for chunk in (ids[:, :5], ids[:, 5:9], *ids[:, 9:].split(1, dim=1)):
        result: Any = model(chunk, past_key_values=past, use_cache=True)
        past = result.past_key_values
        scores.append(result.logits)
    return torch.cat(scores, dim=1)


@pytest.mark.nightly(2)
@pytest.mark.parametrize("layers", ["all", "alternate"])
@every
def test_with_a_cache_it_computes_the_same(family: str, kv: str, layers: str) -> None:
    grown = twin(family, kv, layers).grown
    ids = tokens(grown, seed=5, length=20)
    with torch.no_grad():
        expected = logits(grown, ids)
        for past in (None, DynamicCache(), DynamicCache(config=grown.config)):
            torch.testing.assert_close(_stepwise(grown, ids, past), expected, rtol=0, atol=1e-5)


@every
@pytest.mark.parametrize("beams", [1, 3])
def test_it_generates_the_same_with_and_without_a_cache(family: str, kv: str, beams: int) -> None:
    """Greedy, and by beams, which reorder the caches of all experts; with padding on the left."""
    grown: Any = twin(family, kv).grown
    ids = tokens(grown, seed=6, sequences=2, length=6)
    mask = torch.ones_like(ids)
    if family != "mistral":  # of which the stock class too computes NaN for what is padded and out of its window
        mask[0, :2] = 0
    how: dict[str, Any] = {"max_new_tokens": 12, "min_new_tokens": 12, "num_beams": beams, "do_sample": False}
    how |= {"attention_mask": mask, "pad_token_id": 0}
    cached, plain = (grown.generate(ids, use_cache=cached, **how) for cached in (True, False))
    assert cached.shape == (2, 18)
    assert torch.equal(cached, plain)
    assert not torch.equal(cached[0], cached[1])


@pytest.mark.parametrize("layers", ["all", "alternate"])
@both
def test_the_cache_grows_by_what_experts_have_of_their_own(kv: str, layers: str) -> None:
    """Layers whose attention is one hold nothing in the places of further experts."""
    grown = twin("qwen3", kv, layers).grown
    ids = tokens(grown, seed=1)
    past: Any = grown(ids, use_cache=True).past_key_values
    more = BRANCHES - 1 if kv == "own" else 0
    assert [layer.get_seq_length() for layer in past.layers] == [
        LENGTH,
        LENGTH,
        *[LENGTH if layers == "all" else 0, LENGTH] * more,
    ]
    assert all(layer.keys is None or layer.keys.shape == (len(ids), 2, LENGTH, 8) for layer in past.layers)


def test_keys_of_their_own_in_a_cache_of_another_kind_are_refused() -> None:
    grown = twin("qwen3", "own").grown
    past = StaticCache(config=grown.config, max_cache_len=LENGTH)
    with torch.no_grad(), pytest.raises(ValueError, match="this one has a StaticLayer"):
        grown(tokens(grown, seed=1), past_key_values=past, use_cache=True)


def test_an_attention_with_a_cache_of_another_name_is_refused() -> None:
    class Old(torch.nn.Module):
        def forward(self, hidden_states: Tensor, layer_past: Any) -> Tensor:
            raise AssertionError(hidden_states, layer_past)

    with pytest.raises(ValueError, match="Old takes its cache in a way of its own"):
        nn_room.of_attention(Old(), None, experts=2, shared=[])


@both
def test_its_checkpoint_grows_on_from_file_to_file(kv: str, tmp_path: Path) -> None:
    there, mixed = Place(tmp_path), copy.deepcopy(twin("llama", kv).grown).float()
    mixed.save_pretrained(there.source)
    write_spec(there, "llama", {"factor": 2})
    spec = json.loads(there.spec.read_text()) | {"model": {"path": str(there.source)}}
    there.spec.write_text(json.dumps(spec))
    assert not there.grow()
    again = AutoModelForCausalLM.from_pretrained(there.grown, dtype=torch.float32).eval()
    ids = tokens(mixed, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(logits(again, ids), logits(mixed, ids), rtol=0, atol=1e-5)


@both
def test_fresh_models_draw_their_routers(kv: str) -> None:
    model = AutoModelForCausalLM.from_config(twin("llama", kv).grown.config)
    for layer in model.model.layers:
        assert 0.5 < float(layer.self_attn.router.weight.detach().std()) / SOURCES["llama"]["initializer_range"] < 2


@pytest.mark.parametrize("state", ["reset", "reset_new", "gradient"])
@both
def test_moments_are_those_of_the_branch_or_their_mean(kv: str, state: str) -> None:
    step = planned("qwen3", kv=kv, optimizer_state=state)
    attentions = {name for name in step.grown.tensors if ".self_attn.experts." in name}
    routers = {name for name in step.grown.tensors if name.endswith(("self_attn.router.weight", "mlp.gate.weight"))}
    experts = {name for site in step.grown.moe for name in site.expert_tensors}
    assert len(attentions) == 2 * BRANCHES * {"own": 6, "shared": 3}[kv]
    assert len(routers) == 4
    kept = {name for name, moments in step.moments.items() if moments.keep_step}
    of_all = step.grown.tensors.keys() - attentions - routers - experts
    assert kept == {"reset": set[str](), "reset_new": of_all, "gradient": step.grown.tensors.keys() - routers}[state]
    if state == "gradient":
        drawn = {name: torch.rand(tensor.shape, dtype=torch.float64) for name, tensor in step.read.items()}
        moments = step.moments["model.layers.1.self_attn.experts.2.q_proj.weight"]
        branch = of_parent(2, "model.layers.1.self_attn.q_proj.weight")
        assert moments.origin("-") == branch
        for moment in (moments.first, moments.second):
            assert moment is not None
            assert torch.equal(evaluate(moment, torch.arange(32), InMemory(drawn), torch.float64), drawn[branch])


@pytest.mark.parametrize(
    ("config", "code"), [(FAMILIES["gpt2"], "GROW395"), (FAMILIES["qwen3_moe"], "GROW350"), (SOURCES["mistral"], None)]
)
@both
def test_what_has_no_such_attention_is_refused(config: dict[str, Any], code: str | None, kv: str) -> None:
    problems = bam(kv=kv).mixing(BRANCHES).problems(inspect(config, LENGTH))
    assert [problem.code for problem in problems] == ([code] if code else [])


@both
def test_what_only_seems_to_make_keys_is_refused(kv: str) -> None:
    graph = source("qwen3")
    norms = (replace(site, key=(f"{site.key[0].rpartition('.')[0]}.k_norm",)) for site in graph.attention)
    problems = bam(kv=kv).mixing(BRANCHES).problems(replace(graph, attention=tuple(norms)))
    assert [problem.code for problem in problems] == ["GROW395"]


def test_it_grows_on() -> None:
    """Its networks by copies; but no router is made of the heads of one attention of several."""
    step = planned("qwen3")
    more = operator("expert_upcycling").model_validate({"routing": "exclusive", "router": {"init": "copy"}})
    mixed = grow_twin(source("qwen3"), [bam()], 0, BRANCHES)
    grown = grow_drawn((mixed.grown,), step.grown, [more], 0)
    assert prove(grown, Preserves.EXACTLY).holds
    assert [site.num_experts for site in grown.steps[0].rewrite.grown.moe] == [2 * BRANCHES] * 2
    assert len(grown.steps[0].rewrite.grown.attention) == 2 * BRANCHES
    routers = operator("router_upcycling").model_validate({})
    assert [problem.code for problem in routers.problems(step.grown)] == ["GROW370"]
