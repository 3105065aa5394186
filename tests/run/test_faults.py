"""Faults of the world around a run: each a diagnostic and its exit code, and nothing half done."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import AutoModelForCausalLM

from growc.diagnostics import CODES, GrowcError
from growc.growth.open import open_spec
from growc.model.build import load_config
from growc.run.source import write_source
from tests.command_line import growc
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

ONE: list[dict[str, Any]] = [{"name": "pretrain", "train": {"steps": 3, "data": "pretrain"}}]


def _refused(output: str, code: str) -> None:
    assert code in output, output
    assert "Traceback" not in output, output


@pytest.mark.slow
def test_a_run_folder_belongs_to_one_run(tmp_path: Path) -> None:
    """One folder, met by another spec, other data, a second run at once, and a file in its place."""
    path = tiny.spec(tmp_path, stages=ONE)
    tiny.run(path, tmp_path / "run")
    _refused(tiny.run(path, tmp_path / "run", 1, "training.seed=1", code=2), "GROW611")
    (tmp_path / "corpus/000.txt").write_text("something else altogether\n" * 50, encoding="utf-8")
    _refused(tiny.run(path, tmp_path / "run", code=2), "GROW615")
    (tmp_path / "file").write_text("", encoding="utf-8")
    _refused(tiny.run(path, tmp_path / "file", code=2), "GROW614")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "work/folder").mkdir(parents=True)
    for strange in ("model", "work"):
        _refused(tiny.run(path, tmp_path / strange, code=2), "GROW619")


@pytest.mark.slow
def test_a_start_that_was_refused_takes_no_folder(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path, stages=ONE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log").touch()
    for mistake in ("data.train.path=nowhere", "training.batch_tokens=1024000"):
        tiny.run(path, tmp_path / "run", 1, mistake, code=2 if "path" in mistake else 1)
    tiny.run(path, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.process
def test_two_runs_at_once_in_one_folder(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path, stages=[{"name": "pretrain", "train": {"steps": 4000, "data": "pretrain"}}])
    child = tiny.start_process(path, tmp_path / "run")
    while not tiny.rows(tmp_path / "run", "pretrain"):
        assert child.poll() is None
        time.sleep(0.05)
    _refused(tiny.run(path, tmp_path / "run", code=2), "GROW613")
    # A port that a rank would open later may be taken by then: ranks meet at the one that torchrun holds.
    ranks = [one for one in psutil.Process(child.pid).children(recursive=True) if "RANK" in one.environ()]
    assert ranks
    assert all(rank.environ()["TORCHELASTIC_USE_AGENT_STORE"] == "True" for rank in ranks)
    tiny.kill_tree(child.pid)
    child.communicate()


@pytest.mark.slow
def test_divergence_stops_the_run(tmp_path: Path) -> None:
    training = {"batch_tokens": 256, "optimizer": {"name": "sgd", "lr": 1e30, "clip_norm": None}}
    path = tiny.spec(tmp_path, stages=[{"name": "p", "train": {"steps": 9, "data": "pretrain"}}], training=training)
    _refused(tiny.run(path, tmp_path / "run", 2, code=1), "GROW616")


@pytest.mark.parametrize(
    ("overrides", "ranks", "code"),
    [
        (("parallel.ep=2",), 3, "GROW620"),
        (("parallel.fsdp=2",), 1, "GROW620"),
        (("parallel.ep=3",), 3, "GROW621"),
        ((), 3, "GROW623"),
        (("training.micro_batch=3",), 2, "GROW625"),
        (("parallel.replicate=3",), 2, "GROW620"),
        (("data.sequence_length=8",), 16, "GROW626"),
        (("training.batch_tokens=3200000",), 1, "GROW511"),
        (("data.train.path=nowhere",), 1, "GROW501"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_trained(
    tmp_path: Path, overrides: tuple[str, ...], ranks: int, code: str
) -> None:
    output = tiny.run(tiny.spec(tmp_path, stages=ONE), tmp_path / "run", ranks, *overrides, code=CODES[code].exit)
    _refused(output, code)
    assert not (tmp_path / "run/stages").exists()
    if code.startswith("GROW62"):  # what the number of ranks rules out is said before there is a folder
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_growth_to_no_number_is_not_kept(tmp_path: Path) -> None:
    vast = {"op": "expert_upcycling", **EXACT, "experts": {"init": "copy_noise", "noise": 1e35}}
    stages: list[dict[str, Any]] = [{"name": "up", "grow": [vast]}]
    path = tiny.spec(tmp_path, stages=stages)
    assert "GROW453" in tiny.run(path, tmp_path / "run", code=1)
    assert not (tmp_path / "run/stages/up/checkpoint").exists()


@pytest.mark.slow
def test_weights_of_another_model_are_not_filled_up_at_random(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_config(load_config(FAMILIES["mixtral"]))
    model.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8"))
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}), encoding="utf-8")
    grow = [{"name": "up", "grow": [{"op": "expert_upcycling", **EXACT}]}]
    opened = open_spec(tiny.spec(tmp_path, stages=grow, model={"path": "model"}))
    with pytest.raises(GrowcError, match=r"GROW214.*missing"):
        write_source(tmp_path / "source", opened.roots[0], opened.loaded.base_dir, 0)
    assert not (tmp_path / "source").exists()
    output = tiny.run(tmp_path / "tiny.growth.yaml", tmp_path / "run", 2, code=1)
    _refused(output, "GROW214")


@pytest.mark.slow
def test_a_stage_that_is_all_anneal_has_a_stable_state(tmp_path: Path) -> None:
    training = {"batch_tokens": 256, "schedule": {"name": "wsd", "warmup": 0, "anneal": 1.0}}
    stages = [*ONE, {"name": "up", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **EXACT}]}]
    tiny.run(tiny.spec(tmp_path, stages=stages, training=training), tmp_path / "run")


@pytest.mark.slow
def test_a_plan_runs_when_its_spec_is_gone(tmp_path: Path) -> None:
    spec, plan, run = tiny.spec(tmp_path, stages=ONE), tmp_path / "plan.json", tmp_path / "run"
    assert growc("plan", spec, "--out", plan).exit_code == 0
    spec.unlink()
    tiny.run(plan, run)
    assert len(tiny.rows(run, "pretrain")) == 3
    tiny.run(run / "plan.json", run)  # the run folder has all that it needs to go on
    assert len(tiny.rows(run, "pretrain")) == 3
