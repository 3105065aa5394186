"""Which experts are siblings after a growth: those that the last growth of their layer made from one."""

from __future__ import annotations

from collections.abc import Mapping

from growc.anatomy.layer_order import Order, by_layer_in_order
from growc.anatomy.replicas import Replicas
from growc.operators.facets import ChangesExperts
from growc.operators.operator import Operator


def siblings_after(
    operator: Operator, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas], order: Order
) -> dict[int, Replicas]:
    """Sizes of the groups of siblings by layer, in slot order, given those before the growth.

    Args:
        operator: what grew.
        before: the groups before.
        replicas: those of every layer whose experts grew.
        order: the layer of the source that every layer comes from, or none where layers stay.
    """
    if order:
        return by_layer_in_order(before, order)
    return operator.siblings(before, replicas) if isinstance(operator, ChangesExperts) else dict(before)
