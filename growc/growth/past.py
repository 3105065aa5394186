"""A growth that led to a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from growc.anatomy.layer_order import Order
from growc.anatomy.replicas import Replicas
from growc.operators import Operator


@dataclass(frozen=True)
class PastGrowth:
    """One operator that was applied: replicas by layer, and the optimizer steps from it to the stage in question.

    `layer_order` says which layer of the source every layer comes from, where they do not stay.
    """

    operator: Operator
    replicas: Mapping[int, Replicas]
    steps_since: int
    layer_order: Order = ()
