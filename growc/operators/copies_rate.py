"""The learning rate of copies in the training after a growth."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class CopiesRate(BaseModel):
    """A learning rate of their own for copies, for a while (SPARKLING, arXiv 2602.02472, Section 3.3).

    In the first `steps` optimizer steps of the train stages after the growth, every update of the copies (their expert
    weights and their router rows) is multiplied; over the first `warmup` of them the factor rises from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    multiplier: float = Field(default=1.3, gt=0, description="factor on the learning rate of copies")
    steps: int = Field(default=250, ge=1, description="optimizer steps after the growth for which it holds")
    warmup: int = Field(default=0, ge=0, description="how many of these steps the factor takes to rise from 0")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.warmup > self.steps:
            raise ValueError(f"a warmup of {self.warmup} steps does not fit into {self.steps} steps")
        return self

    def factor(self, step: int) -> float:
        """The factor on the update of optimizer step `step` after the growth, counted from 0."""
        if step >= self.steps:
            return 1.0
        return self.multiplier * min(1.0, (step + 1) / self.warmup) if self.warmup else self.multiplier
