"""The readings, one small file for each operator that grows one folder.

Each has `read`, which says for a step what the tensors of the grown model must hold that are not the source's as they
are, and refuses a lineage that records other decisions (GROW665).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from growc.audit.step import Reading, Step

READ = (
    "deepen",
    "ders",
    "drop_upcycling",
    "expert_pruning",
    "expert_slimming",
    "expert_upcycling",
    "grove",
    "hypercloning",
    "merge_duplicates",
    "noise_upcycling",
    "release_siblings",
    "router_upcycling",
    "sparse_upcycling",
    "stack",
    "virtual_group_upcycling",
    "widen",
)
"""The operators that have a reading; all others mix several models."""


def reading(op: str) -> Callable[[Step[Any]], Reading]:
    """`read` of the operator called `op`, one of `READ`."""
    return cast(Callable[[Step[Any]], Reading], import_module(f"growc.audit.readings.{op}").read)
