"""What growth in width must hold to."""

from __future__ import annotations

from pathlib import Path

import torch

from growc.checks.twin import tokens
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators.facets import WidensAxes
from tests.battery.case import Case
from tests.battery.gradients import gradients
from tests.battery.properties import of


@of(lambda case: isinstance(case.operator, WidensAxes) and not case.settings.get("noise"))
def every_gradient_is_what_the_program_says(case: Case, _: Path) -> None:
    """Not where noise sets copies apart: then it holds on the mean. Of key-value heads it is the sum over copies."""
    step, ids = case.step.rewrite, tokens(case.twin.source, seed=2)
    before, after = gradients(case.twin.source, ids), gradients(case.twin.grown, ids)
    for name, found in after.items():
        program = case.operator.gradient(step.matches[name])
        expected = evaluate(program, torch.arange(len(found)), InMemory(before), torch.float64)
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * scale, msg=lambda m, n=name: f"{n}: {m}")
