"""Copies learn at a rate of their own for a while: exactly their rows, in every layout, across stages and restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from growc.engine.optimizer import build_optimizer
from growc.engine.schedules.copy_rates import CopiesRates, windows
from growc.model import inspect
from growc.operators import operator
from growc.operators.copies_rate import CopiesRate
from growc.run.lineage import PastGrowth
from growc.spec.schema import AdamW, Muon, Optimizer, Sgd
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

RATE: dict[str, Any] = {"multiplier": 3.0, "steps": 6, "warmup": 2}
ADAM: dict[str, Any] = {
    "batch_tokens": 256,
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "schedule": {"name": "constant"},
}


def _past(replicas: tuple[int, ...], steps_since: int, rate: dict[str, Any] | None = RATE) -> PastGrowth:
    grows = operator("expert_upcycling").model_validate(EXACT | ({"copies_lr": rate} if rate else {}))
    return PastGrowth(grows, {1: replicas}, steps_since)


def test_the_factor_rises_holds_and_ends() -> None:
    rate = CopiesRate(multiplier=1.5, steps=5, warmup=3)
    assert [rate.factor(step) for step in range(7)] == [0.5, 1.0, 1.5, 1.5, 1.5, 1.0, 1.0]
    assert [CopiesRate(multiplier=2, steps=1).factor(step) for step in range(2)] == [2.0, 1.0]
    with pytest.raises(ValidationError, match="does not fit"):
        CopiesRate(steps=2, warmup=3)


def test_only_copies_have_a_window_and_originals_keep_the_one_they_had() -> None:
    first, second = _past((2, 1), 7), _past((1, 2, 2), 4)
    found = windows([first, second])[1]
    assert [window.done if window else None for window in found] == [None, 7, 4, None, 4]
    plain = windows([first, _past((1, 2, 2), 4, None)])[1]
    assert [window.done if window else None for window in plain] == [None, 7, None, None, None]


@pytest.mark.parametrize(
    "spec", [AdamW(name="adamw", lr=0.1), Sgd(name="sgd", lr=0.1, momentum=0.9), Muon(name="muon")]
)
def test_rows_of_copies_move_as_with_another_learning_rate(spec: Optimizer) -> None:
    site = inspect(FAMILIES["glm4_moe"], 32).moe[0]
    names = (*site.expert_tensors, *site.router_rows, "other")
    generator = torch.Generator().manual_seed(0)
    start = {name: torch.randn(8, 3, generator=generator) for name in names}
    pulls = [{name: torch.randn(8, 3, generator=generator) for name in names} for _ in range(8)]
    past = [_past((3, 2, 3), 1)]
    copies = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1]).bool()

    def moved(own_rate: bool) -> list[dict[str, torch.Tensor]]:
        """Every tensor before and after each of four steps, gradients being the same."""
        named = {name: nn.Parameter(tensor.clone()) for name, tensor in start.items()}
        optimizer = build_optimizer(spec, named, [n for n in names if n != "other"])
        rates = CopiesRates(named, [site], windows(past) if own_rate else {})
        seen = [{name: p.detach().clone() for name, p in named.items()}]
        for step, pull in enumerate(pulls):
            for name, parameter in named.items():
                parameter.grad = pull[name].clone()
            with rates.around_update(step):
                optimizer.step()
            seen.append({name: p.detach().clone() for name, p in named.items()})
        return seen

    scaled, plain = moved(own_rate=True), moved(own_rate=False)
    for step in range(8):
        factor = CopiesRate.model_validate(RATE).factor(1 + step)
        for name in names:
            before, after, without = scaled[step][name], scaled[step + 1][name], plain[step + 1][name]
            assert torch.equal(after[~copies], without[~copies])
            if name == "other":
                assert torch.equal(after, without)
            elif isinstance(spec, Sgd) or step == 0:  # weight decay follows the weights, which differ by then
                update = without - plain[step][name]
                torch.testing.assert_close((after - before)[copies], factor * update[copies])
    assert not torch.equal(scaled[-1][names[0]], plain[-1][names[0]])


def _stages(rate: dict[str, Any] | None, *steps: int) -> list[dict[str, Any]]:
    grow = {"op": "expert_upcycling", **EXACT} | ({"copies_lr": rate} if rate else {})
    trained = [{"name": f"cpt{i}", "train": {"steps": n, "data": "cpt"}} for i, n in enumerate(steps)]
    return [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
        {"name": "upcycle", "grow": [grow]},
        *trained,
    ]


def _end(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return tiny.tensors(run / "stages" / stage / "checkpoint" / "training")


@pytest.mark.slow
def test_the_window_goes_on_in_the_next_stage(tmp_path: Path) -> None:
    """Nine steps in one stage and in two are the same nine steps; without the window they are others."""
    balance: dict[str, Any] = {"balance": {"method": "none"}}
    for name, stages in (
        ("whole", _stages(RATE, 9)),
        ("halves", _stages(RATE, 4, 5)),
        ("plain", _stages(None, 9)),
    ):
        tiny.run(tiny.spec(tmp_path, stages=stages, training=ADAM | balance), tmp_path / name, 1)
    whole, halves = _end(tmp_path / "whole", "cpt0"), _end(tmp_path / "halves", "cpt1")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    plain = _end(tmp_path / "plain", "cpt0")
    assert any(not torch.equal(whole[name], plain[name]) for name in whole)


@pytest.mark.slow
def test_killed_in_the_window_and_resumed_ends_bit_equal_on_two_ranks(tmp_path: Path) -> None:
    training = ADAM | {"checkpoint_every": 2}
    stages = _stages(RATE | {"steps": 8, "warmup": 5}, 10)
    unbroken = tmp_path / "unbroken"
    unbroken.mkdir()
    tiny.run(tiny.spec(unbroken, stages=stages, training=training), unbroken / "run", 2)
    path = tiny.spec(tmp_path, stages=stages, training=training)
    child = tiny.start(path, tmp_path / "run", 2)
    tiny.kill_when(child, lambda: max(tiny.rows(tmp_path / "run", "cpt0"), default=0) >= 3)
    assert "resumed at step" in tiny.run(path, tmp_path / "run", 2)
    expected, seen = _end(unbroken / "run", "cpt0"), _end(tmp_path / "run", "cpt0")
    assert expected.keys() == seen.keys()
    assert all(torch.equal(expected[name], seen[name]) for name in expected)


@pytest.mark.slow
def test_every_layout_scales_the_same_rows(tmp_path: Path) -> None:
    explicit = {"rule": "explicit", "replicas": [4, 1, 2, 1, 1, 3, 3, 1]}
    stages = _stages(RATE, 6)
    stages[1]["grow"][0]["allocation"] = explicit
    path = tiny.spec(tmp_path, stages=stages)
    for name, ranks, overrides in (("one", 1, ()), ("two", 2, ()), ("ep", 2, ("parallel.ep=2",))):
        tiny.run(path, tmp_path / name, ranks, *overrides)
    one = _end(tmp_path / "one", "cpt0")
    for name in ("two", "ep"):
        for tensor, seen in _end(tmp_path / name, "cpt0").items():
            torch.testing.assert_close(seen, one[tensor], rtol=1e-4, atol=1e-5)
