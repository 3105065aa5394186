"""Copies that learn at a rate of their own: their rows of fused tensors, whose originals keep the stage's rate.

No optimizer knows rows, so the update of these rows is scaled after the fact: new = old + factor * (new - old). That is
what another learning rate would do in AdamW, SGD and Muon alike, weight decay included, and moments are left alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from growc.anatomy.layer_order import by_layer_in_order
from growc.anatomy.sites import MoeSite
from growc.engine.distribute import local
from growc.engine.schedules.schedule import Schedule, Stage
from growc.engine.sharded import rows_held
from growc.growth.past import PastGrowth
from growc.operators.copies_rate import CopiesRate
from growc.operators.facets import Copies


@dataclass(frozen=True)
class Window:
    """A rate, and how many optimizer steps of it were done before the stage began."""

    rate: CopiesRate
    done: int


Windows = Mapping[int, tuple[Window | None, ...]]
"""The window of every expert, by layer; None for those that learn as the stage says."""


def windows(past: Iterable[PastGrowth]) -> Windows:
    """The windows of all experts at the start of a stage that `past` led to, the first growth first.

    Where an expert that is a copy itself is copied, its original slot stays in the older window. Layers whose experts
    an operator took apart or together are left out.
    """
    found: dict[int, tuple[Window | None, ...]] = {}
    for growth in past:
        operator = growth.operator
        rate = operator.rate_of_copies if isinstance(operator, Copies) else None
        window = Window(rate, growth.steps_since) if rate else None
        if growth.layer_order:
            found = by_layer_in_order(found, growth.layer_order)
        for layer, replicas in growth.replicas.items():
            before = found.get(layer, (None,) * len(replicas))
            if len(before) != len(replicas):
                before = (None,) * len(replicas)
            found[layer] = tuple(
                own if c == 0 else window for own, r in zip(before, replicas, strict=True) for c in range(r)
            )
    return found


class CopiesRates(Schedule):
    """The rows of this rank's shards that are in a window.

    Args:
        named: the parameters.
        sites: the layers with experts.
        windows: of their experts; layers with another number of experts have none.
    """

    def __init__(self, named: Mapping[str, Tensor], sites: Iterable[MoeSite], windows: Windows) -> None:
        self.rows: list[tuple[Tensor, tuple[Window | None, ...]]] = []
        for site in sites:
            of_layer = windows.get(site.layer, ())
            if len(of_layer) != site.num_experts or not any(of_layer):
                continue
            for name in (*site.expert_tensors, *site.router_rows):
                held = rows_held(named[name])
                self.rows.append((named[name], of_layer[held.start : held.stop]))

    @override
    @contextmanager
    def around_update(self, step: int) -> Generator[None]:
        """The rows in a window are scaled at the end."""
        scaled = [item for tensor, of_rows in self.rows if (item := _scaled(tensor, of_rows, step))]
        yield
        with torch.no_grad():
            for shard, index, factors, old in scaled:
                shard[index] = old + factors * (shard[index] - old)


def copy_rates(stage: Stage) -> CopiesRates:
    """The rates of the copies that the growths before a stage made."""
    return CopiesRates(dict(stage.model.named_parameters()), stage.graph.moe, windows(stage.past))


def _scaled(
    tensor: Tensor, of_rows: tuple[Window | None, ...], step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """A shard, the rows of it whose update is scaled, their factors, and what they hold now; None without such rows."""
    factors = [window.rate.factor(window.done + step) if window else 1.0 for window in of_rows]
    rows = [row for row, factor in enumerate(factors) if factor != 1.0]
    if not rows:
        return None
    shard = local(tensor).detach()
    index = torch.tensor(rows, device=shard.device)
    column = torch.tensor([factors[row] for row in rows], dtype=shard.dtype, device=shard.device)
    return shard, index, column.view(-1, *(1 for _ in shard.shape[1:])), shard[index].clone()
