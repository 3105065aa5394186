"""The plan as text. Symbols as terraform's, so that colour is never the only sign: + new, ~ changed, - gone, = kept."""

from __future__ import annotations

from collections.abc import Iterator

from growc.plan.plan import Change, Growth, InvariantRecord, Plan, Size, Stage

STATUS = {"held": "held", "broken": "BROKEN", "to_measure": "to measure"}


def render(plan: Plan) -> str:
    """The whole plan, for people; deterministic, and about one screen for a few stages."""
    growth = {growth.stage: growth for growth in plan.growth}
    lines = [f"{plan.name}", f"  source  {plan.source}", ""]
    for stage in plan.stages:
        lines += _grow(stage, growth[stage.name]) if stage.kind == "grow" else [_train(stage)]
    if plan.invariants:
        lines += ["", "invariants", *map(invariant_line, plan.invariants)]
    return "\n".join([*lines, "", *_summary(plan)])


def _train(stage: Stage) -> str:
    flops = 3 * stage.model.flops_per_token * stage.tokens
    amount = f"{stage.steps:,} steps, {number(stage.tokens).rstrip()} tokens, {number(flops)}FLOPs"
    return f"train {stage.name}  from {_start(stage)}: {amount}"


def _start(stage: Stage) -> str:
    fresh = "scratch" if stage.name.startswith("fixed_target/") else "the source"
    return ", ".join(stage.start) or fresh


def _grow(stage: Stage, growth: Growth) -> Iterator[str]:
    yield f"grow {stage.name}  from {_start(stage)}: preserves the model {growth.preserves}"
    for operation, setting, changes in zip(stage.operators, growth.settings, growth.changes, strict=True):
        layers = len(operation.sites)
        yield f"  {operation.op} on {layers} layer{'s' * (layers != 1)}: {setting}"
        yield from _table([_change(change) for change in changes], "  ")
        if operation.tensors.copied:
            yield f"  = {operation.tensors.copied} tensors unchanged"
    yield from _table(list(_figures(growth.before, stage.model)), "    ")
    if growth.k_eff:
        yield f"    {growth.k_eff}"


def _change(change: Change) -> tuple[str, ...]:
    before, after = (_shape(shape) for shape in (change.before, change.after))
    shapes = " -> ".join(shape for shape in (before, after) if shape)
    return f"{change.symbol} {change.name}", f"x{change.count}", shapes, change.program


def _shape(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else f"[{', '.join(map(str, shape))}]"


def _figures(before: Size, after: Size) -> Iterator[tuple[str, ...]]:
    for label, show, old, new in (
        ("parameters", parameters, before.total_params, after.total_params),
        ("active parameters", parameters, before.active_params, after.active_params),
        ("FLOPs per token", number, before.flops_per_token, after.flops_per_token),
    ):
        yield label, show(old), "->", show(new), percent(new / old - 1)
    shares = [f"{size.router_flops_per_token / size.flops_per_token:.2%}" for size in (before, after)]
    added = (after.router_flops_per_token - before.router_flops_per_token) / before.flops_per_token
    yield "router's share", shares[0], "->", shares[1], f"{percent(added)} of all FLOPs"


def invariant_line(invariant: InvariantRecord) -> str:
    """One invariant on one line: its status, value and limit."""
    detail = f"  ({invariant.detail})" if invariant.detail else ""
    return f"  {STATUS[invariant.status]:<10}  {invariant.name} at {invariant.stage}: {_value(invariant)}{detail}"


def _value(invariant: InvariantRecord) -> str:
    show = _UNITS.get(invariant.name, "{:.1e}".format)
    value = "not yet measured" if invariant.value is None else show(invariant.value)
    return value if invariant.limit is None else f"{value}, limit {show(invariant.limit)}"


def _summary(plan: Plan) -> Iterator[str]:
    totals = [operation.tensors for stage in plan.stages for operation in stage.operators]
    created, reshaped, copied, dropped = (
        sum(getattr(tensors, kind) for tensors in totals) for kind in ("created", "reshaped", "copied", "dropped")
    )
    if totals:
        before, after = plan.growth[0].before, _grown(plan)
        more = after.total_params - before.total_params
        change = percent(after.flops_per_token / before.flops_per_token - 1)
        yield (
            f"Plan: {created} tensors to create, {reshaped} to reshape, {copied} to copy, {dropped} to drop. "
            f"+{parameters(more)} parameters, active FLOPs/token {change}."
        )
    else:
        yield "Plan: nothing grows."
    for arm, tokens in plan.cost.train_tokens.items():
        yield f"      {arm} trains {number(tokens).rstrip()} tokens: {number(plan.cost.train_flops[arm])}FLOPs"


def _grown(plan: Plan) -> Size:
    """The model after the last growth."""
    return [stage.model for stage in plan.stages if stage.kind == "grow"][-1]


def _table(rows: list[tuple[str, ...]], indent: str) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{indent}{'  '.join(cells)}".rstrip()


def number(value: float) -> str:
    """A number with a prefix for its power of a thousand, such as `6.08 G`, for a unit to follow."""
    for exponent, prefix in enumerate("EPTGMk"):
        unit = 1000.0 ** (6 - exponent)
        if abs(value) >= unit:
            return f"{value / unit:.2f} {prefix}"
    return f"{value:g} "


def parameters(count: float) -> str:
    """A number of parameters, in billions where there are some: `30.53 B`, `1026.41 B`."""
    return f"{count / 1e9:.2f} B" if count >= 1e9 else number(count).rstrip()


def percent(value: float) -> str:
    """A relative change: `+0.41 %`."""
    return f"{value:+.2%}"


_UNITS = {
    "active_flops": percent,
    "total_params": parameters,
}
"""How values and limits of an invariant are shown; all others in powers of ten."""
