"""What becomes of an optimizer's state at growth.

A tensor has one step count, that of its source: growth neither resets it beside live moments nor gives fresh moments an
old one, but for the zero rows of `reset_copies`, whose first updates are (1 - beta1) / sqrt(1 - beta2) of full size.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from growc.operators.claims import Moments
from growc.operators.initialisation import Slots
from growc.programs import Divide, Expr, Scale, squared

OptimizerState = Literal["gradient", "consistent", "copy", "reset", "reset_copies", "scale", "interpolate"]

STATES = (
    "gradient: the first moment follows the gradient program, the second its square: copies whose gradients are 1/r of "
    "their source's; consistent: both moments / r, for r copies that see 1/r of the tokens each; copy: as the source; "
    "reset: none are kept, for any tensor; reset_copies: originals keep theirs; scale: copied times state_scale; "
    "interpolate: the combination that experts: {init: interpolate} makes of the weights"
)
"""What the kinds mean, for people."""


class StateScale(BaseModel):
    """Factors for `optimizer_state: scale`; the step count is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    first: float = Field(default=0.5, ge=0, description="factor on Adam's first moment of the grown tensors")
    second: float = Field(default=0.5, ge=0, description="factor on Adam's second moment of the grown tensors")


def moments(
    kind: OptimizerState, slots: Slots, carried: Expr, weight: Expr, gradient: Expr, factors: StateScale
) -> Moments:
    """Programs for the moments of one grown tensor, over the moments of its source.

    Args:
        kind: as the YAML says.
        slots: of the tensor.
        carried: for every element the one of the source that it comes from: plain copies, unless a row is rearranged.
        weight: the program of its weights, where it only combines rows linearly; else plain copies.
        gradient: the program of its expected gradient.
        factors: for `scale`.
    """
    match kind:
        case "reset":
            return Moments(None, None, keep_step=False)
        case "copy":
            first = second = carried
        case "consistent":
            first = second = Divide(carried, slots.vector("replicas"))
        case "reset_copies":
            first = second = Scale(carried, slots.vector("originals"))
        case "scale":
            first, second = Scale(carried, factors.first), Scale(carried, factors.second)
        case "interpolate":
            first = second = weight
        case "gradient":
            first, second = gradient, squared(gradient)
    return Moments(first, second, keep_step=True)
