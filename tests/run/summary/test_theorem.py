"""The terms of the theorem: from the schedules, the controls and the weights that a run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.anatomy.grown_format import without_siblings
from growc.engine.learning_rate import learning_rate
from growc.growth.graph import TrainNode
from growc.growth.open import open_spec
from growc.run.source import fresh_model
from growc.run.summary.theorem import LABEL
from tests.operators_cases import EXACT
from tests.run import tiny
from tests.run.summary.made import BOTH, CONSTANT, Node, arm, finished, graph, stages

WSD = {"name": "wsd", "warmup": 0.1, "anneal": 0.2}
ADAM = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 3e-3}, "schedule": WSD}


def loss(node: Node) -> float:
    return {"fixed_source/cpt": 2.1, "fixed_target/cpt": 2.0}.get(node.name, 2.05)


def rates(node: TrainNode, steps: int) -> float:
    schedule, peak = node.training.schedule, node.training.optimizer.lr
    return sum(learning_rate(schedule, peak, step, node.steps) for step in range(steps))


@pytest.mark.parametrize(("start", "taken"), [("pretrain.stable", 8), ("pretrain", 10)])
def test_phi_is_the_share_of_the_rates_that_were_really_used(tmp_path: Path, start: str, taken: int) -> None:
    built = graph(tmp_path, baselines=BOTH, training=CONSTANT | {"schedule": WSD}, stages=stages(start))
    found = arm(finished(tmp_path / "run", built, loss))["theorem"]
    trunk, after = built.node("pretrain"), built.node("cpt")
    assert isinstance(trunk, TrainNode) and isinstance(after, TrainNode)
    before, rest = rates(trunk, taken), rates(after, 10)
    assert found["phi"] == pytest.approx(before / (before + rest))
    assert found["capacity_term"] == pytest.approx(found["phi"] * 0.1)
    assert found["label"] == LABEL
    assert (found["phi"] == pytest.approx(taken / (taken + 10))) == (taken == 10), (
        "tau / T only where all stages anneal"
    )


def test_under_a_constant_rate_phi_is_the_share_of_the_steps(tmp_path: Path) -> None:
    found = arm(finished(tmp_path / "run", graph(tmp_path), loss))["theorem"]
    assert found["phi"] == pytest.approx(0.5)
    assert found["capacity_term"] is None
    assert found["why"]["capacity_term"] == "it needs both controls"


def test_states_that_are_gone_leave_the_second_term_null(tmp_path: Path) -> None:
    found = arm(finished(tmp_path / "run", graph(tmp_path), loss))["theorem"]
    assert found["phi"] is not None
    assert found["init_term"] == {}
    assert found["why"]["init_term"] == "the state stages/cpt/checkpoint/training is gone"


def test_two_growths_are_more_than_the_theorem_knows(tmp_path: Path) -> None:
    more = [*stages(), {"name": "again", "grow": [{"op": "expert_upcycling", **EXACT}]}]
    found = arm(finished(tmp_path / "run", graph(tmp_path, stages=more), loss))["theorem"]
    assert (found["phi"], found["capacity_term"], found["init_term"]) == (None, None, {})
    assert "more than once (upcycle, again)" in found["why"]["phi"]


def test_nothing_trained_after_the_growth_has_no_end(tmp_path: Path) -> None:
    found = arm(finished(tmp_path / "run", graph(tmp_path, stages=stages()[:2]), loss))["theorem"]
    assert found["phi"] == 1
    assert found["why"]["init_term"] == "nothing was trained after the growth"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds on two ranks, so that states lie in shards of several processes."""
    folder = tmp_path_factory.mktemp("run")
    chain: list[dict[str, Any]] = [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
        {"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT, "factor": 3}]},
        {"name": "cpt", "train": {"steps": 6, "data": "cpt"}},
    ]
    sweep = {"training.seed": [0, 1]}
    path = tiny.spec(folder, "glm4_moe", training=ADAM, stages=chain, sweep=sweep, baselines=["fixed_target"])
    tiny.run(path, folder / "run", 2)
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_distances_are_those_of_the_weights_that_growth_added(run_dir: Path, seed: int) -> None:
    """Against all weights in memory at once; the random start is the one of fixed_target, by the same seed."""
    final, grown = (
        tiny.tensors(run_dir / f"stages/seed={seed}/{stage}/checkpoint/training") for stage in ("cpt", "upcycle")
    )
    plan = json.loads((run_dir / "plan.json").read_text(encoding="utf-8"))
    built = open_spec(Path(plan["spec_path"])).graph
    target = built.node(f"seed={seed}/cpt").after
    assert target.expert_field is not None
    config = without_siblings(target.config, target.expert_field)
    assert config == built.node(f"seed={seed}/fixed_target/pretrain").before.config
    random = dict(fresh_model(config, seed).named_parameters())
    found = arm(tiny.summary(run_dir), seed=str(seed))["theorem"]
    assert set(found["init_term"]) == {str(site.layer) for site in target.moe}
    copies = [index for index in range(24) if index % 3]
    for site in target.moe:
        moved, apart = (
            torch.cat([(final[f"model.{name}"] - other(name))[copies].flatten() for name in site.expert_tensors]).norm()
            for other in (lambda name: grown[f"model.{name}"], lambda name: random[name].detach())
        )
        assert found["init_term"][str(site.layer)] == pytest.approx(float(moved / apart), rel=1e-5)
        assert 0 < found["init_term"][str(site.layer)] < 1


@pytest.mark.slow
def test_a_finished_run_writes_the_same_terms_again(run_dir: Path) -> None:
    before = tiny.summary(run_dir)
    plan = json.loads((run_dir / "plan.json").read_text(encoding="utf-8"))
    (run_dir / "summary.json").unlink()
    tiny.run(Path(plan["spec_path"]), run_dir, 1)
    assert tiny.summary(run_dir) == before
