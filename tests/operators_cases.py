"""Settings of expert upcycling, and what some families cannot do, for many tests."""

from __future__ import annotations

from typing import Any

EXACT: dict[str, Any] = {"routing": "exclusive", "router": {"init": "copy"}}
"""The settings of expert upcycling with which a grown model computes what its source did."""

EXPLICIT: dict[int, list[int]] = {2: [4, 1, 2, 1, 1, 3, 3, 1], 3: [6, 1, 2, 3, 5, 4, 2, 1]}
"""Uneven replicas of eight experts by factor; each half adds up too, for families with two routing groups."""

BIASED_ROUTERS = ("deepseek_v3", "deepseek_v3_groups", "glm4_moe", "gpt_oss")
"""The families whose router has a bias, so that noise can be put on it."""

FIXED_TOP_K = ("phimoe",)
"""The families that always choose the same number of experts, whatever their config says."""
