"""Small specs as files, for tests that check, plan and print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from growc.checks import Context
from growc.growth.open import open_spec
from tests.families import FAMILIES
from tests.operators_cases import EXACT

UPCYCLE: dict[str, Any] = {"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT}]}
BOUNDS: dict[str, Any] = {
    "active_flops": {"max_change": 0.05},
    "loss": {"max_increase": 1e-5},
    "total_params": {"max": 1e6},
}


def spec(folder: Path, family: str = "qwen3_moe", **changes: Any) -> Path:
    """Write a spec that doubles the experts of a tiny model; `changes` replace or add sections."""
    values: dict[str, Any] = {
        "growth": 1,
        "name": "small",
        "model": {"config": FAMILIES[family]},
        "stages": [UPCYCLE],
        "invariants": BOUNDS,
    }
    path = folder / "small.growth.yaml"
    path.write_text(yaml.safe_dump(values | changes, sort_keys=False), encoding="utf-8")
    return path


def context(path: Path, *overrides: str) -> Context:
    """What the checks see of a spec."""
    opened = open_spec(path, overrides)
    return Context(opened.loaded, opened.source, opened.graph)
