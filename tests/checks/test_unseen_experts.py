"""A model whose config counts experts, and in which no mixture is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from growc.model import inspect
from tests.command_line import growc
from tests.families import FAMILIES

EXPERTS = {"mixtral": "num_local_experts", "deepseek_v3": "n_routed_experts", "gpt_oss": "num_local_experts"}


@pytest.fixture(params=EXPERTS)
def spec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec of one family, for a tracer that finds no mixture in it."""
    monkeypatch.setenv("GROWC_CACHE", "off")
    monkeypatch.setattr("growc.model.sites.Finder.moe", lambda *_: None)
    config = {**FAMILIES[request.param], "vocab_size": 250}  # of no other test, which would have traced it
    written = {
        "growth": 1,
        "name": "unseen",
        "model": {"config": config},
        "data": {"tokenizer": "bytes", "sequence_length": 16, "train": {"kind": "python_source"}},
        "training": {"batch_tokens": 64, "balance": {"method": "none"}},
        "stages": [{"name": "train", "train": {"steps": 1}}],
    }
    path = tmp_path / "unseen.growth.yaml"
    path.write_text(json.dumps(written))
    return path


def test_check_and_plan_warn_and_do_not_count_active_parameters(spec: Path) -> None:
    told = growc("check", spec, "--output-format", "json")
    assert told.exit_code == 0
    (found,) = json.loads(told.stdout)["diagnostics"]
    assert (found["code"], found["severity"]) == ("GROW407", "warning")
    assert "experts that growc did not find" in found["message"]
    plan: dict[str, Any] = json.loads(growc("plan", spec, "--output-format", "json").stdout)
    assert [found["code"] for found in plan["diagnostics"]] == ["GROW407"]
    (stage,) = plan["stages"]
    assert stage["model"]["active_params"] is None
    assert stage["model"]["total_params"] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_that_is_served_is_warned_of(family: str) -> None:
    graph = inspect(FAMILIES[family], 16)
    assert graph.unseen_experts is None
    assert graph.active_params == graph.cost.active_params
