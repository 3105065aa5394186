"""What the summary says of each arm: shares of the gap, savings, and when the grown arm passes the source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from growc.files.atomic import read_json
from growc.growth.graph import GrowNode, GrowthGraph, TrainNode
from growc.records.folder import RunFolder
from growc.run.summary import write_summary
from tests.run.summary.made import BOTH, CONSTANT, WINDOWS, Node, arm, finished, graph, stages

ENDS = {"cpt": 2.06, "fixed_source/cpt": 2.1, "fixed_target/cpt": 2.0}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> GrowthGraph:
    return graph(tmp_path_factory.mktemp("spec"), baselines=BOTH)


def ends(node: Node) -> float:
    return ENDS.get(node.name, 2.5)


def small(node: Node) -> bool:
    return node.before.cost.total_params == node.before.cost.total_params and node.name in {
        "pretrain",
        "fixed_source/cpt",
    }


def test_without_a_sweep_the_comparison_is_that_of_the_grown_arm(tmp_path: Path, built: GrowthGraph) -> None:
    own = {"cpt": [0.001, -0.001, 0.002, 0.0], "fixed_source/cpt": [0.0, 0.002, 0.0, -0.001]}
    summary = finished(tmp_path, built, ends, own=lambda node: own.get(node.name, [0.0] * 4))
    gap = 0.1 + np.array(own["fixed_source/cpt"])
    gain = 0.04 + np.array(own["fixed_source/cpt"]) - np.array(own["cpt"])
    eta = gain.mean() / gap.mean()
    assert summary["comparison"] == pytest.approx({
        "eta": eta,
        "eta_noise": (gain - eta * gap).std(ddof=1) / 2 / gap.mean(),
        "gap": gap.mean(),
        "noise": gap.std(ddof=1) / 2,
        "saving": 0.0,
        "sunk_saving": 0.5,
        "why_null": None,
    })  # fmt: skip
    assert arm(summary)["vs_source"] == pytest.approx(-gain.mean())
    assert arm(summary)["vs_source_noise"] == pytest.approx(gain.std(ddof=1) / 2)
    assert arm(summary)["controls"] == {"fixed_source": "fixed_source/cpt", "fixed_target": "fixed_target/cpt"}
    assert arm(summary, "fixed_source")["why_null"] == "a control"


def test_every_stage_has_what_the_contract_asks(tmp_path: Path, built: GrowthGraph) -> None:
    found = finished(tmp_path, built, ends)["stages"]
    assert set(found) == {node.name for node in built.nodes}
    for node in built.nodes:
        assert found[node.name]["val_loss"] == pytest.approx(ends(node))
        assert found[node.name]["seconds"] == pytest.approx(5.0 if isinstance(node, GrowNode) else 10.0)
    assert found["upcycle"]["val_loss_after"] - found["upcycle"]["val_loss_before"] == pytest.approx(0.1)


def test_savings_are_those_of_the_papers_equations(tmp_path: Path, built: GrowthGraph) -> None:
    """(tau / T) * (1 - s_E / s_mE), and tau / T with the source at hand: 2.2 s and 4.2 s, as the paper measured."""

    def seconds(node: TrainNode) -> Sequence[float]:
        return [2.2 if node.name in {"pretrain", "fixed_source/cpt"} else 4.2] * node.steps

    found = arm(finished(tmp_path, built, ends, seconds=seconds))
    assert found["saving"] == pytest.approx(0.5 * (1 - 2.2 / 4.2))
    assert found["sunk_saving"] == pytest.approx(0.5)
    assert found["seconds"] == pytest.approx(10 * 2.2 + 10 * 4.2)


def test_steps_of_a_busy_machine_and_after_a_resumption_do_not_count(tmp_path: Path, built: GrowthGraph) -> None:
    def seconds(node: TrainNode) -> Sequence[float]:
        steady = 2.0 if node.name in {"pretrain", "fixed_source/cpt"} else 4.0
        disturbed = {"cpt": {0: 900.0, 5: 60.0, 6: 60.0}, "pretrain": {0: 300.0}, "fixed_target/cpt": {3: 40.0}}
        return [disturbed.get(node.name, {}).get(step, steady) for step in range(node.steps)]

    summary = finished(tmp_path, built, ends, seconds=seconds)
    assert arm(summary)["saving"] == pytest.approx(0.25)
    assert summary["stages"]["cpt"]["seconds"] == pytest.approx(7 * 4 + 900 + 120)
    assert summary["stages"]["cpt"]["seconds_per_step"] == 4.0


def test_a_way_that_leaves_before_the_anneal_counts_no_more(tmp_path: Path) -> None:
    schedule = {"name": "wsd", "warmup": 0.1, "anneal": 0.2}
    annealed = graph(
        tmp_path, baselines=BOTH, training=CONSTANT | {"schedule": schedule}, stages=stages("pretrain.stable")
    )
    found = arm(finished(tmp_path / "run", annealed, ends))
    assert found["tokens"] == (8 + 10) * 256
    assert found["seconds"] == pytest.approx(18)
    before, after = (next(n for n in annealed.nodes if n.name == name).after.cost for name in ("pretrain", "cpt"))
    assert found["train_flops"] == 3 * 256 * (8 * before.flops_per_token + 10 * after.flops_per_token)


@pytest.mark.parametrize(
    ("mine", "tokens", "why"),
    [
        ([2.4, 2.25, 2.15, 2.05], 6 * 256, None),
        ([2.2, 2.1, 2.0, 1.9], 2 * 256, None),
        ([2.2, 2.5, 2.0, 1.9], 6 * 256, None),
        ([2.2, 2.1, 2.0, 2.3], None, "the grown arm ends no better than fixed_source"),
        ([2.3, 2.2, 2.16, 2.1], None, "the grown arm ends no better than fixed_source"),
    ],
)
def test_when_the_grown_arm_passes_the_source(
    tmp_path: Path, built: GrowthGraph, mine: list[float], tokens: int | None, why: str | None
) -> None:
    """Validated after 2, 4, 6, 8 and 10 steps; it must stay below."""
    theirs = [2.3, 2.2, 2.16, 2.1]

    def curve(node: TrainNode, step: int) -> float:
        losses = mine if node.name == "cpt" else theirs
        return [*losses, losses[-1]][step // 2 - 1]

    def loss(node: Node) -> float:
        return {"cpt": mine[-1], "fixed_source/cpt": theirs[-1]}.get(node.name, 2.5)

    found = arm(finished(tmp_path, built, loss, curve=curve))
    assert found["tokens_to_pass_source"] == tokens
    assert found["why"].get("tokens_to_pass_source") == why


def test_without_validations_nobody_knows_when(tmp_path: Path, built: GrowthGraph) -> None:
    found = arm(finished(tmp_path, built, ends))
    assert found["tokens_to_pass_source"] is None
    assert "set training.validate_every" in found["why"]["tokens_to_pass_source"]


@pytest.mark.parametrize(
    ("baselines", "why"),
    [
        ([], "there is no fixed_source: add it to baselines; there is no fixed_target: add it to baselines"),
        (["fixed_source"], "there is no fixed_target: add it to baselines"),
    ],
)
def test_what_a_missing_control_leaves_null(tmp_path: Path, baselines: list[str], why: str) -> None:
    found = arm(finished(tmp_path / "run", graph(tmp_path, baselines=baselines), ends))
    assert found["eta"] is None and found["saving"] is None and found["theorem"]["capacity_term"] is None
    assert found["why_null"] == f"eta needs both controls: {why}"
    assert found["why"]["saving"] == "there is no fixed_target: add it to baselines"
    assert found["tokens_to_pass_source"] is None
    assert (found["why"]["tokens_to_pass_source"] == "there is no fixed_source: add it to baselines") == (not baselines)


def test_nothing_that_grows_has_nothing_to_close(tmp_path: Path) -> None:
    summary = finished(tmp_path / "run", graph(tmp_path, stages=stages()[:1]), ends)
    assert summary["comparison"]["why_null"] == "nothing grows"
    assert arm(summary)["theorem"] is None


def test_loads_and_siblings_are_those_of_the_end(tmp_path: Path, built: GrowthGraph) -> None:
    load = {"1": [100, 100, 200, 0], "2": [0, 0, 0, 0], "3": [996, 1000, 1000, 4]}
    found = arm(finished(tmp_path, built, ends, load=load, sibling_cosine={"1": 0.9}))
    assert found["load"] == {
        "1": {"max_over_mean": 2.0, "dead": 1},
        "2": {"max_over_mean": 0.0, "dead": 4},
        "3": {"max_over_mean": pytest.approx(4 / 3), "dead": 1},
    }
    assert found["sibling_cosine"] == {"1": 0.9}
    assert found["val_loss_after_growth"] - found["val_loss_before_growth"] == pytest.approx(0.1)


def test_metrics_that_are_gone_take_only_the_seconds_along(tmp_path: Path, built: GrowthGraph) -> None:
    finished(tmp_path, built, ends)
    run = RunFolder(tmp_path)
    for name in ("pretrain", "fixed_source/cpt"):
        (run.stage(name) / "metrics.jsonl").unlink()
    write_summary(run, built)
    summary: dict[str, Any] = read_json(run.summary)
    assert arm(summary)["eta"] == pytest.approx(0.4)
    assert arm(summary)["saving"] is None
    assert "the metrics of a stage are gone" in arm(summary)["why"]["saving"]


def test_windows_are_all_alike_in_what_they_have_in_common(tmp_path: Path, built: GrowthGraph) -> None:
    summary = finished(tmp_path, built, ends)
    assert WINDOWS.std() > 0.2
    assert summary["comparison"]["noise"] == pytest.approx(0, abs=1e-12)
