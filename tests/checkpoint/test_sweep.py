"""`growc grow` with a spec that has a sweep: the stage of one of its points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growc.diagnostics import GrowcError
from tests.checkpoint.folders import Place, place
from tests.operators_cases import EXACT


@pytest.fixture
def there(tmp_path: Path) -> Place:
    there = place(tmp_path, "qwen3_moe", {})
    spec = json.loads(there.spec.read_text())
    there.spec.write_text(json.dumps(spec | {"sweep": {"stages[upcycle].grow[0].factor": [2, 3]}}))
    return there


def _experts(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text())
    (experts,) = {sum(layer["replicas"]) for layer in config["growc"]["layers"].values()}
    return experts


def test_a_stage_is_named_with_its_point(there: Place) -> None:
    there.grow(stage="factor=3/upcycle")
    assert _experts(there.grown) == 24


def test_a_stage_of_several_points_is_refused_with_their_names(there: Place) -> None:
    with pytest.raises(GrowcError) as caught:
        there.grow(stage="upcycle")
    (found,) = caught.value.diagnostics
    assert found.code == "GROW651"
    assert "factor=2/upcycle, factor=3/upcycle" in found.help
    assert found.span is not None
    assert not there.grown.exists()
    with pytest.raises(GrowcError, match="did you mean factor=3/upcycle"):
        there.grow(stage="factor=4/upcycle")


def test_a_stage_that_all_points_share_keeps_its_name(there: Place) -> None:
    spec = json.loads(there.spec.read_text())
    stages = [*spec["stages"], {"name": "again", "grow": [{"op": "expert_upcycling", **EXACT}]}]
    there.spec.write_text(json.dumps(spec | {"stages": stages, "sweep": {"stages[again].grow[0].factor": [2, 3]}}))
    there.grow(stage="upcycle")
    assert _experts(there.grown) == 16
