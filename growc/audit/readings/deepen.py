"""Layers in the order of a rule."""

from __future__ import annotations

from itertools import chain

from growc.audit.readings.depth import read_layers
from growc.audit.step import Reading, Step
from growc.operators.deepen import Deepen


def read(step: Step[Deepen]) -> Reading:
    """See `growc.audit.readings`."""
    return read_layers(step, order_of(step), step.operator.start)


def order_of(step: Step[Deepen]) -> list[int]:
    """The layers of the source that those of the grown model come from."""
    rule, layers = step.operator.order, list(range(step.before.layers))
    match rule.rule:
        case "stack":
            return layers * rule.times
        case "interpose":
            return sorted(layers * rule.times)
        case "every":
            size = rule.layers
            blocks = [layers[start : start + size] for start in range(0, len(layers), size)]
            return list(chain.from_iterable(b + b[-1:] if len(b) == size else b for b in blocks))
        case "last":
            return layers + layers[-rule.layers :]
        case "seam":
            return layers[: -rule.drop] + layers[rule.drop :]
        case "explicit":
            return rule.layers
