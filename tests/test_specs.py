"""The specs that growc ships: each is checked, and those of published models are planned at full size in seconds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from growc.checks import run_checks
from growc.diagnostics import Severity
from growc.growth.graph import TrainNode
from growc.growth.open import open_spec
from tests.small import context

pytestmark = pytest.mark.share(2)

SPECS = sorted((Path(__file__).parents[1] / "specs").glob("*.growth.yaml"))
EXPERIMENTS = sorted((Path(__file__).parents[1] / "specs").glob("*/*.growth.yaml"))
FULL_SIZE = {
    "qwen3_30b_a3b": (30.53, 3.35),
    "mixtral_8x7b": (46.70, 12.88),
    "kimi_k2": (1026.41, 32.86),
}
"""Billions of parameters and active parameters before growth, as counted elsewhere (embeddings included)."""

UPCYCLED = {
    "full_size_7b_to_13b": (7.64, 1.98, 1.15),
    "full_size_1b_10_layers": (1.26, 0.56, 0.144),
    "full_size_8_layers": (0.52, 0.36, 0.054),
    "full_size_full_moe_256_to_512": (1.18, 0.194, 0.040),
}
"""Billions of parameters, active ones, and active ones without embeddings, of arXiv 2604.19835, Tables 2, 6 and 7; of
the 8-layer model only the layout is given, for 32 experts, and these are counted by hand for the 16 it grows from."""

FROM_DENSE = {
    "full_size_branch_train_mix": (19.72, 11.07), "full_size_drop_upcycling": (18.58, 5.90),
    "full_size_bam": (1.571, 0.891),
}  # fmt: skip
"""Billions of parameters and active ones after growth; arXiv 2403.07816 gives 11.1 active, and 2502.19261 5.9. Those of
BAM are counted by hand: 24 layers of 4 attentions and, of 4 networks in all, one that is active, and the embeddings."""

DEEPER = {"full_size_solar": (7.24, 10.73), "full_size_llama_pro": (6.74, 8.36)}
"""Billions of parameters before and after growth in depth (arXiv 2312.15166: 10.7, and 2401.02415: 8.3)."""

PRUNED = {
    "full_size_mixtral_8x7b": (46.70, 12.88, 35.43, 12.88),
    "full_size_phi_3_5_moe": (41.87, 6.64, 7.65, 2.37),
}
"""Billions of parameters and active ones before and after the last growth (arXiv 2402.14800 and 2506.18349)."""

QUICK = {
    "bam", "branch_train_mix", "symphony", "nexus", "paper", "exact", "arms", "release", "full_size_8_layers",
    "pruning", "slimming",
}  # fmt: skip
"""The experiments that are checked among the fast tests: dozens of arms take their time."""


def _name(path: Path) -> str:
    return path.name.partition(".")[0]


@pytest.mark.parametrize("path", SPECS, ids=_name)
def test_a_shipped_spec_has_no_findings(path: Path) -> None:
    findings = run_checks(context(path))
    assert findings.diagnostics == ()
    assert {"active_flops", "loss", "preservation"} <= {i.name for i in findings.invariants}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_figures_of_a_published_model_are_right(name: str) -> None:
    path = next(path for path in SPECS if path.name.startswith(name))
    graph = context(path).graph
    billions = graph.source.cost.total_params / 1e9, graph.source.cost.active_params / 1e9
    assert billions == pytest.approx(FULL_SIZE[name], abs=0.006)
    change = graph.target.cost.flops_per_token / graph.source.cost.flops_per_token - 1
    assert 0 < change < 0.005


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=_name(p), marks=[] if _name(p) in QUICK else [pytest.mark.slow]) for p in EXPERIMENTS],
)
def test_an_experiment_has_the_findings_that_it_announces_and_says_what_it_is(path: Path) -> None:
    """The comment of a spec is all that a reader sees first: its command works, and its cost is the graph's."""
    given = context(path)
    findings, stem = run_checks(given), path.name.removesuffix(".growth.yaml")
    assert given.loaded.spec.name == stem
    text = path.read_text(encoding="utf-8")
    comment = text[: text.index("growth: 1")]
    assert {found.code for found in findings.diagnostics} == set(re.findall(r"GROW\d{3}", comment))
    assert all(found.severity is Severity.WARNING for found in findings.diagnostics)
    assert all(line.startswith("# ") for line in comment.splitlines())
    shown = f"specs/{path.parent.name}/{path.name}"
    if stem.startswith("full_size"):
        assert f"growc plan {shown}\n" in comment
        return
    assert f"growc run {shown} --run-dir runs/{stem}" in comment
    (steps,) = re.findall(r"([0-9,]+) steps of 2,048 tokens", comment)
    trained = [node for node in given.graph.nodes if isinstance(node, TrainNode)]
    assert int(steps.replace(",", "")) == sum(node.steps for node in trained)
    assert {node.training.batch_tokens for node in trained} == {2048}


@pytest.mark.parametrize("name", UPCYCLED)
def test_the_papers_models_have_the_papers_parameters(name: str) -> None:
    (path,) = (path for path in EXPERIMENTS if path.name.startswith(f"{name}."))
    source = open_spec(path).graph.source
    embeddings = 2 * source.config["vocab_size"] * source.config["hidden_size"]
    counted = source.cost.total_params, source.cost.active_params, source.cost.active_params - embeddings
    assert [count / 1e9 for count in counted] == pytest.approx(UPCYCLED[name], rel=0.01)


@pytest.mark.slow  # all stock classes are tried for the experts of a family that none can hold
@pytest.mark.parametrize("name", FROM_DENSE)
def test_mixtures_of_dense_models_have_the_papers_active_parameters(name: str) -> None:
    (path,) = (path for path in EXPERIMENTS if path.name.startswith(f"{name}."))
    cost = open_spec(path).graph.target.cost
    assert (cost.total_params / 1e9, cost.active_params / 1e9) == pytest.approx(FROM_DENSE[name], rel=0.001)


@pytest.mark.parametrize("name", DEEPER)
def test_deeper_models_have_the_published_size(name: str) -> None:
    (path,) = (path for path in EXPERIMENTS if path.name.startswith(f"{name}."))
    graph = open_spec(path).graph
    counted = [cost.total_params / 1e9 for cost in (graph.source.cost, graph.target.cost)]
    assert counted == pytest.approx(DEEPER[name], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRUNED)
def test_published_models_are_pruned_to_the_published_size(name: str) -> None:
    (path,) = (path for path in EXPERIMENTS if path.name.startswith(f"{name}."))
    graph = open_spec(path).graph
    costs = graph.source.cost, graph.target.cost
    counted = [count / 1e9 for cost in costs for count in (cost.total_params, cost.active_params)]
    assert counted == pytest.approx(PRUNED[name], rel=0.01)


def test_transition_timing_trains_its_trunk_once() -> None:
    """Five arms leave one trunk of a seed at five steps, and share two controls."""
    (path,) = (path for path in EXPERIMENTS if path.name.startswith("table3a"))
    graph = open_spec(path, ['sweep["training.seed"]=[0]']).graph
    trained = [(node.stage, node.arm) for node in graph.nodes if isinstance(node, TrainNode)]
    trunk = [stage for stage, arm in trained if stage.startswith("at_") and arm == "main"]
    assert sorted(trunk) == ["at_12", "at_25", "at_38", "at_5", "at_50"]
    assert trained.count(("cpt", "main")) == 5
    assert trained.count(("cpt", "fixed_source")) == trained.count(("cpt", "fixed_target")) == 1
    ends = {path.arm: path.nodes for path in graph.paths if path.arm != "main"}
    steps = {node.name: node.steps for node in graph.nodes if isinstance(node, TrainNode)}
    for nodes in (*ends.values(), *(path.nodes for path in graph.paths if path.arm == "main")):
        assert sum(steps.get(name, 0) for name in nodes) == 2000
