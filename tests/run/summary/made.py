"""Finished runs of real growth graphs, their measurements made up: no model is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from growc.files.atomic import read_json, write_json
from growc.growth.graph import GrowNode, GrowthGraph, TrainNode
from growc.growth.open import open_spec
from growc.records.folder import RunFolder
from growc.records.metrics import Row, append_rows
from growc.run.summary import write_summary
from tests.operators_cases import EXACT
from tests.run import tiny

Node = TrainNode | GrowNode
BOTH = ["fixed_source", "fixed_target"]
WINDOWS = np.array([-0.3, 0.1, 0.25, -0.05])
"""What windows have in common in all arms."""

CONSTANT: dict[str, Any] = {
    "batch_tokens": 256,
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "schedule": {"name": "constant"},
    "validate_every": 2,
}


def stages(start: str = "pretrain") -> list[dict[str, Any]]:
    """Ten steps, growth from `start`, ten steps."""
    return [
        {"name": "pretrain", "train": {"steps": 10, "data": "pretrain"}},
        {"name": "upcycle", "from": start, "grow": [{"op": "expert_upcycling", **EXACT}]},
        {"name": "cpt", "train": {"steps": 10, "data": "cpt"}},
    ]


def graph(folder: Path, **changes: Any) -> GrowthGraph:
    """The growth graph of the tiny spec with `changes`."""
    changes = {"training": CONSTANT, "stages": stages()} | changes
    return open_spec(tiny.spec(folder, "glm4_moe", **changes)).graph


def finished(
    folder: Path,
    built: GrowthGraph,
    loss: Callable[[Node], float],
    *,
    curve: Callable[[TrainNode, int], float] | None = None,
    seconds: Callable[[TrainNode], Sequence[float]] | None = None,
    own: Callable[[Node], Sequence[float]] | None = None,
    **result: Any,
) -> dict[str, Any]:
    """Write what every node leaves, and the summary; returns the summary.

    Args:
        folder: of the run.
        built: the graph.
        loss: the validation loss at the end of a node.
        curve: the validation loss of a node after a step; none is written without it.
        seconds: of every step of a node.
        own: by window, what a node has beyond its loss and what all have in common.
        result: more for `result.json` of every train node.
    """
    run = RunFolder(folder)
    for node in built.nodes:
        at = run.stage(node.name)
        at.mkdir(parents=True)
        extra = np.array(own(node) if own else np.zeros(len(WINDOWS)))
        losses = (loss(node) + WINDOWS + extra).tolist()
        if isinstance(node, GrowNode):
            replicas = {site.layer: [2] * site.num_experts for site in node.before.moe}
            before = (loss(node) - 0.1 + WINDOWS).tolist()
            write_json(run.result(node.name), {
                "val_losses": losses, "val_losses_before": before, "predicted_val_losses": losses, "k_eff": {},
                "seconds": 5.0, "operators": [{"op": "expert_upcycling", "replicas": replicas, "scores": {}}],
            })  # fmt: skip
            continue
        write_json(run.result(node.name), {"val_losses": losses, "load": {}, "sibling_cosine": {}} | result)
        each = seconds(node) if seconds else [1.0] * node.steps
        rows: list[Row] = []
        for step, spent in enumerate(each, start=1):
            rows.append(Row(step, loss=2.0, tokens_per_second=node.training.batch_tokens / spent))
            if curve and node.training.validate_every and step % node.training.validate_every == 0:
                rows.append(Row(step, val_loss=curve(node, step)))
        append_rows(run.metrics(node.name), [*rows, Row(node.steps, val_loss=loss(node))])
    write_summary(run, built)
    return read_json(run.summary)


def arm(summary: dict[str, Any], name: str = "main", **point: str) -> dict[str, Any]:
    """One entry of `arms`."""
    (found,) = [a for a in summary["arms"] if a["arm"] == name and point.items() <= a["point"].items()]
    return found


def group(summary: dict[str, Any], name: str = "main", **point: str) -> dict[str, Any]:
    """One entry of `groups`."""
    (found,) = [g for g in summary["groups"] if g["arm"] == name and point.items() <= g["point"].items()]
    return found
