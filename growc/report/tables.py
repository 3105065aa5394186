"""The tables of the report: rows of text, ready to print."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from growc.report.history import Run, Stage, Trail, standard_error
from growc.report.numbers import MINUS, NONE, change, count, duration, loss, percent, plain
from growc.report.palette import Look, looks, trail_name
from growc.report.records import Operation, Size

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
class Before:
    """A property of the model before and after a growth."""

    name: str
    before: str
    after: str
    change: str


@dataclass(frozen=True)
class Change:
    """What one operator makes of the model."""

    op: str
    sites: list[str]
    preserves: str
    tensors: str


@dataclass(frozen=True)
class Growth:
    """A planned grow stage."""

    name: str
    rows: list[Before]
    changes: list[Change]


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
    legs = [leg.stage for leg in trail.legs if not leg.stage.grows]
    trained = sum(stage.clock.training for stage in legs)
    model = end.planned.model
    if result:
        error = standard_error(np.array(result.val_losses))
        value = f"{loss(end.loss, 4)} {PLUS_MINUS} {error:.4f}" if np.isfinite(error) else loss(end.loss, 4)
    else:
        value = f"under way, {percent(end.done_tokens / end.planned.tokens)}" if end.planned.tokens else NONE
    return ArmRow(
        look, name, end.name, value, _difference(run, trail), count(trail.tokens), duration(trail.seconds),
        count(sum(stage.done_tokens for stage in legs) / trained) if trained else NONE,
        f"{count(model.total_params)} / {count(model.active_params)}",
    )  # fmt: skip


def _difference(run: Run, trail: Trail) -> str:
    """Against the grown arm on the same windows, paired, so that what windows have in common falls out."""
    grown = run.trail_of("main")
    if grown is None or trail is grown or not grown.end.result or not trail.end.result:
        return NONE
    ours, theirs = np.array(grown.end.result.val_losses), np.array(trail.end.result.val_losses)
    if len(ours) != len(theirs):
        return NONE
    return f"{change(float((theirs - ours).mean()))} {PLUS_MINUS} {plain(standard_error(theirs - ours))}"


def growths(run: Run) -> list[Growth]:
    """What every grow stage of the plan changes."""
    found: list[Growth] = []
    sizes = {stage.name: stage.model for stage in run.planned.stages}
    for stage in run.planned.stages:
        if stage.kind == "grow":
            start = next(iter(stage.start), "").removesuffix(".stable")
            rows = _before_after(sizes[start], stage.model) if start in sizes else _after(stage.model)
            found.append(Growth(stage.name, rows, [_change(operation) for operation in stage.operators]))
    return found


def _before_after(a: Size, b: Size) -> list[Before]:
    def row(name: str, x: float | None, y: float | None) -> Before:
        moved = percent(y / x - 1, signed=True) if x and y is not None and x != y else "=" if x == y else NONE
        return Before(name, count(x), count(y), moved)

    share_a, share_b = _router_share(a), _router_share(b)
    points = 100 * (share_b - share_a)
    return [
        row("Parameters", a.total_params, b.total_params),
        row("Active parameters", a.active_params, b.active_params),
        row("FLOPs per token, forward", a.flops_per_token, b.flops_per_token),
        Before(
            "Router's share of them", percent(share_a), percent(share_b), f"{points:+.2f} points".replace("-", MINUS)
        ),
        row("Experts per layer", a.experts, b.experts),
        row("Experts per token", a.top_k, b.top_k),
        row("Layers", a.layers, b.layers),
    ]


def _after(b: Size) -> list[Before]:
    rows = _before_after(b, b)
    return [Before(row.name, "", row.after, "") for row in rows]


def _router_share(size: Size) -> float:
    return size.router_flops_per_token / size.flops_per_token if size.flops_per_token else 0.0


def _change(operation: Operation) -> Change:
    counts = operation.tensors
    parts = [
        f"{number} {what}"
        for number, what in (
            (counts.created, "created"), (counts.reshaped, "reshaped"), (counts.copied, "copied"), (counts.dropped, "dropped")
        )
        if number
    ]  # fmt: skip
    return Change(operation.op, ranges(operation.sites), operation.preserves, ", ".join(parts) or "none")


def ranges(names: tuple[str, ...]) -> list[str]:
    """Names that differ in one number become one name with ranges: `layers.1.mlp`, `layers.2.mlp` is `layers.1-2.mlp`."""
    groups: dict[tuple[str, str], list[int]] = {}
    for name in names:
        found = re.search(r"(?<![^.\s])\d+(?![^.\s])", name)
        key = (name[: found.start()], name[found.end() :]) if found else (name, "")
        groups.setdefault(key, []).extend([int(found[0])] if found else [])
    return [f"{head}{_runs(sorted(numbers))}{tail}" for (head, tail), numbers in groups.items()]


def _runs(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


_MARKS = {
    "held": ("\N{CHECK MARK}", "held"), "broken": ("\N{BALLOT X}", "broken"), "to_measure": ("\N{HORIZONTAL ELLIPSIS}", "to measure")
}  # fmt: skip


def invariant_rows(run: Run) -> list[InvariantRow]:
    """All invariants of the plan, with what the run measured."""
    return [
        InvariantRow(*_MARKS[i.status], i.name, i.stage, _value(i.name, i.value), _value(i.name, i.limit), i.detail)
        for i in run.invariants
    ]


def _value(name: str, value: float | None) -> str:
    if name == "active_flops":
        return percent(value)
    return f"{change(value)} nats" if name == "loss" and value is not None else plain(value)


def stage_names(stages: tuple[Stage, ...]) -> str:
    """Names of stages in a row."""
    return ", ".join(stage.name for stage in stages)
