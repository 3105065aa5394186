"""For every operator of the table, the settings that the battery runs it with: the YAML beside `op`."""

from __future__ import annotations

from itertools import product
from typing import Any

EXPLICIT: dict[int, list[int]] = {2: [4, 1, 2, 1, 1, 3, 3, 1], 3: [6, 1, 2, 3, 5, 4, 2, 1]}
"""Uneven replicas of eight experts by factor; each half adds up too, for families with two routing groups."""

MEASURED: dict[int, dict[str, Any]] = {2: {"rule": "greedy", "cap": 3}, 3: {"rule": "proportional"}}


def _expert_upcycling() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for factor, routing in product((2, 3), ("exclusive", "free")):
        base = {"factor": factor, "routing": routing}
        explicit = {"allocation": {"rule": "explicit", "replicas": EXPLICIT[factor]}}
        name = f"{routing}-{factor}"
        cases[f"{name}-uniform"] = base
        cases[f"{name}-explicit"] = base | explicit
        cases[f"{name}-measured"] = base | {"allocation": MEASURED[factor]}
        cases[f"{name}-split"] = base | explicit | {"router": {"init": "split"}}
        cases[f"{name}-noise"] = base | explicit | {"router": {"bias_noise": 1e-3}}
    cases["exclusive-2-layer"] = {"layers": [1]}
    cases["free-2-layer"] = {"layers": [1], "routing": "free"}
    return cases


CASES: dict[str, dict[str, dict[str, Any]]] = {"expert_upcycling": _expert_upcycling()}

BIASED_ROUTERS = ("deepseek_v3", "deepseek_v3_groups", "glm4_moe", "gpt_oss")
"""The families whose router has a bias, so that noise can be put on it."""
