"""Moments in bf16 through a whole run: stages, a growth, a change of type, one rank and two, and a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from growc.diagnostics import ExitCode
from tests.operators_cases import EXACT
from tests.run import tiny

pytestmark = pytest.mark.slow

TRAINING: dict[str, Any] = {
    "batch_tokens": 256,
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.25},
    "precision": {"moments": "bf16"},
}
STAGES: list[dict[str, Any]] = [
    {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
    {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **EXACT}]},
    {"name": "cpt", "train": {"steps": 4, "data": "cpt"}},
    {"name": "wide", "train": {"steps": 2, "data": "cpt", "precision": {"moments": "fp32"}}},
    {"name": "narrow", "train": {"steps": 2, "data": "cpt"}},
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The run on one rank, on two, and on one with fp32 moments."""
    folder = tmp_path_factory.mktemp("moments")
    spec = tiny.spec(folder, training=TRAINING, stages=STAGES)
    for name, ranks, overrides in (("1", 1, ()), ("2", 2, ()), ("fp32", 1, ("training.precision=fp32",))):
        tiny.run(spec, folder / name, ranks, *overrides)
    return [folder / "1", folder / "2", folder / "fp32"]


def _state(run: Path, stage: str, state: str = "checkpoint/training") -> dict[str, Tensor]:
    return tiny.tensors(run / "stages" / stage / state)


def test_moments_are_stored_as_they_are_kept(runs: list[Path]) -> None:
    """Also after a stage of the other type, from which they are converted."""
    for run in runs:
        for stage in ("pretrain", "upcycle", "cpt", "wide", "narrow"):
            found = _state(run, stage)
            wide = stage == "wide" or run == runs[2]
            kinds = {tensor.dtype for name, tensor in found.items() if "exp_avg" in name}
            assert kinds == {torch.float32 if wide else torch.bfloat16}, (run, stage)
            others = (tensor for name, tensor in found.items() if "exp_avg" not in name and tensor.is_floating_point())
            assert {tensor.dtype for tensor in others} == {torch.float32}


def test_runs_are_near_to_those_of_fp32_and_of_other_ranks(runs: list[Path]) -> None:
    """A rounding of 2^-8 moves a loss by less; sums of gradients of other ranks may round to the other side."""
    one, two, exact = runs
    for stage in ("pretrain", "cpt", "wide", "narrow"):
        losses = tiny.rows(one, stage)
        assert losses == pytest.approx(tiny.rows(exact, stage), rel=2**-8)
        assert losses == pytest.approx(tiny.rows(two, stage), rel=2**-8)
        assert losses != tiny.rows(exact, stage) or stage == "pretrain"


@pytest.mark.parametrize("ranks", [1, 2])
def test_moments_grow_in_fp32_and_are_rounded_once(runs: list[Path], ranks: int) -> None:
    """Each of two copies of an expert gets half of its tokens: half of its mean, a quarter of the squares."""
    parent, grown = _state(runs[ranks - 1], "pretrain", "stable"), _state(runs[ranks - 1], "upcycle")
    stack = next(name for name in grown if name.endswith("gate_up_proj.exp_avg"))
    for name, share in ((stack, 2), (f"{stack}_sq", 4)):
        assert parent[name].any()
        expected = (parent[name].float() / share).bfloat16().repeat_interleave(2, 0)
        assert torch.equal(grown[name], expected)


def test_the_journal_says_what_was_chosen(runs: list[Path]) -> None:
    for run, ranks in zip(runs, (1, 2, 1), strict=True):
        lines = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        (started,) = (event for line in lines if (event := json.loads(line))["event"] == "run_started")
        assert started["layout"] == f"fsdp {ranks}, ep {ranks}"
        whole = {"sequences": 8 // ranks, "per_step": 1}
        assert started["micro_batches"] == dict.fromkeys(("pretrain", "cpt", "wide", "narrow"), whole)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_killed_and_resumed_ends_bit_equal(tmp_path: Path, optimizer: str) -> None:
    training = TRAINING | {"checkpoint_every": 2, "optimizer": {"name": optimizer, "lr": 1e-3}}
    stages = [{"name": "pretrain", "train": {"steps": 12, "data": "pretrain"}}]
    spec = tiny.spec(tmp_path, training=training, stages=stages)
    tiny.run(spec, tmp_path / "unbroken", 2)
    child = tiny.start(spec, tmp_path / "run", 2)
    tiny.kill_when(child, lambda: max(tiny.rows(tmp_path / "run", "pretrain"), default=0) >= 5)
    assert "resumed at step" in tiny.run(spec, tmp_path / "run", 2)
    expected, found = _state(tmp_path / "unbroken", "pretrain"), _state(tmp_path / "run", "pretrain")
    assert expected.keys() == found.keys()
    assert any(tensor.dtype == torch.bfloat16 for tensor in found.values())
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_copies_at_a_rate_of_their_own(tmp_path: Path) -> None:
    """At a rate of nearly zero their weights stay bit for bit, while their moments go on."""
    operator = {"op": "expert_upcycling", **EXACT, "copies_lr": {"multiplier": 1e-30, "steps": 100}}
    stages = [
        STAGES[0], {"name": "upcycle", "grow": [operator]}, {"name": "cpt", "train": {"steps": 3, "data": "cpt"}},
    ]  # fmt: skip
    tiny.run(tiny.spec(tmp_path, training=TRAINING, stages=stages), tmp_path / "run", 2)
    before, after = _state(tmp_path / "run", "upcycle"), _state(tmp_path / "run", "cpt")
    stack = next(name for name in after if name.endswith("gate_up_proj"))
    copies = slice(1, None, 2)
    assert torch.equal(before[stack][copies], after[stack][copies])
    assert not torch.equal(before[stack][::2], after[stack][::2])
    moment = f"{stack.replace('model.', 'optimizer.', 1)}.exp_avg"
    assert after[moment].dtype == torch.bfloat16
    assert not torch.equal(before[moment][copies], after[moment][copies])


def test_what_bf16_cannot_keep_is_refused_at_check(tmp_path: Path) -> None:
    slow = {"name": "adamw", "beta2": 0.999}
    for optimizer, code in (({"name": "sgd"}, "GROW635"), (slow, "GROW636")):
        spec = tiny.spec(tmp_path, training=TRAINING | {"optimizer": optimizer}, stages=STAGES[:1])
        assert code in tiny.run(spec, tmp_path / "run", code=ExitCode.FINDINGS)
        assert not (tmp_path / "run").exists()
