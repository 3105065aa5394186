"""One spec, many layouts of ranks: the same losses, before, across and after a growth."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.run import tiny

LAYOUTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "alone": (1, ()),
    "fsdp 2": (2, ("parallel.ep=1",)),
    "fsdp 2, ep 2": (2, ("parallel.ep=2",)),
    "fsdp 4": (4, ("parallel.ep=1",)),
    "fsdp 4, ep 2": (4, ("parallel.ep=2",)),
    "fsdp 4, ep 4": (4, ("parallel.ep=4",)),
    "fsdp 2, replicate 2": (4, ("parallel.replicate=2", "parallel.ep=1")),
    "fsdp 2, replicate 2, ep 2": (4, ("parallel.replicate=2", "parallel.ep=2")),
    "micro-batch 1": (1, ("training.micro_batch=1",)),
    "micro-batch 2": (1, ("training.micro_batch=2",)),
    "micro-batch 4": (1, ("training.micro_batch=4",)),
    "selective": (1, ("training.activation_checkpointing=selective",)),
    "full": (1, ("training.activation_checkpointing=full",)),
    "all at once": (
        2,
        (
            "parallel.ep=2",
            "training.micro_batch=1",
            "training.activation_checkpointing=full",
            "training.precision=fp32",
        ),
    ),
}
"""Ranks and settings, on none of which the losses of a run depend."""

QUICK = ("fsdp 2, ep 2", "micro-batch 2", "full")
NIGHTLY = ("fsdp 4", "fsdp 4, ep 2", "fsdp 2, replicate 2", "micro-batch 1", "micro-batch 4")
"""What is, in parts, tried by others."""
MANY = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.full if name in NIGHTLY else pytest.mark.slow)
    for name in LAYOUTS
    if name != "alone"
]
Run = Callable[[str], Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run folder of a layout, made once."""

    @cache
    def made(layout: str) -> Path:
        ranks, overrides = LAYOUTS[layout]
        folder = tmp_path_factory.mktemp("layout")
        tiny.run(tiny.spec(folder), folder / "run", ranks, *overrides)
        return folder / "run"

    return made


def test_training_moves_the_loss(run: Run) -> None:
    """Parity of runs that learn nothing would prove nothing."""
    losses = tiny.rows(run("alone"), "pretrain")
    assert losses[10] < losses[1] - 0.5


@pytest.mark.parametrize("layout", MANY)
def test_losses_do_not_depend_on_the_layout(run: Run, layout: str) -> None:
    for stage in ("pretrain", "cpt"):
        expected, seen = tiny.rows(run("alone"), stage), tiny.rows(run(layout), stage)
        assert len(expected) == 10
        assert seen == pytest.approx(expected, rel=1e-5)
    for key in ("val_loss_before", "val_loss_after", "predicted_val_loss"):
        one, many = (tiny.summary(path)["stages"]["upcycle"][key] for path in (run("alone"), run(layout)))
        assert many == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("layout", MANY)
def test_weights_and_moments_grow_alike(run: Run, layout: str) -> None:
    one, many = (tiny.tensors(path / "stages/upcycle/checkpoint/training") for path in (run("alone"), run(layout)))
    assert one.keys() == many.keys()
    assert any("momentum_buffer" in name for name in one)
    for name, tensor in one.items():
        assert many[name].allclose(tensor, rtol=1e-4, atol=1e-6), name


@pytest.mark.slow
def test_adam_starts_alike_under_expert_parallelism(tmp_path: Path) -> None:
    """A few steps only: later, discrete routing turns Adam's sensitivity to rounding into other choices of experts."""
    training = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 1e-3}}
    stages = [{"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}}]
    spec = tiny.spec(tmp_path, training=training, stages=stages)
    tiny.run(spec, tmp_path / "alone")
    tiny.run(spec, tmp_path / "ep", 2, "parallel.ep=2")
    for key in ("loss", "grad_norm"):
        one, many = (tiny.rows(tmp_path / name, "pretrain", key) for name in ("alone", "ep"))
        assert len(one) == 4
        assert many == pytest.approx(one, rel=1e-5)
