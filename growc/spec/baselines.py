"""The arms of a run: the main one, and the baselines beside it."""

from __future__ import annotations

from typing import Literal, get_args

Control = Literal["fixed_source", "fixed_target"]
"""Baselines that the main arm is compared with: the source that never grows, the target from its first token."""

Baseline = Literal[Control, "random_allocation", "scaled_top_k", "random_experts"]

CONTROLS: tuple[Control, ...] = get_args(Control)

MAIN = "main"
"""The arm that is the spec's own stages."""

ARMS: tuple[str, ...] = (MAIN, *get_args(Baseline))
"""All that there are, in the order in which they are shown."""
