"""From dense to mixture on many layouts of ranks: the same losses, before and after the growth."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import growc
from tests.run import tiny

LAYOUTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "alone": (1, ()),
    "fsdp 2": (2, ()),
    "fsdp 2, ep 2": (2, ("parallel.ep=2",)),
}
GROWN: dict[str, dict[str, Any]] = {
    "sparse_upcycling": {"experts": 4},
    "router_upcycling": {"experts": 4, "optimizer_state": "reset_new"},
}
STEPS = 20
Run = Callable[[str, str], Path]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run folder of an operator and a layout, made once."""

    @cache
    def made(op: str, layout: str) -> Path:
        ranks, overrides = LAYOUTS[layout]
        folder = tmp_path_factory.mktemp("layout")
        tiny.run(written(folder, op), folder / "run", ranks, *overrides)
        return folder / "run"

    return made


def written(folder: Path, op: str) -> Path:
    """The spec."""
    stages = [
        {"name": "pretrain", "train": {"steps": 6, "data": "pretrain"}},
        {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": op, **GROWN[op]}]},
        {"name": "cpt", "train": {"steps": STEPS, "data": "cpt"}},
    ]
    training = {
        "batch_tokens": 256,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
        "balance": {"method": "auxiliary", "rate": 1e-2, "z_loss": 1e-3},
        "checkpoint_every": 4,
    }
    return tiny.spec(folder, "qwen3", stages=stages, training=training)


@pytest.mark.nightly(2)
@pytest.mark.parametrize("layout", ["fsdp 2", "fsdp 2, ep 2"])
@pytest.mark.parametrize("op", GROWN)
def test_losses_do_not_depend_on_the_layout(run: Run, op: str, layout: str) -> None:
    for stage in ("pretrain", "cpt"):
        expected, seen = tiny.rows(run(op, "alone"), stage), tiny.rows(run(op, layout), stage)
        assert len(expected) == {"pretrain": 6, "cpt": STEPS}[stage]
        assert seen == pytest.approx(expected, rel=1e-5)
    one, many = (tiny.tensors(run(op, at) / "stages/upcycle/checkpoint/training") for at in ("alone", layout))
    assert one.keys() == many.keys()
    for name, tensor in one.items():
        assert many[name].allclose(tensor, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("op", GROWN)
def test_growing_moves_no_loss_and_training_does(run: Run, op: str) -> None:
    growth = tiny.summary(run(op, "alone"))["stages"]["upcycle"]
    assert growth["val_loss_after"] == pytest.approx(growth["val_loss_before"], rel=1e-5)
    losses = tiny.rows(run(op, "alone"), "cpt")
    assert losses[STEPS] < losses[1] - 0.1


@pytest.mark.nightly(2)
@pytest.mark.process
@pytest.mark.parametrize("op", GROWN)
def test_the_result_loads_and_gives_the_same_logits(run: Run, op: str, tmp_path: Path) -> None:
    """A stock class loads in a process that never imports growc."""
    folder = next(path.parent for path in sorted((run(op, "alone") / "stages/cpt").rglob("config.json")))
    assert growc.__version__ in (folder / "growth.json").read_text(encoding="utf-8")
    ids = torch.randint(256, (2, 16), generator=torch.Generator().manual_seed(0))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(ids).logits
    imports = "import growc" if op == "router_upcycling" else "assert 'growc' not in sys.modules"
    program = f"""
import sys, torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
{imports}
ids = torch.randint(256, (2, 16), generator=torch.Generator().manual_seed(0))
model = AutoModelForCausalLM.from_pretrained({str(folder)!r}, dtype=torch.float32).eval()
with torch.no_grad():
    save_file({{"logits": model(ids).logits}}, {str(tmp_path / "logits.safetensors")!r})
{"assert 'growc' not in sys.modules" if op == "sparse_upcycling" else ""}
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    seen = load_file(tmp_path / "logits.safetensors")["logits"]
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)  # where bytes lie decides how some sums are taken


def test_a_killed_run_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    spec, folder = written(tmp_path, "router_upcycling"), tmp_path / "run"
    child = tiny.start(spec, folder, 2, "parallel.ep=2")
    tiny.kill_when(child, lambda: len(tiny.rows(folder, "cpt")) > 5, limit=900)
    assert len(tiny.rows(folder, "cpt")) < STEPS
    tiny.run(spec, folder, 2, "parallel.ep=2")
    assert tiny.rows(folder, "cpt") == pytest.approx(tiny.rows(run("router_upcycling", "alone"), "cpt"), rel=1e-5)
