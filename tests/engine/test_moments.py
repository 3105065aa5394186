"""Moments in bf16: half of the memory, updates as near as rounding allows, and nothing lost between steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.memory.tracked import Alive
from growc.engine.distribute import alone, build_model, local
from growc.engine.layout import Layout
from growc.engine.optimizer import TYPES, build_optimizer, get_state, set_state
from growc.engine.sharded import Sharded, grow_tensor
from growc.numerics.evaluate import InMemory, evaluate
from growc.programs import Mean, Source
from growc.run.state import load_state, save_state
from growc.spec.consistency import LARGEST_DECAY
from growc.spec.schema import AdamW, Muon, Optimizer
from growc.spec.training import FloatType
from tests.engine.sharded import Shapes, drawn, moved, moved_on_ranks, step
from tests.families import FAMILIES

SHAPES: Shapes = {"matrix": (7, 5), "stack": (5, 3, 6), "vector": (9,)}
ADAM = AdamW(name="adamw", lr=0.02, weight_decay=0.1)
MUON = Muon(name="muon", lr=0.02)
ROUNDING = 2.0**-8
"""The most that a number changes, relative to its size, when it is rounded to bf16."""


def build(
    named: Mapping[str, nn.Parameter], spec: Optimizer = ADAM, moments: FloatType = "bf16"
) -> torch.optim.Optimizer:
    return build_optimizer(spec, named, {"stack"} if isinstance(spec, Muon) else (), moments)


def plain(shapes: Shapes) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(tensor) for name, tensor in drawn(shapes, 0).items()}


def pushed(optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter], seed: int) -> None:
    for name, gradient in drawn({name: tuple(p.shape) for name, p in named.items()}, seed).items():
        named[name].grad = gradient
    optimizer.step()


@pytest.mark.parametrize("beta2", [0.9, 0.95, LARGEST_DECAY])
def test_moments_and_weights_stay_within_what_rounding_adds_up_to(beta2: float) -> None:
    """A rounding of each step fades as the moment does, so all of them are at most that of one / (1 - beta)."""
    spec, steps = AdamW(name="adamw", lr=0.01, beta2=beta2, weight_decay=0.0), 60
    exact, rounded = plain(SHAPES), plain(SHAPES)
    of_exact, of_rounded = build(exact, spec, "fp32"), build(rounded, spec)
    largest, moves = dict.fromkeys(SHAPES, 0.0), 0.0
    for seed in range(1, 1 + steps):
        before = {name: p.detach().clone() for name, p in exact.items()}
        pushed(of_exact, exact, seed)
        pushed(of_rounded, rounded, seed)
        for name, p in exact.items():
            largest[name] = max(largest[name], float(of_exact.state[p]["exp_avg"].abs().max()))
            moves = max(moves, float((p.detach() - before[name]).abs().max()))
    first, second = ROUNDING / (1 - spec.beta1), ROUNDING / (1 - beta2)
    for name in SHAPES:
        of, near = of_exact.state[exact[name]], of_rounded.state[rounded[name]]
        assert ((near["exp_avg"] - of["exp_avg"]).abs() <= first * largest[name]).all()
        assert ((near["exp_avg_sq"] - of["exp_avg_sq"]).abs() <= second * of["exp_avg_sq"] * (1 + second)).all()
        gap = (rounded[name] - exact[name]).detach().abs()
        assert 0 < gap.max() <= steps * moves * (first + second)


def test_the_mean_of_muon_stays_as_near() -> None:
    exact, rounded = plain(SHAPES), plain(SHAPES)
    of_exact, of_rounded = build(exact, MUON, "fp32"), build(rounded, MUON)
    largest = 0.0
    for seed in range(1, 41):
        pushed(of_exact, exact, seed)
        pushed(of_rounded, rounded, seed)
        largest = max(largest, float(of_exact.state[exact["stack"]]["momentum_buffer"].abs().max()))
    mean, near = (
        of_exact.state[exact["stack"]]["momentum_buffer"],
        of_rounded.state[rounded["stack"]]["momentum_buffer"],
    )
    assert near.dtype == torch.bfloat16
    assert 0 < (near - mean).abs().max() <= ROUNDING / (1 - MUON.momentum) * largest


def test_the_largest_decay_is_where_a_fifth_of_a_moment_may_be_lost() -> None:
    """Gradients that have become small: a moment falls to within its bound of them, and from 0.996 on not at all."""
    assert ROUNDING / (1 - LARGEST_DECAY) < 0.2 < ROUNDING / (1 - LARGEST_DECAY - 0.001)
    for beta2 in (0.95, LARGEST_DECAY, 0.997):
        named = {"vector": nn.Parameter(torch.zeros(64))}
        optimizer = build(named, AdamW(name="adamw", beta2=beta2))
        (slopes,) = drawn({"vector": (64,)}, 1).values()
        for size in [4.0] * 300 + [1.0] * 2000:
            named["vector"].grad = size * slopes
            optimizer.step()
        moment = optimizer.state[named["vector"]]["exp_avg_sq"].float()
        away = float((1 - slopes.square() / moment).abs().max())
        if beta2 <= LARGEST_DECAY:
            assert away <= ROUNDING / (1 - beta2)
        else:
            assert float((moment / slopes.square()).min()) > 3


@pytest.mark.parametrize(("moments", "size"), [("fp32", 4), ("bf16", 2)])
def test_the_state_takes_what_it_says(moments: FloatType, size: int) -> None:
    for spec, kept in ((ADAM, 2), (MUON, 1)):
        named = plain(SHAPES)
        optimizer = build(named, spec, moments)
        pushed(optimizer, named, 1)
        held = [tensor for key, tensor in get_state(optimizer, named)["stack"].items() if key != "step"]
        assert sum(tensor.nbytes for tensor in held) == kept * size * named["stack"].numel()


def test_one_tensor_at_a_time_is_wide() -> None:
    """Both moments of one, and the denominator that torch makes on a CPU, of any number of tensors."""
    named = plain({str(number): (64, 64) for number in range(20)})
    optimizer = build(named)
    pushed(optimizer, named, 1)
    held = [tensor for entry in get_state(optimizer, named).values() for tensor in entry.values()]
    held += [tensor for p in named.values() for tensor in (p, p.grad) if tensor is not None]
    with Alive(held) as alive:
        optimizer.step()
    assert 2 <= alive.most / named["0"].nbytes <= 5


@pytest.mark.parametrize("spec", [ADAM, MUON], ids=["adamw", "muon"])
def test_equal_rows_stay_equal(spec: Optimizer) -> None:
    """Copies of an expert must not drift apart by where they lie in a shard."""
    named = {name: nn.Parameter(drawn({"row": (1, 7, 9)}, 0)["row"].repeat(5, 1, 1)) for name in ("stack", "other")}
    optimizer = build(named, spec)
    for seed in range(100):
        for parameter in named.values():
            parameter.grad = drawn({"row": (1, 7, 9)}, 1 + seed)["row"].repeat(5, 1, 1)
        optimizer.step()
    state = get_state(optimizer, named)
    for name, parameter in named.items():
        for tensor in (parameter, *state[name].values()):
            assert not tensor.dim() or all(torch.equal(row, tensor[0]) for row in tensor)


@pytest.mark.process
@pytest.mark.parametrize("spec", [ADAM, MUON], ids=["adamw", "muon"])
def test_two_ranks_move_their_shards_as_one_does(tmp_path: Path, spec: Optimizer) -> None:
    found = moved_on_ranks(2, tmp_path, SHAPES, partial(build, spec=spec))
    with alone():
        expected = moved(SHAPES, partial(build, spec=spec))
    for name in SHAPES:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("spec", [ADAM, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize(("before", "after"), [("bf16", "bf16"), ("fp32", "bf16"), ("bf16", "fp32")])
def test_a_saved_state_goes_on(tmp_path: Path, spec: Optimizer, before: FloatType, after: FloatType) -> None:
    """Bit for bit where the type stays; else it is converted, and nothing of the other type stays behind."""
    with alone():
        config = FAMILIES["glm4_moe"]

        def made() -> tuple[Any, dict[str, nn.Parameter]]:
            model = build_model(config, Layout(1, 1), torch.device("cpu"), 0)
            named: dict[str, nn.Parameter] = dict(model.named_parameters())
            with torch.no_grad():
                for name, tensor in drawn({name: tuple(p.shape) for name, p in named.items()}, 0).items():
                    local(named[name]).copy_(tensor)
            return model, named

        def optimizer(named: dict[str, nn.Parameter], moments: FloatType) -> torch.optim.Optimizer:
            return build_optimizer(spec, named, {n for n in named if "experts" in n}, moments)

        model, named = made()
        first = optimizer(named, before)
        step(first, named, range(2))
        written = get_state(first, named)
        save_state(tmp_path / "state", model, written, key="k", node="n", step=2, tokens=0)
        again, loaded = made()
        _, state = load_state(tmp_path / "state", again)
        resumed = optimizer(loaded, after)
        for name, entry in state.items():
            for key, tensor in entry.items():
                assert torch.equal(local(tensor), local(written[name][key])), (name, key)
                assert key == "step" or tensor.dtype == TYPES[before]
        set_state(resumed, loaded, state)
        kept = [v for entry in state.values() for k, v in entry.items() if k != "step"]
        assert {tensor.dtype for tensor in kept} == {TYPES[after]}
        step(resumed, loaded, range(2, 4))
        step(first, named, range(2, 4))
        same = [torch.equal(local(named[name]), local(loaded[name])) for name in named]
        assert all(same) == (before == after)
        assert {v.dtype for e in get_state(resumed, loaded).values() for k, v in e.items() if k != "step"} == {
            TYPES[after]
        }


def test_growth_computes_moments_in_fp32_and_rounds_them_once() -> None:
    sources = {name: tensor.bfloat16() for name, tensor in drawn({"a": (6, 40), "b": (6, 40), "c": (6, 40)}, 0).items()}
    program = Mean(tuple(map(Source, sources)), (0.2, 0.3, 0.5))
    target = torch.empty(6, 40, dtype=torch.bfloat16)
    grow_tensor(program, target, Sharded(sources))
    wide = InMemory({name: tensor.float() for name, tensor in sources.items()})
    assert torch.equal(target, evaluate(program, torch.arange(6), wide, torch.float32).bfloat16())
    assert not torch.equal(target, evaluate(program, torch.arange(6), InMemory(sources), torch.bfloat16))
