"""The layouts in which `growc grow` can store its result."""

from __future__ import annotations

from typing import Literal, TypeAlias

Layout: TypeAlias = Literal["same", "published", "fused", "dcp"]
LAYOUTS: tuple[Layout, ...] = ("same", "published", "fused", "dcp")
"""As the source's tensors are; as the hub has the family (in most, one tensor per expert and projection); under their
names in transformers' memory, which holds stacks of all experts; or those in a torch distributed checkpoint."""
