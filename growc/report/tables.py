"""The tables of the report: rows of text, ready to print."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from growc.plan import sweep_grouping
from growc.plan.plan import Change, InvariantRecord, Operation, Size
from growc.report.history import Run, Trail, standard_error
from growc.report.numbers import MINUS, NONE, change, count, duration, error, loss, percent, plain
from growc.report.palette import Look, looks, trail_name
from growc.spec.baselines import MAIN
from growc.spec.stage_name import StageName

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@dataclass(frozen=True)
class ArmRow:
    """One arm at its end."""

    look: Look
    name: str
    end: str
    loss: str
    difference: str
    tokens: str
    seconds: str
    speed: str
    parameters: str


@dataclass(frozen=True)
class SizeRow:
    """A property of the model before and after a growth."""

    name: str
    before: str
    after: str
    change: str


@dataclass(frozen=True)
class ChangeRow:
    """Tensors that change alike: `+` new, `~` changed, `-` gone."""

    symbol: str
    name: str
    count: int
    shapes: str
    program: str


@dataclass(frozen=True)
class OperatorRow:
    """What one operator makes of the model."""

    op: str
    settings: str
    sites: str
    preserves: str
    unchanged: int
    changes: list[ChangeRow]


@dataclass(frozen=True)
class GrowthRow:
    """A planned grow stage, or those of a sweep that do the same; `where` are their points."""

    name: str
    where: str
    k_eff: str
    sizes: list[SizeRow]
    operators: list[OperatorRow]


@dataclass(frozen=True)
class InvariantRow:
    """An invariant at a stage."""

    mark: str
    status: str
    name: str
    stage: str
    value: str
    limit: str
    detail: str


def arm_rows(runs: tuple[Run, ...]) -> list[ArmRow]:
    """The comparison of all arms of all runs."""
    styles = looks(runs)
    return [
        _arm(run, trail, styles[run.label, trail.label], trail_name(run, trail, runs))
        for run in runs
        for trail in run.trails
    ]


def _arm(run: Run, trail: Trail, look: Look, name: str) -> ArmRow:
    end, result = trail.end, trail.end.result
    trainings = [each.stage for each in trail.segments if not each.stage.grows]
    trained = sum(stage.clock.training for stage in trainings)
    model = end.planned.model
    if result:
        spread = standard_error(np.array(result.val_losses))
        value = f"{loss(end.loss, 4)} {PLUS_MINUS} {error(spread)}" if np.isfinite(spread) else loss(end.loss, 4)
    else:
        value = f"under way, {percent(end.done_tokens / end.planned.tokens)}" if end.planned.tokens else NONE
    return ArmRow(
        look, name, end.name, value, _difference(run, trail), count(trail.tokens), duration(trail.seconds),
        count(sum(stage.done_tokens for stage in trainings) / trained) if trained else NONE,
        f"{count(model.total_params)} / {NONE if model.active_params is None else count(model.active_params)}",
    )  # fmt: skip


def _difference(run: Run, trail: Trail) -> str:
    """Against the grown arm on the same windows, paired, so that what windows have in common falls out."""
    grown = run.trail_of(MAIN)
    if grown is None or trail is grown or not grown.end.result or not trail.end.result:
        return NONE
    ours, theirs = np.array(grown.end.result.val_losses), np.array(trail.end.result.val_losses)
    if len(ours) != len(theirs):
        return NONE
    return f"{change(float((theirs - ours).mean()))} {PLUS_MINUS} {error(standard_error(theirs - ours))}"


def growth_rows(run: Run) -> list[GrowthRow]:
    """What every grow stage of the plan changes; what several points of a sweep do alike stands once."""
    grown = {growth.stage: growth for growth in run.plan.growth}
    found: list[GrowthRow] = []
    for together in sweep_grouping.stages((stage for stage in run.plan.stages if stage.kind == "grow"), grown):
        stage, growth = together[0], grown[together[0].name]
        name = StageName.read(stage.name)
        points = sweep_grouping.points([each.name for each in together]) if name.point else ""
        found.append(GrowthRow(
            name.in_sweep, points, growth.k_eff,
            _before_after(growth.before, stage.model),
            [_operator(*each) for each in zip(stage.operators, growth.settings, growth.changes, strict=True)],
        ))  # fmt: skip
    return found


def _before_after(a: Size, b: Size) -> list[SizeRow]:
    def row(name: str, x: float | None, y: float | None) -> SizeRow:
        moved = percent(y / x - 1, signed=True) if x and y is not None and x != y else "=" if x == y else NONE
        return SizeRow(name, count(x), count(y), moved)

    share_a, share_b = _router_share(a), _router_share(b)
    points = 100 * (share_b - share_a)
    return [
        row("Parameters", a.total_params, b.total_params),
        row("Active parameters", a.active_params, b.active_params),
        row("FLOPs per token, forward", a.flops_per_token, b.flops_per_token),
        SizeRow(
            "Router's share of FLOPs", percent(share_a), percent(share_b), f"{points:+.2f} points".replace("-", MINUS)
        ),
        row("Experts per layer", a.experts, b.experts),
        row("Experts per token", a.top_k, b.top_k),
        row("Layers", a.layers, b.layers),
    ]


def _router_share(size: Size) -> float:
    return size.router_flops_per_token / size.flops_per_token if size.flops_per_token else 0.0


def _operator(operation: Operation, settings: str, changes: tuple[Change, ...]) -> OperatorRow:
    sites = f"{len(operation.sites)} site{'s' * (len(operation.sites) != 1)}"
    rows = [ChangeRow(_SYMBOLS[c.symbol], c.name, c.count, _shapes(c), c.program) for c in changes]
    return OperatorRow(operation.op, settings, sites, operation.preserves, operation.tensors.copied, rows)


_SYMBOLS = {"+": "+", "~": "~", "-": MINUS}


def _shapes(change: Change) -> str:
    return " \N{RIGHTWARDS ARROW} ".join(
        " \N{MULTIPLICATION SIGN} ".join(map(str, shape))
        for shape in (change.before, change.after)
        if shape is not None
    )


_MARKS = {
    "held": ("\N{CHECK MARK}", "held"),
    "broken": ("\N{BALLOT X}", "broken"),
    "to_measure": ("\N{HORIZONTAL ELLIPSIS}", "to measure"),
}


def invariant_rows(run: Run) -> list[InvariantRow]:
    """All invariants of the plan, with what the run measured; of several points of a sweep, the worst value."""
    together: dict[object, list[InvariantRecord]] = {}
    for i in run.invariants:
        together.setdefault((i.name, StageName.read(i.stage).in_sweep, i.status, i.limit), []).append(i)
    return [_invariant(records) for records in together.values()]


def _invariant(records: list[InvariantRecord]) -> InvariantRow:
    worst = max(records, key=lambda i: -inf if i.value is None else i.value)
    stage, i = sweep_grouping.called([each.stage for each in records]), worst
    value = f"below {i.value:.0e}" if i.bounded else _value(i.name, i.value)
    return InvariantRow(*_MARKS[i.status], i.name, stage, value, _limit(i.name, i.limit), i.detail)


def _value(name: str, value: float | None) -> str:
    if name == "active_flops":
        return percent(value)
    return f"{change(value)} nats" if name == "loss" and value is not None else plain(value)


def _limit(name: str, limit: float | None) -> str:
    return f"{plain(limit)} nats" if name == "loss" and limit is not None else _value(name, limit)
