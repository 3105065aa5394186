"""`summary.json`: what every stage reached, and how the grown arm compares with its controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from growc.checkpoint.atomic import read_json, write_json
from growc.growth.graph import GrowNode, GrowthGraph, TrainNode
from growc.run.folder import RunFolder
from growc.run.journal import rows
from growc.spec import Spec

NOISE_FACTOR = 3
"""A gap that is smaller than this many standard errors means nothing, and neither does a share of it."""


def write_summary(folder: RunFolder, graph: GrowthGraph, spec: Spec) -> None:
    """Put the results of all stages together. The report and `growc report` read nothing else of a stage but this."""
    stages = {node.name: _stage(folder, node) for node in graph.nodes}
    invariants = [
        {"name": "loss", "stage": node.name, "status": "held",
         "value": stages[node.name]["val_loss_after"] - stages[node.name]["val_loss_before"],
         "limit": spec.invariants.loss.max_increase}
        for node in graph.grow_nodes()
        if spec.invariants.loss
    ]  # fmt: skip
    comparison = _comparison(folder, graph, stages)
    write_json(
        folder.summary,
        {"name": graph.name, "stages": stages, "comparison": comparison, "invariants": invariants},
    )


def _stage(folder: RunFolder, node: TrainNode | GrowNode) -> dict[str, Any]:
    result = _result(folder, node.name)
    after = node.after.cost
    common = {
        "arm": node.arm,
        "kind": node.kind,
        "from": str(node.start),
        "val_loss": float(np.mean(result["val_losses"])),
        "total_params": after.total_params,
        "active_params": after.active_params,
    }
    if isinstance(node, GrowNode):
        predicted = result.get("predicted_val_losses")
        return common | {
            "seconds": result["seconds"],
            "val_loss_before": float(np.mean(result["val_losses_before"])),
            "val_loss_after": float(np.mean(result["val_losses"])),
            "predicted_val_loss": float(np.mean(predicted)) if predicted else None,
            "k_eff": result.get("k_eff"),
            "operators": result["operators"],
        }
    metrics = [r for r in rows(folder.stage(node.name) / "metrics.jsonl") if "loss" in r]
    return common | {
        "seconds": sum(node.training.batch_tokens / r["tokens_per_second"] for r in metrics),
        "steps": node.steps,
        "tokens": node.tokens,
        "load": result["load"],
        "sibling_cosine": result["sibling_cosine"],
    }


def _comparison(folder: RunFolder, graph: GrowthGraph, stages: dict[str, Any]) -> dict[str, Any]:
    """Gap closure and saving of the grown arm, each null with its reason where it means nothing.

    eta = (L_fixed_source - L_grown) / (L_fixed_source - L_fixed_target) (arXiv 2604.19835, Eq. 3-4); `noise` is the
    standard error in nats of that denominator, over validation windows, paired. It knows nothing of the spread
    between seeds. saving = 1 - seconds(grown arm) / seconds(fixed_target arm) (Eq. 1-2, measured).
    """
    ends = {arm: _last(graph, arm) for arm in ("main", "fixed_source", "fixed_target")}
    names = ("eta", "eta_noise", "gap", "noise", "saving", "sunk_saving", "why_null")
    found: dict[str, Any] = dict.fromkeys(names)
    grown, small, large = (ends[arm] for arm in ("main", "fixed_source", "fixed_target"))
    if grown is None or not any(graph.grow_nodes()):
        return found | {"why_null": "nothing grows"}
    if large is not None:
        mine, theirs = (_seconds(graph, stages, end) for end in (grown, large))
        found["saving"] = 1 - sum(mine.values()) / sum(theirs.values())
        first_growth = next(graph.grow_nodes()).name
        sunk = sum(seconds for name, seconds in mine.items() if name in _ancestors(graph, first_growth))
        found["sunk_saving"] = 1 - (sum(mine.values()) - sunk) / sum(theirs.values())
    if small is None or large is None:
        return found | {"why_null": "eta needs both baselines, fixed_source and fixed_target"}
    losses = {arm: np.array(_result(folder, end)["val_losses"]) for arm, end in ends.items() if end}
    gap, gain = losses["fixed_source"] - losses["fixed_target"], losses["fixed_source"] - losses["main"]
    found["gap"] = float(gap.mean())
    if len(gap) < 2:
        return found | {"why_null": "one validation window has no noise to compare with"}
    found["noise"] = _standard_error(gap)
    if found["gap"] < NOISE_FACTOR * found["noise"]:
        return found | {
            "why_null": f"the controls differ by {found['gap']:.4f} nats, under {NOISE_FACTOR} times the noise"
        }
    eta = float(gain.mean() / gap.mean())
    return found | {"eta": eta, "eta_noise": _standard_error(gain - eta * gap) / found["gap"]}


def _standard_error(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _last(graph: GrowthGraph, arm: str) -> str | None:
    return next((node.name for node in reversed(graph.nodes) if node.arm == arm), None)


def _ancestors(graph: GrowthGraph, name: str) -> list[str]:
    path: list[str] = []
    start = graph.node(name).start
    while start.node is not None:
        path.append(start.node)
        start = graph.node(start.node).start
    return path


def _seconds(graph: GrowthGraph, stages: dict[str, Any], end: str) -> dict[str, float]:
    """Seconds of every stage that leads to `end`, `end` included."""
    return {name: stages[name]["seconds"] for name in [end, *_ancestors(graph, end)]}


def _result(folder: RunFolder, node: str) -> dict[str, Any]:
    return read_json(folder.stage(node) / "result.json")
