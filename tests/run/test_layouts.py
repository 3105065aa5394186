"""One spec, many layouts of ranks: the same losses, before, across and after a growth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run import tiny

STAGES = ("pretrain", "cpt")
LAYOUTS = {"fsdp 2": (2, ()), "fsdp 2, ep 2": (2, ("parallel.ep=2",)), "fsdp 4, ep 2": (4, ("parallel.ep=2",))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    tiny.run(tiny.spec(folder), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses_do_not_depend_on_the_layout(alone: Path, tmp_path: Path, layout: str) -> None:
    ranks, overrides = LAYOUTS[layout]
    tiny.run(tiny.spec(tmp_path), tmp_path / "run", ranks, *overrides)
    for stage in STAGES:
        expected, seen = tiny.rows(alone, stage), tiny.rows(tmp_path / "run", stage)
        assert len(expected) == 10
        assert seen == pytest.approx(expected, rel=1e-5)
    for key in ("val_loss_before", "val_loss_after", "predicted_val_loss"):
        one, many = (tiny.summary(run)["stages"]["upcycle"][key] for run in (alone, tmp_path / "run"))
        assert many == pytest.approx(one, rel=1e-5)


def test_training_moves_the_loss(alone: Path) -> None:
    """Parity of runs that learn nothing would prove nothing."""
    losses = tiny.rows(alone, "pretrain")
    assert losses[10] < losses[1] - 0.5


def test_moments_grow_alike_on_every_layout(alone: Path, tmp_path: Path) -> None:
    tiny.run(tiny.spec(tmp_path), tmp_path / "run", 2, "parallel.ep=2")
    one, many = (tiny.tensors(run / "stages/upcycle/checkpoint/training") for run in (alone, tmp_path / "run"))
    assert one.keys() == many.keys()
    assert any("momentum_buffer" in name for name in one)
    for name, tensor in one.items():
        assert many[name].allclose(tensor, rtol=1e-4, atol=1e-6), name
