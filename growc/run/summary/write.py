"""`summary.json`: what every stage reached, and how every arm compares with its controls."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from growc.checks.findings import strictest
from growc.files.atomic import write_json
from growc.growth.graph import GrowNode, GrowthGraph
from growc.run.folder import RunFolder
from growc.run.summary import arms, groups
from growc.run.summary.arms import Arm
from growc.run.summary.controls import CONTROLS, control
from growc.run.summary.groups import Group
from growc.run.summary.theorem import RandomStart, theorem
from growc.run.summary.ways import Measured, Way, measure, paces, way


def write_summary(folder: RunFolder, graph: GrowthGraph) -> None:
    """Put the results of all stages and arms together; one process, after the last stage."""
    measured = {node.name: measure(folder, node) for node in graph.nodes}
    pace = paces(measured)
    found = compare(folder, [way(graph, path, measured, pace) for path in graph.paths])
    together = groups.grouped(found, graph.seed_axes)
    grown = [group for group in together if group.name == "main"]
    stages = {name: _stage(each) for name, each in measured.items()}
    invariants = [
        _loss(node.name, stages[node.name], bound[0])
        for node in graph.grow_nodes()
        if (bound := strictest(node, lambda invariants: invariants.loss and invariants.loss.max_increase))
    ]
    write_json(
        folder.summary,
        {
            "name": graph.name,
            "stages": stages,
            "comparison": comparison(grown),
            "invariants": invariants,
            "arms": [arms.record(arm) for arm in found],
            "groups": [groups.record(group) for group in together],
        },
    )


def compare(folder: RunFolder, ways: Sequence[Way]) -> list[Arm]:
    """Every way with its controls, and with the theorem's terms where it grows."""
    found, random = list[Arm](), RandomStart()
    for each in ways:
        arm = Arm(each, {name: control(each, ways, name) for name in CONTROLS}, None)
        if arm.grows:
            source, target = (arm.control(name) for name in CONTROLS)
            gap = float((source.end.losses - target.end.losses).mean()) if source and target else None
            arm = Arm(each, arm.controls, theorem(each, gap, folder, random))
        found.append(arm)
    return found


def comparison(grown: Sequence[Group]) -> dict[str, Any]:
    """The grown arm against its controls: of the only one, or over the seeds of the only group.

    `noise` is the standard error of `gap` in nats, over validation windows for one arm, over seeds for several.
    """
    names = ("eta", "eta_noise", "gap", "noise", "saving", "sunk_saving", "why_null")
    if len(grown) > 1:
        return dict.fromkeys(names) | {"why_null": "a sweep: see arms and groups"}
    (group,) = grown
    if len(group.arms) == 1:
        return {name: value for name, value in arms.record(group.arms[0]).items() if name in names}
    over = groups.record(group)
    return {name: over[_OVER_SEEDS.get(name, name)] for name in names}


_OVER_SEEDS = {"eta_noise": "eta_se", "noise": "gap_se"}
"""What the comparison calls otherwise than a group does."""


def _loss(name: str, stage: dict[str, Any], limit: float) -> dict[str, Any]:
    increase = stage["val_loss_after"] - stage["val_loss_before"]
    status = "held" if increase <= limit else "broken"  # a NaN does not hold
    return {"name": "loss", "stage": name, "status": status, "value": increase, "limit": limit}


def _dry_run(dry: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a release of siblings was foretold to do: the loss, and the share of colliding selections by layer."""
    return dry and {"val_loss": float(np.mean(dry["val_losses"])), "collisions": dry["collisions"]}


def _skipping(measured: dict[str, Any] | None) -> dict[str, Any] | None:
    """What dynamic skipping would do to the pruned model: the loss, and by layer beta and the share of calls."""
    return measured and {
        "val_loss": float(np.mean(measured["val_losses"])),
        "beta": measured["beta"],
        "skipped": measured["skipped"],
    }


def _stage(measured: Measured) -> dict[str, Any]:
    node, result = measured.node, measured.result
    after = node.after
    common = {
        "arm": node.arm,
        "kind": node.kind,
        "from": node.origin,
        "val_loss": float(measured.losses.mean()),
        "total_params": after.cost.total_params,
        "active_params": after.active_params,
        "seconds": result["seconds"] if isinstance(node, GrowNode) else sum(measured.step_seconds),
    }
    if isinstance(node, GrowNode):
        predicted = result.get("predicted_val_losses")
        return common | {
            "val_loss_before": float(np.mean(result["val_losses_before"])),
            "val_loss_after": common["val_loss"],
            "dry_run": _dry_run(result.get("dry_run")),
            "skipping": _skipping(result.get("skipping")),
            "predicted_val_loss": float(np.mean(predicted)) if predicted else None,
            "k_eff": result.get("k_eff"),
            # Which units every expert keeps is in the journal: there may be millions.
            "operators": [{key: told for key, told in done.items() if key != "units"} for done in result["operators"]],
        }
    return common | {
        "seconds_per_step": median(measured.step_seconds) if measured.step_seconds else None,
        "steps": node.steps,
        "tokens": node.tokens,
        "load": result["load"],
        "sibling_cosine": result["sibling_cosine"],
    }
