"""The `kernels` section: which code computes what a model says; the model is the same by all of them, to rounding."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from growc.spec.fields import Part

Experts = Literal["auto", "eager", "grouped_mm", "batched_mm", "grouped_gemm"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]


class Kernels(Part):
    """Which code computes experts and attention, by transformers' names, and whether layers are compiled."""

    experts: Experts = Field(
        default="auto",
        description="what computes the experts of a layer: one after another (eager), torch's grouped product, a "
        "product for every token, or the library grouped-gemm (A100, bf16); auto: the fastest at the start of the run "
        "on a GPU, grouped_mm on a CPU",
    )
    attention: Attention = Field(
        default="auto", description="what computes attention; auto: sdpa where the family has it, else eager"
    )
    compile: bool = Field(
        default=False, description="whether torch.compile compiles layers, but for their routers and experts"
    )
