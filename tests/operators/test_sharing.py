"""What operators compute after which experts share weights: adjugates of groups, or a base that deltas are on."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from growc.anatomy.model_graph import ModelGraph
from growc.checks import run_checks
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, grow_twin, tokens
from growc.diagnostics import ExitCode, GrowcError
from growc.engine.layout import layout
from growc.growth.rewrite import Rewrite
from growc.model import inspect
from growc.model.drawn import build, logits
from growc.nn.adjugates import Adjugates
from growc.nn.deltas import Deltas, WithDeltas
from growc.operators import Operator, operator
from growc.operators.claims import Preserves
from growc.operators.example import examples
from growc.spec.schema import Parallel
from tests.checkpoint.folders import Place, source_model
from tests.families import FAMILIES
from tests.run import tiny
from tests.small import context

pytestmark = pytest.mark.share(3)

SPECS = Path(__file__).parents[2] / "specs"


def settled(op: str, case: str) -> Operator:
    return operator(op).model_validate(examples(op)[case].settings)


@cache
def source(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


@cache
def twin(op: str, family: str, case: str) -> Twin:
    assert not list(settled(op, case).problems(source(family)))
    return grow_twin(source(family), [settled(op, case)], 0)


def step_of(op: str, family: str, case: str) -> Rewrite:
    return twin(op, family, case).steps[0].rewrite


def moved(op: str, family: str, case: str) -> Any:
    """The grown twin with nothing left at zero."""
    model = grow_twin(source(family), [settled(op, case)], 0).grown
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


# --- Grove --------------------------------------------------------------------------------------------------------


def by_definition(module: Adjugates, hidden: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
    """The sum over the groups that a token hits, one after the other."""
    total, into, back = torch.zeros_like(hidden), *module.parameters()
    for t, experts in enumerate(chosen.tolist()):
        for j in {i // module.size for i in experts}:
            weight = sum(gates[t, k] for k, i in enumerate(experts) if i // module.size == j)
            gate, up = (into[j] @ hidden[t]).chunk(2)
            total[t] += module.scale * weight * (back[j] @ (F.silu(gate) * up))
    return total


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_adjugates_compute_the_papers_sum(dtype: torch.dtype) -> None:
    """In single precision by the kernel that leaves repeated groups out, in double by the one that masks them."""
    model = moved("grove", "qwen3_moe", "wide")
    seen = _calls(model, dtype)
    assert len(seen) == 2
    for module, (hidden, chosen, gates), result in seen:
        assert any(len({i // module.size for i in row}) < len(row) for row in chosen.tolist()), "no group is hit twice"
        torch.testing.assert_close(result, by_definition(module, hidden, chosen, gates))


def _calls(model: nn.Module, dtype: torch.dtype) -> list[tuple[Adjugates, tuple[Tensor, ...], Tensor]]:
    seen: list[tuple[Adjugates, tuple[Tensor, ...], Tensor]] = []
    model.to(dtype)
    for module in model.modules():
        if isinstance(module, Adjugates):
            module.register_forward_hook(lambda *call: seen.append(call))  # pyright: ignore[reportArgumentType]
    ids = tokens(model, seed=2)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        logits(model, ids)  # pyright: ignore[reportArgumentType]
    return seen


def test_a_group_is_computed_once() -> None:
    """However many of its experts a token has: as many rows pass an adjugate's units as there are groups hit."""
    model, passed = moved("grove", "qwen3_moe", "wide"), list[int]()
    for module in model.modules():
        if isinstance(module, Adjugates):
            own = copy.deepcopy(module.act_fn)  # the stock experts have the same one
            own.register_forward_hook(lambda *call: passed.append(int(call[1][0].any(dim=-1).sum())))
            module.act_fn = own
    calls = _calls(model, torch.float32)
    hit = [sum(len({i // module.size for i in row}) for row in chosen.tolist()) for module, (_, chosen, _), _ in calls]
    assert passed == hit  # what is left out are zeros
    assert all(h < chosen.numel() for h, (_, (_, chosen, _), _) in zip(hit, calls, strict=True))


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "deepseek_v3", "glm4_moe"])
def test_plans_count_adjugates_as_if_every_expert_hit_a_group_of_its_own(family: str) -> None:
    for case, groups in (("plain", 4), ("wide", 2)):
        step = step_of("grove", family, case)
        asked = examples("grove")[case].settings
        layers, one = len(step.sites), 3 * 32 * asked["width"]
        before, after = step.source.cost, step.grown.cost
        assert after.total_params - before.total_params == layers * groups * one
        assert after.active_params - before.active_params == layers * 2 * one
        assert after.parts["experts"] - before.parts["experts"] == layers * 2 * 2 * one
        assert after.flops_per_token - before.flops_per_token == layers * 2 * 2 * one
        sites = {site.layer: site for site in step.grown.moe}
        assert all(sites[s.layer].experts == s.experts and sites[s.layer].router == s.router for s in step.mixtures)
        assert step.grown.expert_field == step.source.expert_field
        assert step.grown.top_k_field == step.source.top_k_field


def test_the_papers_model_has_the_papers_parameters() -> None:
    """30 to 33 billion; as many active ones between 8 and 4 adjugates as between the paper's 3.14 and 3.28 billion."""
    given = context(SPECS / "grove_33b.growth.yaml").graph
    before, after = given.source.cost, given.target.cost
    assert before.total_params / 1e9 == pytest.approx(30.53, abs=0.01)
    assert after.total_params / 1e9 == pytest.approx(33, abs=0.1)
    assert (after.active_params - before.active_params) / 2e9 == pytest.approx(3.28 - 3.14, abs=0.015)


# --- DeRS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("case", ["plain", "low_rank"])
def test_experts_are_the_base_plus_their_deltas(family: str, case: str) -> None:
    model = moved("ders", family, case)
    ffns: list[Any] = [module for module in model.modules() if isinstance(module, WithDeltas)]
    assert len(ffns) == 2
    for ffn in ffns:
        for name in ffn.maps:
            base, deltas = ffn.get_submodule(name).weight, ffn.deltas
            stack = deltas.composed(name, base)
            assert stack.shape == (4, *base.shape)
            own = (stack - base).detach()
            if case == "low_rank":
                assert all(torch.linalg.matrix_rank(delta) == 2 for delta in own)
                continue
            free = base.numel() // 10
            assert ((own != 0).flatten(1).sum(dim=1) == free).all()
            places = own.flatten(1).nonzero()[:, 1].view(4, free)
            assert (places // 10 == torch.arange(free)).all(), "one in each row of ten"
            assert len({tuple(row) for row in places.tolist()}) == 4, "every expert has places of its own"
            torch.testing.assert_close(own.flatten(1).gather(1, places), getattr(deltas, f"{name}_values").detach())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_mixture_is_the_papers_sum_of_experts(family: str) -> None:
    """Each token by each of its experts, whose matrices are written out."""
    model = moved("ders", family, "plain")
    ffn: Any = next(module for module in model.modules() if isinstance(module, WithDeltas))
    hidden = torch.randn(12, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        _, gates, chosen = ffn.gate(hidden)
        path = next(name for name, module in model.named_modules() if module is ffn)
        dense: Any = build(source(family).config).get_submodule(path)
        expected = torch.zeros_like(hidden)
        for expert in range(4):
            for name in ffn.maps:
                own = ffn.get_submodule(name)
                dense.get_submodule(name).weight.copy_(ffn.deltas.composed(name, own.weight)[expert])
                if ffn.deltas.biased:
                    dense.get_submodule(name).bias.copy_(own.bias)
            weight = torch.where(chosen == expert, gates, 0).sum(dim=1, keepdim=True)
            expected += weight * dense(hidden)
        torch.testing.assert_close(ffn(hidden[None])[0], expected)


@pytest.mark.parametrize(
    ("case", "per_matrix"), [("plain", 32 * 48 + 4 * (32 * 48 // 10)), ("low_rank", 32 * 48 + 4 * 2 * (32 + 48))]
)
def test_trained_numbers_are_those_of_the_papers_formula(case: str, per_matrix: int) -> None:
    """(1 + N (1 - p)) d h, or d h + N r (d + h), for each of three matrices in each of two layers."""
    step = step_of("ders", "llama", case)
    trained = {name for name, tensor in step.grown.tensors.items() if tensor.kind == "parameter" and ".mlp." in name}
    counted = sum(step.grown.tensors[name].size for name in trained if not name.endswith("gate.weight"))
    assert counted == 2 * 3 * per_matrix
    assert step.grown.cost.parts["experts"] == 2 * step.source.cost.parts["dense_ffn"]  # top-2, as large as it
    assert step.grown.cost.parts["dense_ffn"] == 0


def test_the_spec_has_no_findings() -> None:
    assert run_checks(context(SPECS / "dense_to_moe" / "ders.growth.yaml")).diagnostics == ()


# --- What cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "family", "given", "code"),
    [
        ("grove", "llama", {}, "GROW301"),
        ("grove", "deepseek_v3", {"layers": [0]}, "GROW302"),
        ("grove", "mixtral", {"group_size": 3}, "GROW360"),
        ("grove", "mixtral", {"group_size": 4, "scale": 0.3}, "GROW361"),
        ("grove", "llama4_text", {}, "GROW362"),
        ("ders", "mixtral", {}, "GROW350"),
        ("ders", "llama", {"optimizer_state": "gradient"}, "GROW364"),
    ],
)
def test_what_cannot_be_is_said(op: str, family: str, given: dict[str, Any], code: str) -> None:
    problems = list(operator(op).model_validate(given).problems(source(family)))
    assert [problem.code for problem in problems] == [code]


@pytest.mark.parametrize(("op", "family"), [("grove", "mixtral"), ("ders", "llama")])
@pytest.mark.parametrize("then", ["expert_upcycling", "expert_pruning", "expert_slimming", "merge_duplicates", "grove"])
def test_what_shares_weights_is_neither_copied_nor_merged(op: str, family: str, then: str) -> None:
    grown = step_of(op, family, "plain").grown
    given = {"share": 0.5} if then == "expert_slimming" else {}
    assert [problem.code for problem in operator(then).model_validate(given).problems(grown)] == ["GROW363"]


@pytest.mark.parametrize(("op", "family"), [("grove", "mixtral"), ("ders", "llama")])
def test_expert_parallelism_is_refused(op: str, family: str) -> None:
    with pytest.raises(GrowcError) as refused:
        layout(Parallel(ep=2), 2, [step_of(op, family, "plain").grown])
    assert [diagnostic.code for diagnostic in refused.value.diagnostics] == ["GROW624"]


def test_exclusive_routers_and_adjugates_go_together() -> None:
    first = operator("expert_upcycling").model_validate({"routing": "exclusive", "router": {"init": "copy"}})
    grown = grow_twin(source("mixtral"), [first, settled("grove", "plain")], 0)
    assert prove(grown, Preserves.EXACTLY).holds
    (site, _) = grown.steps[-1].rewrite.grown.moe
    assert site.siblings == (2,) * 8
    assert len(site.adjugates) == 2


# --- Runs and checkpoints -----------------------------------------------------------------------------------------


RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "grove": ("glm4_moe", {"width": 8}),
    "ders": ("qwen3", {"experts": 4, "optimizer_state": "reset_new"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("op", RUNS)
def test_two_ranks_train_as_one(op: str, tmp_path: Path) -> None:
    family, given = RUNS[op]
    stages = [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
        {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": op, **given}]},
        {"name": "cpt", "train": {"steps": 20, "data": "cpt"}},
    ]
    balance = {"method": "loss_free", "rate": 1e-3} if op == "grove" else {"method": "none"}
    training = {
        "batch_tokens": 256,
        "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9},
        "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
        "balance": balance,
    }
    spec = tiny.spec(tmp_path, family, stages=stages, training=training)
    tiny.run(spec, tmp_path / "one")
    tiny.run(spec, tmp_path / "two", 2)
    expected, seen = tiny.rows(tmp_path / "one", "cpt"), tiny.rows(tmp_path / "two", "cpt")
    assert len(expected) == 20
    assert seen == pytest.approx(expected, rel=1e-5)
    done = tiny.summary(tmp_path / "one")["stages"]["upcycle"]
    assert done["val_loss_after"] == pytest.approx(done["val_loss_before"], abs=1e-6)
    for run in ("one", "two"):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / run / "stages/cpt/checkpoint")
        assert "modules" in model.config.growc["layers"]["1"]
    assert "GROW624" in tiny.run(spec, tmp_path / "ep", 2, "parallel.ep=2", code=ExitCode.CANNOT_RUN)


@pytest.mark.parametrize(("op", "family"), [("grove", "mixtral"), ("grove", "glm4_moe"), ("ders", "qwen3")])
def test_a_checkpoint_grows_from_its_files(op: str, family: str, tmp_path: Path) -> None:
    there = Place(tmp_path)
    model = source_model(family, torch.bfloat16)
    model.save_pretrained(there.source)
    stages = [{"name": "upcycle", "grow": [{"op": op, **examples(op)["plain"].settings}]}]
    there.spec.write_text(
        json.dumps({"growth": 1, "name": "test", "model": {"config": FAMILIES[family]}, "stages": stages})
    )
    there.grow()
    grown = AutoModelForCausalLM.from_pretrained(there.grown).eval()
    assert {tensor.dtype for tensor in grown.parameters()} == {torch.bfloat16}
    for module in grown.modules():
        if isinstance(module, Adjugates):
            into, back = module.parameters()
            assert not back.any()
            assert float(into.detach().float().std()) == pytest.approx(0.02, rel=0.1)
        if isinstance(module, Deltas):
            offsets = torch.cat([buffer.flatten() for buffer in module.buffers()])
            assert offsets.dtype == torch.uint8
            assert set(offsets.tolist()) == set(range(10))
    ids = torch.randint(256, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = logits(model, ids).float(), logits(grown, ids).float()
    assert float((before - after).abs().max()) <= 0.05 * float(before.std())
