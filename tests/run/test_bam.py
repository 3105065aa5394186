"""BAM from one spec on many layouts of ranks: branches, their mixing, and training on; killed and resumed; loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.files.beside import TRAINING
from tests.run import tiny
from tests.run.exported import loaded
from tests.run.test_dense_layouts import LAYOUTS

STEPS = 12
BRANCHES = ("first", "second", "third")
Run = Callable[[str, str], Path]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run folder of a variant and a layout, made once."""

    @cache
    def made(kv: str, layout: str) -> Path:
        ranks, overrides = LAYOUTS[layout]
        folder = tmp_path_factory.mktemp("layout")
        tiny.run(written(folder, kv), folder / "run", ranks, *overrides)
        return folder / "run"

    return made


def written(folder: Path, kv: str) -> Path:
    """The spec."""
    growth = {"op": "bam", "kv": kv, "optimizer_state": "gradient"}
    stages: list[dict[str, Any]] = [
        {"name": "seed", "train": {"steps": 4, "data": "seed"}},
        *({"name": name, "from": "seed.stable", "train": {"steps": 4, "data": name}} for name in BRANCHES),
        {"name": "mix", "from": ["seed.stable", *BRANCHES], "grow": [growth]},
        {"name": "cpt", "train": {"steps": STEPS, "data": "cpt"}},
    ]
    training = {
        "batch_tokens": 256,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
        "balance": {"method": "auxiliary", "rate": 1e-2, "z_loss": 1e-3},
        "checkpoint_every": 4,
    }
    path = tiny.spec(folder, "qwen3", stages=stages, training=training)
    return tiny.with_parts(path, dict.fromkeys(("seed", *BRANCHES, "cpt"), 0.2))


@pytest.mark.nightly(2)
@pytest.mark.parametrize("layout", ["fsdp 2", "fsdp 2, ep 2"])
@pytest.mark.parametrize("kv", ["own", "shared"])
def test_losses_do_not_depend_on_the_layout(run: Run, kv: str, layout: str) -> None:
    for stage in (*BRANCHES, "cpt"):
        expected, seen = tiny.rows(run(kv, "alone"), stage), tiny.rows(run(kv, layout), stage)
        assert len(expected) == (STEPS if stage == "cpt" else 4)
        assert seen == pytest.approx(expected, rel=1e-5)
    for stage in ("mix", "cpt"):
        one, many = (tiny.tensors(run(kv, at) / f"stages/{stage}/checkpoint" / TRAINING) for at in ("alone", layout))
        assert one.keys() == many.keys()
        for name, tensor in one.items():
            assert many[name].allclose(tensor, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("kv", ["own", "shared"])
def test_attention_experts_are_the_branches_with_their_moments_and_learn(run: Run, kv: str) -> None:
    mixed = tiny.tensors(run(kv, "fsdp 2") / "stages/mix/checkpoint" / TRAINING)
    trained = tiny.tensors(run(kv, "fsdp 2") / "stages/cpt/checkpoint" / TRAINING)
    branches = [tiny.tensors(run(kv, "fsdp 2") / f"stages/{name}/checkpoint" / TRAINING) for name in BRANCHES]
    seen = 0
    for number, branch in enumerate(branches, 1):
        for name in (name for name in branch if ".self_attn.q_proj." in name or ".self_attn.o_proj." in name):
            grown = name.replace(".self_attn.", f".self_attn.experts.{number}.")
            assert torch.equal(mixed[grown], branch[name]), grown
            assert not torch.equal(mixed[grown], trained[grown]), grown
            seen += 1
    assert seen == 3 * 2 * 2 * 2, "weights and momentum, of two maps of two layers"
    losses = tiny.rows(run(kv, "alone"), "cpt")
    assert losses[STEPS] < losses[1]


@pytest.mark.parametrize("kv", ["own", "shared"])
def test_the_result_loads_with_the_weights_of_the_run(run: Run, kv: str) -> None:
    model = loaded(run(kv, "alone") / "stages/cpt/checkpoint")
    ids = torch.randint(256, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model(ids).logits.isfinite().all()


def test_a_killed_run_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    spec, folder = written(tmp_path, "own"), tmp_path / "run"
    child = tiny.start(spec, folder, 2, "parallel.ep=2")
    tiny.kill_when(child, lambda: len(tiny.rows(folder, "cpt")) > 5, limit=900)
    assert len(tiny.rows(folder, "cpt")) < STEPS
    assert "resumed at step" in tiny.run(spec, folder, 2, "parallel.ep=2")
    assert tiny.rows(folder, "cpt") == pytest.approx(tiny.rows(run("own", "alone"), "cpt"), rel=1e-5)
