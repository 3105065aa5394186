"""The model several times on top of itself."""

from __future__ import annotations

from growc.audit.readings.depth import read_layers
from growc.audit.step import Reading, Step
from growc.operators.stack import Stack


def read(step: Step[Stack]) -> Reading:
    """See `growc.audit.readings`."""
    return read_layers(step, order_of(step), step.operator.start)


def order_of(step: Step[Stack]) -> list[int]:
    """The layers of the source that those of the grown model come from."""
    return [number % step.before.layers for number in range(step.operator.factor * step.before.layers)]
