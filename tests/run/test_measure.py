"""`growc check --measure` settles on real weights what `growc check` can only list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.model.build import load_config
from tests.command_line import growc
from tests.engine.test_losses import MINIMAX
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

pytestmark = pytest.mark.slow

UP = {"name": "up", "grow": [{"op": "expert_upcycling", **EXACT}]}


def _check(spec: Path) -> tuple[int, dict[str, Any]]:
    done = growc("check", spec, "--measure", "--output-format", "json")
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a saved model."""
    torch.manual_seed(5)
    AutoModelForCausalLM.from_config(load_config(FAMILIES["glm4_moe"])).save_pretrained(tmp_path / "model")
    return tmp_path


def _spec(folder: Path, operator: dict[str, Any], **changes: Any) -> Path:
    stages = [{"name": "up", "grow": [{"op": "expert_upcycling", **EXACT, **operator}]}]
    return tiny.spec(folder, model={"path": "model"}, stages=stages, **changes)


def test_an_exact_growth_is_measured_and_held(folder: Path) -> None:
    code, found = _check(_spec(folder, {}, invariants={"loss": {"max_increase": 1e-5}}))
    assert code == 0
    (loss,) = (i for i in found["invariants"] if i["name"] == "loss")
    assert loss["status"] == "held"
    assert loss["value"] == 1e-6, "a bound: the digits of rounding are not told"
    assert loss["limit"] == 1e-5


def test_a_free_growth_lands_on_the_law_and_may_break_the_limit(folder: Path) -> None:
    greedy = {"routing": "free", "allocation": {"rule": "greedy", "batches": 2, "cap": 3}}
    code, found = _check(_spec(folder, greedy, invariants={"loss": {"max_increase": 0.0}}))
    (loss,) = (i for i in found["invariants"] if i["name"] == "loss")
    broken = loss["value"] > 0
    assert loss["status"] == ("broken" if broken else "held")
    assert code == int(broken)
    assert ("GROW450" in {d["code"] for d in found["diagnostics"]}) == broken


def test_without_a_limit_the_change_is_told_all_the_same(folder: Path) -> None:
    code, found = _check(_spec(folder, {"routing": "free"}))
    assert code == 0
    (loss,) = (i for i in found["invariants"] if i["name"] == "loss")
    assert loss["limit"] is None
    assert loss["status"] == "held"


def test_pruning_and_what_skipping_would_do_to_the_pruned_model(folder: Path) -> None:
    pruning = {"op": "expert_pruning", "keep": 6, "choose": {"by": "score"}, "skipping": "measure"}
    stages = [{"name": "prune", "grow": [pruning, {"op": "expert_slimming", "share": 0.5, "choose": {"batches": 2}}]}]
    spec = tiny.spec(folder, model={"path": "model"}, stages=stages)
    done = growc("check", spec, "--measure")
    assert done.exit_code == 0, done.output
    assert "dynamic skipping would leave out" in " ".join(done.stdout.split())


def test_a_config_has_nothing_to_measure(tmp_path: Path) -> None:
    code, found = _check(tiny.spec(tmp_path, stages=[UP]))
    assert code == 2
    assert [d["code"] for d in found["diagnostics"]] == ["GROW452"]


def test_what_the_model_cannot_compute_in_is_said(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(load_config(MINIMAX)).save_pretrained(tmp_path / "model")
    training = {"batch_tokens": 256, "precision": "bf16", "balance": {"method": "none"}}
    spec = _spec(tmp_path, {"routing": "free", "router": {"init": "copy"}}, training=training)
    code, found = _check(spec)
    assert code == 2
    assert [d["code"] for d in found["diagnostics"] if d["severity"] == "error"] == ["GROW638"]
