"""The plan of a sweep: readable for dozens of arms, and it says what sharing saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from growc.checks import loss
from growc.checks.twin import Twin
from growc.files.cache import OFF, VARIABLE
from growc.growth.open import open_spec
from growc.plan.build import build_plan
from growc.plan.freeze import drift, read_plan, write_plan
from growc.plan.render import render
from growc.plan.sweep_grouping import called, points, starts
from tests.command_line import growc
from tests.run import tiny

SWEEP: dict[str, Any] = {
    "training.seed": [0, 1, 2],
    "stages[upcycle].from": ["pretrain.stable", "pretrain"],
    "routing": {
        "free": {"stages[upcycle].grow[0].routing": "free"},
        "exclusive": {"invariants.active_flops.max_change": 0.5},
    },
}
BATCH = 256


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    invariants = {"active_flops": {"max_change": 0.05}, "loss": {"max_increase": 1e-5}}
    folder = tmp_path_factory.mktemp("sweep")
    return tiny.spec(folder, sweep=SWEEP, baselines=["fixed_source"], invariants=invariants)


def test_dozens_of_arms_are_a_screen(spec: Path) -> None:
    plan = build_plan(open_spec(spec))
    lines = render(plan).splitlines()
    assert len(plan.stages) == 3 + 3 * 4 * 2 + 3 * 2
    assert len(lines) < 48
    assert lines[2:5] == [
        "  sweep   seed: 0, 1, 2",
        "          from: pretrain.stable, pretrain",
        "          routing: free, exclusive",
    ]
    assert "train pretrain x3  from the source: 10 steps, 2.56 k tokens, 581.96 MFLOPs each" in lines
    assert "  at seed=0|1|2,from=pretrain.stable|pretrain,routing=free" in lines
    assert sum(line.startswith("grow upcycle x6  from pretrain.stable, pretrain:") for line in lines) == 2
    assert sum("expert_upcycling on 2 layers" in line for line in lines) == 2
    assert sum("all else as at seed=0|1|2,from=pretrain.stable|pretrain,routing=free" in line for line in lines) == 1
    assert sum("mlp.gate.weight" in line for line in lines) == 1, "both routings copy the same rows"
    assert sum("preservation at upcycle x6" in line for line in lines) == 2
    assert sum("+1.35%, limit +5.00%" in line for line in lines) == 1, "of the free arms"
    assert sum("+1.35%, limit +50.00%" in line for line in lines) == 1, "of the exclusive arms"


def test_what_sharing_saves(spec: Path) -> None:
    plan = build_plan(open_spec(spec))
    assert plan.sweep is not None
    assert (plan.sweep.points, plan.sweep.arms) == (12, 24)
    # Of a trunk per arm, three are trained; fixed_source is the same for both routings.
    assert plan.sweep.saved_stages == (24 - 3) + (12 - 6)
    assert plan.sweep.saved_tokens == 10 * BATCH * plan.sweep.saved_stages
    small = plan.stages[0].model.flops_per_token
    assert plan.sweep.saved_flops == pytest.approx(3 * small * plan.sweep.saved_tokens)
    assert plan.cost.train_tokens == {"main": 15 * 10 * BATCH, "fixed_source": 6 * 10 * BATCH}
    assert "Plan: 12 arms and 12 controls in 33 stages." in render(plan)
    assert "saves 27 stages: 69.12 k tokens" in render(plan)


def test_a_claim_is_proved_once_for_all_seeds(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proofs: list[Twin] = []
    prove = loss.prove

    def counted(twin: Twin, claim: Any) -> loss.Proof:
        proofs.append(twin)
        return prove(twin, claim)

    monkeypatch.setattr(loss, "prove", counted)
    monkeypatch.setenv(VARIABLE, OFF)
    plan = build_plan(open_spec(spec))
    assert len(proofs) == 2
    settled = [invariant.stage for invariant in plan.invariants if invariant.name == "preservation"]
    assert settled == [stage.name for stage in plan.stages if stage.kind == "grow"]


def test_a_broken_invariant_is_told_once(spec: Path) -> None:
    findings = build_plan(open_spec(spec, ["invariants.active_flops.max_change=0.001"])).findings()
    assert [found.code for found in findings] == ["GROW403"]


def test_the_plan_of_a_sweep_can_be_frozen(spec: Path, tmp_path: Path) -> None:
    opened = open_spec(spec)
    plan = build_plan(opened)
    write_plan(plan, tmp_path / "plan.json")
    again = read_plan(tmp_path / "plan.json")
    assert again == plan
    assert render(again) == render(plan)
    assert drift(again, opened) == []
    assert drift(again, open_spec(spec, ['sweep["training.seed"]=[0]'])) == ["spec"]


def test_every_source_of_a_sweep_counts_in_its_plan(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path, sweep={"model.config.num_experts_per_tok": [1, 2]})
    plan = build_plan(open_spec(path))
    assert "top 1 (AB2); inline config" in plan.source
    other = open_spec(path, ['sweep["model.config.num_experts_per_tok"]=[1, 3]'])
    assert drift(plan, other) == ["spec", "source"]


def test_json_of_a_sweep_has_the_keys_of_the_contract(spec: Path) -> None:
    result = growc("plan", spec, "--output-format", "json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown.keys() == {"name", "stages", "cost", "automatic", "diagnostics", "invariants"}
    names = {stage["name"] for stage in shown["stages"]}
    assert "seed=2,from=pretrain,routing=free/upcycle" in names
    assert {start.removesuffix(".stable") for stage in shown["stages"] for start in stage["from"]} <= names


def test_one_arm_by_set_is_planned_as_if_there_were_no_sweep(spec: Path) -> None:
    plan = build_plan(open_spec(spec, ["sweep={}"]))
    assert plan.sweep is None
    assert [stage.name for stage in plan.stages] == ["pretrain", "upcycle", "cpt", "fixed_source/cpt"]


def test_groups_are_named_by_what_is_common() -> None:
    assert called(["a=1/cpt", "a=2/cpt"]) == "cpt x2"
    assert starts(["a=1/x.stable", "a=2/x.stable", "y"]) == "x.stable, y"
    assert points(["a=1,b=1/x", "a=2,b=2/x"]) == "a=1,b=1; a=2,b=2"
    assert points([f"a={i},b={i}/x" for i in range(9)]) == "a=0,b=0; a=1,b=1; a=2,b=2 and 6 more"
    assert points(["a=1/x", "x"]) == "a=1; all others"
