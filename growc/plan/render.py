"""The plan as text. Symbols as terraform's, so that colour is never the only sign: + new, ~ changed, - gone, = kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from growc.operators.claims import Preserves
from growc.operators.work import spoken
from growc.plan import sweep_grouping
from growc.plan.plan import Change, Growth, InvariantRecord, Plan, Size, Stage, Sweep
from growc.spec.stage_name import StageName

STATUS = {"held": "held", "broken": "BROKEN", "to_measure": "to measure"}

TOLD_FROM = 60.0
"""Seconds of a core from which on the cost of a growth is told."""


def render(plan: Plan) -> str:
    """The whole plan, for people; deterministic, and about one screen for a few stages, or for dozens that are alike.

    Stages that do the same at several points of a sweep are shown once, and of growths that do almost the same what
    is different.
    """
    growth, shown = {growth.stage: growth for growth in plan.growth}, dict[str, Sequence[Stage]]()
    lines = [f"{plan.name}", f"  source  {plan.source}", *(_swept(plan.sweep) if plan.sweep else ())]
    lines += [*_titled("auto", [f"{key}: {rule}" for key, rule in plan.automatic.items()]), ""]
    for stages in sweep_grouping.stages(plan.stages, growth):
        first = stages[0]
        if first.kind == "train":
            lines += _train(stages)
        else:
            like = shown.setdefault(StageName.read(first.name).in_sweep, stages)
            lines += _grow(stages, growth, like) if like is not stages else _grow(stages, growth)
            lines += _computed(plan.cost.grow_core_seconds.get(first.name, 0.0))
    if plan.invariants:
        lines += ["", "invariants", *invariant_lines(plan.invariants)]
    return "\n".join([*lines, "", *_summary(plan)])


def _swept(sweep: Sweep) -> Iterator[str]:
    yield from _titled("sweep", [f"{axis}: {', '.join(labels)}" for axis, labels in sweep.axes.items()])


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    for first, line in zip((title, *[""] * len(lines)), lines, strict=False):
        yield f"  {first:6}  {line}"


def _train(stages: Sequence[Stage]) -> Iterator[str]:
    first = stages[0]
    flops = 3 * first.model.flops_per_token * first.tokens
    each = " each" if len(stages) > 1 else ""
    steps = f"{first.steps:,} step{'s' * (first.steps != 1)}"
    yield f"train {_called(stages)}: {steps}, {number(first.tokens).rstrip()} tokens, {number(flops)}FLOPs{each}"
    yield from _points(stages)


def _called(stages: Sequence[Stage]) -> str:
    """The name of the stages and what they start from; several have no point of their own."""
    several = [name for stage in stages for name in stage.start]
    start = sweep_grouping.starts(several) if len(stages) > 1 else ", ".join(several)
    fresh = "scratch" if StageName.read(stages[0].name).arm == "fixed_target" else "the source"
    return f"{sweep_grouping.called([stage.name for stage in stages])}  from {start or fresh}"


def _points(stages: Sequence[Stage]) -> Iterator[str]:
    if len(stages) > 1:
        yield f"  at {sweep_grouping.points([stage.name for stage in stages])}"


def _grow(stages: Sequence[Stage], growth: Mapping[str, Growth], like: Sequence[Stage] | None = None) -> Iterator[str]:
    """A growth in detail; with `like`, what is not as there."""
    stage, grown = stages[0], growth[stages[0].name]
    known = growth[like[0].name] if like else None
    loads = f"; {grown.loads}" if grown.loads else ""
    yield f"grow {_called(stages)}: {Preserves(grown.preserves).in_words}{loads}"
    yield from _points(stages)
    for index, (operation, setting) in enumerate(zip(stage.operators, grown.settings, strict=True)):
        layers = len(operation.sites)
        where = f" on {layers} layer{'s' * (layers != 1)}" if layers else ""
        yield f"  {operation.op}{where}: {setting}"
        told = known.changes[index] if known and index < len(known.changes) else ()
        yield from _table([_change(change) for change in grown.changes[index] if change not in told], "  ")
        if operation.tensors.copied and not told:
            yield f"  = {operation.tensors.copied} tensors unchanged"
    if not like or not known or (known.before, like[0].model) != (grown.before, stage.model):
        yield from _table(list(_figures(grown.before, stage.model)), "    ")
    if grown.k_eff and not (known and known.k_eff == grown.k_eff):
        yield f"    {grown.k_eff}"
    if like:
        yield f"    all else as at {sweep_grouping.points([stage.name for stage in like])}"


def _computed(seconds: float) -> Iterator[str]:
    if seconds > TOLD_FROM:
        yield f"    about {spoken(seconds)} of one core to compute new weights; ranks share it, each with one thread"


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
        change = percent(new / old - 1) if old is not None and new is not None else ""
        yield label, "unknown" if old is None else show(old), "->", "unknown" if new is None else show(new), change
    shares = [f"{size.router_flops_per_token / size.flops_per_token:.2%}" for size in (before, after)]
    added = (after.router_flops_per_token - before.router_flops_per_token) / before.flops_per_token
    yield "router's share", shares[0], "->", shares[1], f"{percent(added)} of all FLOPs"


def invariant_lines(invariants: Iterable[InvariantRecord]) -> Iterator[str]:
    """A line for each invariant: its status, value and limit; one for several points that say the same."""
    for found in sweep_grouping.invariants(invariants):
        first = found[0]
        detail = f"  ({first.detail})" if first.detail else ""
        stage = sweep_grouping.called([invariant.stage for invariant in found])
        yield f"  {STATUS[first.status]:<10}  {first.name} at {stage}: {_value(first)}{detail}"


def _value(invariant: InvariantRecord) -> str:
    show = _UNITS.get(invariant.name, "{:.1e}".format)
    value = "not yet measured" if invariant.value is None else show(invariant.value)
    if invariant.bounded:
        value = f"below {invariant.value:.0e}"
    return value if invariant.limit is None else f"{value}, limit {show(invariant.limit)}"


def _summary(plan: Plan) -> Iterator[str]:
    if plan.sweep:
        yield from _arms(plan.sweep, len(plan.stages))
    else:
        yield _tensors(plan)
    for arm, tokens in plan.cost.train_tokens.items():
        yield f"      {arm} trains {number(tokens).rstrip()} tokens: {number(plan.cost.train_flops[arm])}FLOPs"


def _arms(sweep: Sweep, stages: int) -> Iterator[str]:
    controls = sweep.arms - sweep.points
    yield f"Plan: {sweep.points} arms and {controls} controls in {stages} stages."
    if sweep.saved_stages:
        yield (
            f"      Sharing what they have in common saves {sweep.saved_stages} stages: "
            f"{number(sweep.saved_tokens).rstrip()} tokens, {number(sweep.saved_flops)}FLOPs."
        )


def _tensors(plan: Plan) -> str:
    """What becomes of the tensors, over all stages that grow."""
    totals = [operation.tensors for stage in plan.stages for operation in stage.operators]
    created, reshaped, copied, dropped = (
        sum(getattr(tensors, kind) for tensors in totals) for kind in ("created", "reshaped", "copied", "dropped")
    )
    if not totals:
        return "Plan: nothing grows."
    before, after = plan.growth[0].before, _grown(plan)
    more = after.total_params - before.total_params
    change = percent(after.flops_per_token / before.flops_per_token - 1)
    return (
        f"Plan: {created} tensors to create, {reshaped} to reshape, {copied} to copy, {dropped} to drop. "
        f"{_more(more)} parameters, active FLOPs/token {change}."
    )


def _more(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{parameters(abs(count))}"


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
