"""Muon over shards: what torch's own does to whole matrices, on any number of ranks, through restarts and growth."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.engine.distribute import alone, build_model, full, local
from growc.engine.layout import Layout
from growc.engine.muon import hidden_matrices
from growc.engine.optimizer import build_optimizer, get_state, set_rate, set_state
from growc.model import inspect
from growc.model.build import load_config
from growc.run.state import load_state, save_state
from growc.spec.schema import AdamW, Muon
from tests.engine.sharded import STEPS, Shapes, drawn, moved, moved_on_ranks, parameters, step
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

SHAPES: Shapes = {"tall": (17, 6), "wide": (5, 12), "stack": (5, 8, 6), "embedding": (11, 6), "norm": (6,)}
HIDDEN = frozenset({"tall", "wide", "stack"})
SETTINGS: list[dict[str, Any]] = [{}, {"nesterov": False, "adjust_lr": "original", "ns_steps": 3, "momentum": 0.8}]


def build(named: Mapping[str, nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
    return build_optimizer(Muon.model_validate({"name": "muon", "lr": 0.02} | settings), named, HIDDEN)


def by_torch(settings: dict[str, Any]) -> dict[str, Tensor]:
    """What torch's optimizers make of whole parameters: each matrix of a stack is one of its own."""
    spec = Muon.model_validate({"name": "muon", "lr": 0.02} | settings)
    parts = {f"{n}/{i}": m for n in sorted(HIDDEN) for i, m in enumerate(_matrices(drawn(SHAPES, 0)[n]))}
    matrices = {name: nn.Parameter(m.clone()) for name, m in parts.items()}
    others = {name: nn.Parameter(t) for name, t in drawn(SHAPES, 0).items() if name not in HIDDEN}
    muon = torch.optim.Muon(
        matrices.values(), lr=spec.lr, weight_decay=spec.weight_decay, momentum=spec.momentum, nesterov=spec.nesterov,
        ns_steps=spec.ns_steps, adjust_lr_fn=spec.adjust_lr,
    )  # fmt: skip
    adam = build_optimizer(AdamW(name="adamw", lr=spec.lr, weight_decay=spec.weight_decay), others)
    for seed in range(STEPS):
        gradients = drawn(SHAPES, 1 + seed)
        for name, parameter in others.items():
            parameter.grad = gradients[name]
        for name, parameter in matrices.items():
            of, _, index = name.partition("/")
            parameter.grad = _matrices(gradients[of])[int(index)].clone()
        muon.step()
        adam.step()
    found = {n: torch.stack([matrices[p] for p in matrices if p.startswith(f"{n}/")]) for n in HIDDEN}
    return {n: t.detach().view(SHAPES[n]) for n, t in {**found, **others}.items()}


def _matrices(tensor: Tensor) -> Tensor:
    return tensor if tensor.dim() == 3 else tensor[None]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_one_rank_moves_matrices_as_torch_does(settings: dict[str, Any]) -> None:
    with alone():
        found = moved(SHAPES, partial(build, **settings))
    for name, expected in by_torch(settings).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.process
def test_more_ranks_than_rows_divide_by_move_them_alike(tmp_path: Path) -> None:
    """Five experts and 17 rows on two ranks: their shards differ in size."""
    found = moved_on_ranks(2, tmp_path, SHAPES, build)
    for name, expected in by_torch({}).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-6, atol=1e-6)


def test_updates_are_as_large_as_those_of_adamw() -> None:
    """0.2 in units of the rate, whatever the shape; the original's depend on it."""
    for shape in ((64, 64), (16, 128), (4, 96, 32)):
        named = {"stack": nn.Parameter(torch.zeros(shape)), "embedding": nn.Parameter(torch.zeros(2, 2))}
        optimizer = build(named, lr=1.0)
        named["stack"].grad = drawn({"stack": shape}, 0)["stack"]
        optimizer.step()
        assert 0.12 < float(named["stack"].detach().square().mean().sqrt()) < 0.28, shape


def test_state_goes_on_and_takes_the_rate_of_the_schedule() -> None:
    with alone():
        whole, halves = parameters(SHAPES), parameters(SHAPES)
        step(build(whole), whole, range(6))
        first = build(halves)
        step(first, halves, range(3))
        state = get_state(first, halves)
        assert {name: set(entry) for name, entry in state.items()} == {
            name: {"momentum_buffer"} if name in HIDDEN else {"step", "exp_avg", "exp_avg_sq"} for name in SHAPES
        }
        assert all(state[name]["momentum_buffer"].shape == halves[name].shape for name in HIDDEN)
        second = build(halves)
        set_state(second, halves, state)
        step(second, halves, range(3, 6))
        assert all(torch.equal(local(whole[name]), local(halves[name])) for name in SHAPES)
        set_rate(second, 0.0)
        before = {name: full(p).detach().clone() for name, p in halves.items()}
        step(second, halves, range(6, 7))
        assert all(torch.equal(full(halves[name]).detach(), before[name]) for name in SHAPES)


def test_a_saved_state_goes_on_bit_for_bit(tmp_path: Path) -> None:
    with alone():
        model, optimizer, named = _model()
        step(optimizer, named, range(2))
        save_state(tmp_path / "state", model, get_state(optimizer, named), key="k", node="n", step=2, tokens=0)
        step(optimizer, named, range(2, 4))
        again, resumed, loaded = _model()
        _, state = load_state(tmp_path / "state", again)
        set_state(resumed, loaded, state)
        step(resumed, loaded, range(2, 4))
        assert all(torch.equal(local(named[name]), local(loaded[name])) for name in named)


def _model() -> tuple[PreTrainedModel, torch.optim.Optimizer, dict[str, nn.Parameter]]:
    config = FAMILIES["glm4_moe"]
    model = build_model(config, Layout(1, 1), torch.device("cpu"), 0)
    named: dict[str, nn.Parameter] = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in drawn({name: tuple(p.shape) for name, p in named.items()}, 0).items():
            local(named[name]).copy_(tensor)
    hidden = hidden_matrices(model, inspect(config, 32).moe)
    return model, build_optimizer(Muon(name="muon"), named, hidden), named


def test_state_of_another_optimizer_starts_fresh() -> None:
    named = {name: nn.Parameter(t) for name, t in drawn(SHAPES, 0).items()}
    adam = build_optimizer(AdamW(name="adamw"), named)
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    muon = build(named)
    set_state(muon, named, get_state(adam, named))
    assert get_state(muon, named).keys() == SHAPES.keys() - HIDDEN


@pytest.mark.parametrize("family", ["glm4_moe", "gpt_oss", "gpt2"])
def test_hidden_matrices_are_those_of_layers_and_experts(family: str) -> None:
    graph = inspect(FAMILIES[family], 32)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_config(FAMILIES[family]))
    found = hidden_matrices(model, graph.moe)
    named = dict(model.named_parameters())
    rest = named.keys() - found
    outside = ("embed", "wte", "wpe", "lm_head", "norm", "bias")
    assert not any(part in name for name in found for part in outside)
    left = {name.rsplit(".", 1)[0].rsplit(".", 1)[-1] for name in rest if named[name].dim() > 1}
    assert left <= {"embed_tokens", "lm_head", "wte", "wpe", "experts"}
    for site in graph.moe:
        assert {n for n in site.expert_tensors if named[n].dim() == 3} <= found
        assert {n for n in site.router_rows if named[n].dim() == 2} <= found


TRAINING: dict[str, Any] = {
    "batch_tokens": 256,
    "optimizer": {"name": "muon", "lr": 3e-3},
    "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.25},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run across a growth, on one rank and on two."""
    folder = tmp_path_factory.mktemp("muon")
    stages = [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
        {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **EXACT}]},
        {"name": "cpt", "train": {"steps": 4, "data": "cpt"}},
    ]
    spec = tiny.spec(folder, training=TRAINING, stages=stages)
    for ranks in (1, 2):
        tiny.run(spec, folder / str(ranks), ranks)
    return [folder / "1", folder / "2"]


@pytest.mark.slow
def test_runs_do_not_depend_on_the_ranks(runs: list[Path]) -> None:
    """Up to the iteration's type: sums of gradients that differ by 1e-7 may differ by 2^-8 in bfloat16."""
    one, two = runs
    for stage in ("pretrain", "cpt"):
        assert tiny.rows(two, stage) == pytest.approx(tiny.rows(one, stage), rel=1e-3)
        assert len(tiny.rows(one, stage)) == 4


@pytest.mark.slow
def test_means_of_gradients_grow_and_go_on(runs: list[Path]) -> None:
    """Each of two copies of an expert gets half of its tokens, so half of its mean."""
    parent, grown = (
        tiny.tensors(runs[0] / "stages" / path) for path in ("pretrain/stable", "upcycle/checkpoint/training")
    )
    stack = next(name for name in grown if name.endswith("gate_up_proj.momentum_buffer"))
    torch.testing.assert_close(grown[stack], (parent[stack] / 2).repeat_interleave(2, 0))
    assert grown[stack].any()
    assert "optimizer.model.embed_tokens.weight.exp_avg_sq" in grown
    assert "optimizer.model.embed_tokens.weight.momentum_buffer" not in grown
