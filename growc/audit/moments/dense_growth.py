"""What wider tensors and layers that come again keep of an optimizer's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from growc.audit.moments.kept import Kept, Moments, kept
from growc.audit.readings.depth import parts, without_state
from growc.audit.readings.width import Positions, factors, taken, widened
from growc.audit.rows import row
from growc.audit.step import Step
from growc.audit.value import Value, computed
from growc.operators.deepening import Deepening
from growc.operators.widening import Widening


def of_layers(step: Step[Deepening], order: Sequence[int]) -> Moments:
    """Those of layers in another order: the first that comes from one of the source has its state."""
    how = step.operator
    if how.optimizer_state == "reset":
        return dict.fromkeys(step.after.tensors)
    bare = without_state(step, order, how.start, how.optimizer_state)

    def of(origin: str) -> Kept:
        return kept(lambda number: row(step.source, origin, number), origin)

    return {name: None if bare[name] else of(part.origin) for name, part in parts(step, order).items()}


def of_axes(step: Step[Widening], *, second: bool) -> Moments:
    """Those of wider tensors: what their gradients are, and the squares of that."""
    if step.operator.optimizer_state == "reset":
        return dict.fromkeys(step.after.tensors)
    copied = step.operator.optimizer_state == "copy"
    return {name: kept(_row(step, name, dims, copied, second), name) for name, dims in widened(step).items()}


def _row(step: Step[Any], name: str, dims: list[Positions], copied: bool, second: bool) -> Callable[[int], Value]:
    def of(number: int) -> Value:
        value, factor = taken(step, name, dims, number), factors(dims, number, "gradient")
        factor = factor.square() if second else factor
        if copied or bool((factor == 1).all()):
            return value
        return computed(
            factor * value.wide, f"{value.says}, as its gradient", value, gain=max(1.0, float(factor.max()))
        )

    return of
