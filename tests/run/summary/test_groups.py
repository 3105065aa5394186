"""What the summary says over seeds, and which control an arm is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from growc.growth.graph import GrowthGraph
from tests.run.summary.made import BOTH, Node, arm, finished, graph, group

SEEDS = [0, 1, 2, 3]
ROUTING = {
    "free": {"stages[upcycle].grow[0].routing": "free"},
    "exclusive": {"stages[upcycle].grow[0].routing": "exclusive"},
}
OWN = {"exclusive": [0.001, 0.0, -0.002, 0.001], "free": [0.004, -0.003, 0.0, 0.002]}
"""By seed, in nats."""


def seed_of(node: Node) -> int:
    return node.training.seed


def loss(node: Node) -> float:
    """Seeds differ by tenths of a nat, and arms of a seed by hundredths."""
    seed = seed_of(node)
    common = 2.2 + 0.1 * seed
    if "fixed_source" in node.name:
        return common + 0.1
    if "fixed_target" in node.name:
        return common + 0.002 * seed
    name = "free" if "arm=free" in node.name else "exclusive"
    return common + (0.05 if name == "free" else 0.03) + OWN[name][seed]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> GrowthGraph:
    sweep: dict[str, Any] = {"training.seed": SEEDS, "arm": ROUTING}
    return graph(tmp_path_factory.mktemp("spec"), baselines=BOTH, sweep=sweep)


@pytest.fixture(scope="module")
def summary(built: GrowthGraph, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return finished(tmp_path_factory.mktemp("run"), built, loss)


def test_there_is_an_arm_for_every_point_and_baseline(summary: dict[str, Any]) -> None:
    assert len(summary["arms"]) == len(SEEDS) * 2 * 3
    assert len(summary["groups"]) == 2 * 3
    assert all(g["n"] == len(SEEDS) and g["seeds"] == SEEDS for g in summary["groups"])


def test_differences_are_taken_seed_by_seed(summary: dict[str, Any]) -> None:
    found = group(summary, arm="exclusive")
    apart = 0.03 - 0.1 + np.array(OWN["exclusive"])
    assert found["vs_source"] == pytest.approx(apart.mean())
    assert found["vs_source_se"] == pytest.approx(apart.std(ddof=1) / 2)
    assert found["val_loss_se"] > 0.06 > 50 * found["vs_source_se"]
    assert group(summary, "fixed_target", arm="exclusive")["vs_source"] == pytest.approx(-0.097)
    assert group(summary, "fixed_source", arm="exclusive")["vs_source"] is None


def test_the_share_of_a_group_is_that_of_the_means(summary: dict[str, Any]) -> None:
    found = group(summary, arm="exclusive")
    gaps = 0.1 - 0.002 * np.array(SEEDS)
    gains = 0.07 - np.array(OWN["exclusive"])
    eta = gains.mean() / gaps.mean()
    assert found["eta"] == pytest.approx(eta)
    assert found["eta_se"] == pytest.approx((gains - eta * gaps).std(ddof=1) / 2 / gaps.mean())
    assert (found["gap"], found["gap_se"]) == pytest.approx((gaps.mean(), gaps.std(ddof=1) / 2))
    assert found["why_null"] is None


def test_a_sweep_of_several_groups_has_no_single_comparison(summary: dict[str, Any]) -> None:
    comparison = dict(summary["comparison"])
    assert comparison.pop("why_null") == "a sweep: see arms and groups"
    assert set(comparison.values()) == {None}


def test_seeds_alone_are_one_comparison(tmp_path: Path) -> None:
    built = graph(tmp_path, baselines=BOTH, sweep={"training.seed": SEEDS})
    summary = finished(tmp_path / "run", built, loss)
    (found,) = [g for g in summary["groups"] if g["arm"] == "main"]
    assert found["point"] == {}
    assert summary["comparison"]["eta"] == found["eta"] is not None
    assert summary["comparison"]["eta_noise"] == found["eta_se"]
    assert summary["comparison"]["noise"] == found["gap_se"] > 0


def test_controls_whose_order_depends_on_the_seed_have_no_gap(tmp_path: Path, built: GrowthGraph) -> None:
    def unsure(node: Node) -> float:
        return loss(node) + (0.3 * (-1) ** seed_of(node) if "fixed_target" in node.name else 0.0)

    summary = finished(tmp_path, built, unsure)
    found = group(summary, arm="free")
    assert found["eta"] is None and found["eta_se"] is None
    assert "under 3 times the noise" in found["why_null"] and "over 4 seeds" in found["why_null"]
    assert arm(summary, seed="1", arm="free")["eta"] is not None, "over windows, one seed seems to know it well"
    assert found["vs_source"] is not None


def test_one_seed_has_a_share_but_no_error_over_seeds(tmp_path: Path) -> None:
    built = graph(tmp_path, baselines=BOTH, sweep={"arm": ROUTING})
    summary = finished(tmp_path / "run", built, loss)
    found = group(summary, arm="free")
    assert found["n"] == 1
    assert found["eta"] == pytest.approx(arm(summary, arm="free")["eta"])
    assert [found[key] for key in ("val_loss_se", "eta_se", "gap_se", "vs_source_se")] == [None] * 4


def baselines(**of: list[str]) -> dict[str, Any]:
    """An axis on which arms differ in their routing, and have baselines of their own or not."""
    routing = {"owner": "free", "guest": "exclusive", "other": "free"}
    extra: dict[str, dict[str, Any]] = {"other": {"stages[upcycle].grow[0].factor": 4}}
    return {
        "arm": {
            name: {"baselines": each, "stages[upcycle].grow[0].routing": routing[name], **extra.get(name, {})}
            for name, each in of.items()
        }
    }


def test_an_arm_without_controls_takes_those_of_another_with_the_same_seed_and_tokens(tmp_path: Path) -> None:
    sweep = {"training.seed": [0, 1], **baselines(owner=BOTH, guest=[])}
    summary = finished(tmp_path / "run", graph(tmp_path, sweep=sweep), loss)
    for seed in ("0", "1"):
        own, other = (arm(summary, seed=seed, arm=name) for name in ("owner", "guest"))
        assert own["controls"] == other["controls"]
        assert f"seed={seed}" in other["controls"]["fixed_target"]
        assert other["eta"] is not None


def test_a_target_of_another_size_is_no_control(tmp_path: Path) -> None:
    sweep = baselines(other=BOTH, guest=[])
    summary = finished(tmp_path / "run", graph(tmp_path, sweep=sweep), loss)
    found = arm(summary, arm="guest")
    assert set(found["controls"]) == {"fixed_source"}
    assert found["why_null"] == (
        "eta needs both controls: there is no fixed_target of seed 0, 5120 training tokens and the same model"
    )
    assert found["vs_source"] is not None


def test_controls_that_differ_are_not_chosen_between(tmp_path: Path) -> None:
    sweep: dict[str, Any] = {
        "arm": {
            "slow": {"baselines": BOTH, "training.optimizer.lr": 1e-4},
            "fast": {"baselines": BOTH, "training.optimizer.lr": 1e-2},
            "mine": {"baselines": [], "training.optimizer.lr": 1e-3},
        }
    }
    found = arm(finished(tmp_path / "run", graph(tmp_path, sweep=sweep), loss), arm="mine")
    assert found["controls"] == {}
    assert "there are 2 different fixed_source" in found["why_null"]
