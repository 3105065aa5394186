"""Growth inside a run: exact or as predicted, with utilities that do not depend on sharding."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

import growc
from growc.checkpoint.lineage import told_siblings
from growc.diagnostics import ExitCode
from growc.engine import distribute
from growc.engine.distribute import alone, build_model
from growc.engine.losses import validation_losses
from growc.run import grow, stages, worker
from tests.families import MOE_FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

SCORES: dict[str, dict[str, Any]] = {
    "weight_norm": {"over": "both_product"},
    "gradient_squared": {},
    "fc2": {"score": "gradient_squared", "over": "fc2"},
    "saliency": {"over": "both_max"},
    "curvature": {},
    "random": {"rule": "sampling"},
}
"""Rules by the name of a stage, which is the score where none is given."""


def _stages(**operator: Any) -> list[dict[str, Any]]:
    return [
        {"name": "pretrain", "train": {"steps": 6, "data": "pretrain"}},
        {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **EXACT, **operator}]},
    ]


def _decisions(run_dir: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, (run_dir / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["stage"]: line for line in lines if line["event"] == "decision"}


def _scored(folder: Path, ranks: int, *overrides: str) -> Path:
    """A run with six grow stages from one trunk, each by another score."""
    stages: list[dict[str, Any]] = [{"name": "pretrain", "train": {"steps": 6, "data": "pretrain"}}]
    for score, rule in SCORES.items():
        allocation = {"rule": "greedy", "score": score, "batches": 3, "cap": 3} | rule
        grow = [{"op": "expert_upcycling", **EXACT, "allocation": allocation}]
        stages.append({"name": score, "from": "pretrain.stable", "grow": grow})
    training = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 1e-3}}
    tiny.run(tiny.spec(folder, stages=stages, training=training), folder / "run", ranks, *overrides)
    return folder / "run"


@pytest.fixture(scope="module")
def scored_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _scored(tmp_path_factory.mktemp("scored"), 1)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), ("parallel.ep=2",)], ids=["fsdp 2", "ep 2"])
def test_scores_do_not_depend_on_sharding(scored_alone: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    expected, run = _decisions(scored_alone), _scored(tmp_path, 2, *overrides)
    assert expected.keys() == SCORES.keys()
    for score, decision in _decisions(run).items():
        assert decision["replicas"] == expected[score]["replicas"]
        for layer, scores in expected[score]["scores"].items():
            assert min(scores) >= 0
            assert max(scores) > min(scores)
            assert decision["scores"][layer] == pytest.approx(scores, rel=1e-5)
    for score in SCORES:
        grown = tiny.summary(run)["stages"][score]
        assert grown["val_loss_after"] == pytest.approx(grown["val_loss_before"], abs=1e-5)


@pytest.mark.slow
def test_free_routing_costs_what_the_law_predicts(tmp_path: Path) -> None:
    """In single precision and on two ranks; tests/growth/test_law.py has more allocations, routers and top-K."""
    written = {"rule": "explicit", "replicas": [1, 3, 1, 3, 1, 3, 1, 3]}
    uneven = {"op": "expert_upcycling", **EXACT, "routing": "free", "allocation": written}
    stages = [*_stages(routing="free"), {"name": "uneven", "from": "pretrain.stable", "grow": [uneven]}]
    output = tiny.run(tiny.spec(tmp_path, stages=stages), tmp_path / "run", 2)
    for stage in ("upcycle", "uneven"):
        grown = tiny.summary(tmp_path / "run")["stages"][stage]
        assert grown["val_loss_after"] == pytest.approx(grown["predicted_val_loss"], abs=1e-6)
        assert abs(grown["val_loss_after"] - grown["val_loss_before"]) > 1e-4
    found = tiny.summary(tmp_path / "run")["stages"]
    assert found["upcycle"]["k_eff"] == pytest.approx({"1": 1.0, "2": 1.0})
    assert 1 < max(found["uneven"]["k_eff"].values()) < 2
    assert "predicted on the source" in output


@pytest.mark.nightly(2)
@pytest.mark.slow
@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_every_family_trains_grows_and_loads(tmp_path: Path, family: str) -> None:
    balance = {"method": "auxiliary", "rate": 1e-2}
    training = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 1e-3}, "balance": balance}
    stages = [*_stages(), {"name": "cpt", "train": {"steps": 4, "data": "cpt"}}]
    tiny.run(tiny.spec(tmp_path, family, stages=stages, training=training), tmp_path / "run", 2)
    grown = tiny.summary(tmp_path / "run")["stages"]["upcycle"]
    assert grown["val_loss_after"] == pytest.approx(grown["val_loss_before"], abs=1e-5)
    folder = tmp_path / "run/stages/cpt/checkpoint"
    assert growc.__version__ in (folder / "growth.json").read_text(encoding="utf-8")
    groups, warnings = told_siblings(folder)
    assert (set(groups.values()), warnings) == ({(2,) * 8}, ())
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.isfinite(model(torch.arange(16)[None]).logits).all()


@pytest.mark.slow
def test_experts_have_the_same_bytes_on_every_layout(tmp_path: Path) -> None:
    """What is computed of whole experts, and of two of them, is computed where the copy will lie."""
    inits = ({"init": "drop"}, {"init": "svd_mix"}, {"init": "sparse_code_mix", "dictionary": 24, "iterations": 5})
    grow = [{"op": "expert_upcycling", **EXACT, "experts": init} for init in inits]
    path = tiny.spec(tmp_path, stages=[{"name": "upcycle", "grow": grow}])
    for name, ranks, overrides in (("one", 1, ()), ("two", 2, ()), ("ep", 2, ("parallel.ep=2",))):
        tiny.run(path, tmp_path / name, ranks, *overrides)
    one, *others = (tiny.tensors(tmp_path / n / "stages/upcycle/checkpoint/training") for n in ("one", "two", "ep"))
    for other in others:
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_broken_loss_invariant_stops_the_run(tmp_path: Path) -> None:
    stages = [{"name": "pretrain", "train": {"steps": 40, "data": "pretrain"}}, *_stages(routing="free")[1:]]
    training = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 3e-3}}
    invariants = {"loss": {"max_increase": 1e-5}}
    path = tiny.spec(tmp_path, stages=stages, training=training, invariants=invariants)
    output = tiny.run(path, tmp_path / "run", 1, code=1)
    assert "GROW450" in output
    assert "Traceback" not in output
    assert not (tmp_path / "run/stages/upcycle/checkpoint").exists()


@pytest.mark.slow
def test_a_second_growth_follows_the_first(tmp_path: Path) -> None:
    """8 to 16 to 32 experts, the first by measured utility: each exact."""
    measured = {"rule": "greedy", "score": "weight_norm", "cap": 2}
    stages = [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
        {"name": "first", "grow": [{"op": "expert_upcycling", **EXACT, "allocation": measured}]},
        {"name": "between", "train": {"steps": 4, "data": "cpt"}},
        {"name": "second", "grow": [{"op": "expert_upcycling", **EXACT}]},
    ]
    tiny.run(tiny.spec(tmp_path, stages=stages), tmp_path / "run", 2)
    for stage in ("first", "second"):
        grown = tiny.summary(tmp_path / "run")["stages"][stage]
        assert grown["val_loss_after"] == pytest.approx(grown["val_loss_before"], abs=1e-5)
    config = json.loads((tmp_path / "run/stages/second/checkpoint/config.json").read_text(encoding="utf-8"))
    assert {sum(layer["replicas"]) for layer in config["growc"]["layers"].values()} == {32}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a rank holds its lock till it ends
def test_what_has_grown_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is gone before the grown model is validated, and that before the next stage loads its own."""
    path = tiny.spec(tmp_path)
    tiny.run(path, tmp_path / "run")
    for stage in ("upcycle", "cpt"):
        shutil.rmtree(tmp_path / f"run/stages/{stage}/checkpoint")
    alive: list[int] = []
    models: weakref.WeakSet[Any] = weakref.WeakSet()

    def watched(build: Callable[..., Any]) -> Callable[..., Any]:
        def built(*given: Any) -> Any:
            model = build(*given)
            models.add(model)
            return model

        return built

    def measured(model: Any, *given: Any) -> Tensor:
        alive.append(len(models))
        return validation_losses(model, *given)

    for module in (stages, grow):
        monkeypatch.setattr(module, "build_model", watched(build_model))
    monkeypatch.setattr(stages, "validation_losses", measured)
    monkeypatch.setattr(distribute, "start", lambda: torch.device("cpu"))
    gc.disable()  # it might come by chance
    try:
        with alone():
            assert worker.work(tmp_path / "run", allow_code=False) is ExitCode.CLEAN
    finally:
        gc.enable()
    assert alive == [1, 1, 1]  # of the source, of what it grew into, of the stage after


@pytest.mark.slow
def test_a_checkpoint_is_a_source_with_its_optimizer_state(tmp_path: Path) -> None:
    """Training goes on from a growc checkpoint as if it had never stopped; a plain folder starts fresh moments."""
    adam = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 1e-3}, "schedule": {"name": "constant"}}
    first = {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}}
    second = {"name": "cpt", "train": {"steps": 4, "data": "cpt"}}
    tiny.run(tiny.spec(tmp_path, training=adam, stages=[first, second]), tmp_path / "whole", 1)
    checkpoint = tmp_path / "whole/stages/pretrain/checkpoint"
    spec = tiny.spec(tmp_path, training=adam, stages=[second], model={"path": str(checkpoint)})
    tiny.run(spec, tmp_path / "part", 1)
    assert tiny.rows(tmp_path / "part", "cpt") == tiny.rows(tmp_path / "whole", "cpt")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((checkpoint / name).read_bytes())
    spec = tiny.spec(tmp_path, training=adam, stages=[second], model={"path": str(bare)})
    tiny.run(spec, tmp_path / "fresh", 1)
    fresh, whole = tiny.rows(tmp_path / "fresh", "cpt"), tiny.rows(tmp_path / "whole", "cpt")
    assert fresh[1] == whole[1], "the weights are the same"
    assert fresh[3] != whole[3], "the moments are not"
