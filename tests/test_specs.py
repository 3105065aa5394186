"""The specs that growc ships: each is checked, and those of published models are planned at full size in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from growc.checks import run_checks
from tests.small import context

SPECS = sorted((Path(__file__).parents[1] / "specs").glob("*.growth.yaml"))
FULL_SIZE = {
    "qwen3_30b_a3b": (30.53, 3.35),
    "mixtral_8x7b": (46.70, 12.88),
    "kimi_k2": (1026.41, 32.86),
}
"""Billions of parameters and active parameters before growth, as counted elsewhere (embeddings included)."""


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name.partition(".")[0])
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


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_published_model_is_planned_within_ten_seconds(name: str) -> None:
    """In CPU seconds, imports included: the wall clock of a busy machine says nothing."""
    path = next(path for path in SPECS if path.name.startswith(name))
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "growc", "plan", str(path), "--output-format", "json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    after = os.times()
    assert json.loads(done.stdout)["diagnostics"] == []
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    assert cpu < 10
