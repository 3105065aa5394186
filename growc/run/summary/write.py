"""`summary.json`: what every stage reached, and how every arm compares with its controls."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from growc.checks.findings import loss_limit
from growc.files.atomic import write_json
from growc.growth.graph import GrowthGraph, TrainNode
from growc.plan.plan import InvariantRecord
from growc.records.folder import RunFolder
from growc.records.loss_invariant import loss_status
from growc.records.results import DryRunResult, SkippingResult
from growc.records.summary import (
    Comparison,
    DryRunRecord,
    GrowRecord,
    SkippingRecord,
    StageRecord,
    Summary,
    TrainRecord,
    summary_json,
)
from growc.run.summary import arms, groups
from growc.run.summary.arms import Arm
from growc.run.summary.controls import control
from growc.run.summary.groups import Group
from growc.run.summary.theorem import RandomStart, theorem
from growc.run.summary.ways import Measured, Way, measure, paces, way
from growc.spec.baselines import CONTROLS, MAIN


def write_summary(folder: RunFolder, graph: GrowthGraph) -> None:
    """Put the results of all stages and arms together; one process, after the last stage."""
    measured = {node.name: measure(folder, node) for node in graph.nodes}
    pace = paces(measured)
    found = compare(folder, [way(path, measured, pace) for path in graph.paths])
    together = groups.grouped(found, graph.seed_axes)
    invariants = [_loss(measured[node.name], bound[0]) for node in graph.grow_nodes() if (bound := loss_limit(node))]
    summary = Summary(
        comparison([group for group in together if group.name == MAIN]),
        tuple(invariants),
        tuple(map(arms.record, found)),
        tuple(map(groups.record, together)),
    )
    stages = {name: _stage(each) for name, each in measured.items()}
    write_json(folder.summary, summary_json(graph.name, stages, summary))


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


def comparison(grown: Sequence[Group]) -> Comparison:
    """The grown arm against its controls: of the only one, or over the seeds of the only group.

    `noise` is the standard error of `gap` in nats, over validation windows for one arm, over seeds for several.
    """
    if len(grown) > 1:
        return Comparison(why_null="a sweep: see arms and groups")
    (group,) = grown
    if len(group.arms) == 1:
        one = arms.record(group.arms[0])
        return Comparison(one.eta, one.eta_noise, one.gap, one.noise, one.saving, one.sunk_saving, one.why_null)
    over = groups.record(group)
    return Comparison(over.eta, over.eta_se, over.gap, over.gap_se, over.saving, over.sunk_saving, over.why_null)


def _loss(measured: Measured, limit: float) -> InvariantRecord:
    assert measured.grown is not None
    increase = measured.grown.increase
    status = loss_status(increase, limit)
    return InvariantRecord(name="loss", stage=measured.node.name, status=status, value=increase, limit=limit)


def _dry_run(dry: DryRunResult | None) -> DryRunRecord | None:
    return dry and DryRunRecord(_mean(dry.val_losses), dry.collisions)


def _skipping(found: SkippingResult | None) -> SkippingRecord | None:
    return found and SkippingRecord(_mean(found.val_losses), found.beta, found.skipped)


def _stage(measured: Measured) -> StageRecord:
    node, grown, trained = measured.node, measured.grown, measured.trained
    loss, cost, active = float(measured.losses.mean()), node.after.cost, node.after.active_params
    if grown is not None:
        return GrowRecord(
            arm=node.arm,
            kind=node.kind,
            origin=node.origin,
            val_loss=loss,
            total_params=cost.total_params,
            active_params=active,
            seconds=grown.seconds,
            val_loss_before=_mean(grown.val_losses_before),
            val_loss_after=loss,
            dry_run=_dry_run(grown.dry_run),
            skipping=_skipping(grown.skipping),
            predicted_val_loss=_mean(grown.predicted_val_losses) if grown.predicted_val_losses else None,
            k_eff=grown.k_eff,
            operators=tuple({key: told for key, told in done.items() if key != "units"} for done in grown.operators),
        )
    assert trained is not None and isinstance(node, TrainNode)
    return TrainRecord(
        arm=node.arm,
        kind=node.kind,
        origin=node.origin,
        val_loss=loss,
        total_params=cost.total_params,
        active_params=active,
        seconds=sum(measured.step_seconds),
        seconds_per_step=median(measured.step_seconds) if measured.step_seconds else None,
        steps=node.steps,
        tokens=node.tokens,
        load=trained.load,
        sibling_cosine=trained.sibling_cosine,
    )


def _mean(losses: Sequence[float]) -> float:
    return float(np.mean(losses))
