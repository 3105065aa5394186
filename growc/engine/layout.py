"""How ranks are laid out: copies of the model, shards of each copy (FSDP2), and groups that share its experts."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from growc.anatomy.grown_format import shares_weights
from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import fail
from growc.spec.schema import Parallel


@dataclass(frozen=True)
class Layout:
    """`fsdp` ranks share every dense tensor, groups of `ep` of them the experts; there are `replicate` such copies."""

    fsdp: int
    ep: int
    replicate: int = 1

    def __str__(self) -> str:
        copies = f", replicate {self.replicate}" if self.replicate > 1 else ""
        return f"fsdp {self.fsdp}{copies}, ep {self.ep}"

    @property
    def ranks(self) -> int:
        """How many there are; each reads other tokens."""
        return self.fsdp * self.replicate


def layout(parallel: Parallel, ranks: int, models: Sequence[ModelGraph]) -> Layout:
    """The layout of a run on `ranks` ranks.

    `auto` for fsdp takes all ranks that are no copies. `auto` for ep takes the most ranks of a node among which the
    experts of every stage divide: whoever holds few experts gathers few, and tokens travel within the node.

    Raises:
        GrowcError: the ranks do not fit the layout, or the experts of some model do not divide among the ranks.
    """
    replicate = parallel.replicate
    if ranks % replicate:
        fail("GROW620", f"parallel.replicate {replicate} does not divide {ranks} ranks",
             help="choose a divisor of the ranks")  # fmt: skip
    fsdp = ranks // replicate if parallel.fsdp == "auto" else parallel.fsdp
    if fsdp * replicate != ranks:
        fail("GROW620", f"parallel.fsdp {fsdp} times parallel.replicate {replicate} is not the run's {ranks} ranks",
             help="start it with --nproc equal to their product, or set parallel.fsdp to auto")  # fmt: skip
    ep = _largest_ep(fsdp, models) if parallel.ep == "auto" else parallel.ep
    if fsdp % ep:
        fail("GROW620", f"parallel.ep {ep} does not divide the {fsdp} ranks of parallel.fsdp",
             help="choose a divisor of them")  # fmt: skip
    for model in models:
        _hold(model, fsdp, ep)
    return Layout(fsdp, ep, replicate)


def _largest_ep(fsdp: int, models: Sequence[ModelGraph]) -> int:
    sites = [site for model in models for site in model.moe]
    if not sites or any(site.dense_dispatch for site in sites) or any(shares_weights(m.config) for m in models):
        return 1
    node = int(os.environ.get("LOCAL_WORLD_SIZE", min(fsdp, 8)))
    most = math.gcd(fsdp, *(site.num_experts for site in sites))
    return max(ep for ep in range(1, min(most, node) + 1) if most % ep == 0)


def _hold(model: ModelGraph, fsdp: int, ep: int) -> None:
    """Refuse what does not divide, or leaves ranks without experts."""
    if ep > 1 and shares_weights(model.config):
        fail("GROW624", f"experts that share weights do not divide into {ep} expert-parallel ranks",
             help="leave parallel.ep at 1 for this model")  # fmt: skip
    for site in model.moe:
        if site.num_experts % ep:
            fail(
                "GROW621",
                f"{site.num_experts} experts of {site.block} do not divide into {ep} expert-parallel ranks",
                help="set parallel.ep to a divisor of the number of experts of every stage",
            )
        if ep > 1 and site.dense_dispatch:
            fail("GROW622", f"{model.model_type} sends every token to every expert: no expert parallelism",
                 help="leave parallel.ep at 1 for this model")  # fmt: skip
        if fsdp > site.num_experts:
            fail(
                "GROW626",
                f"{fsdp} shards are more than the {site.num_experts} experts of {site.block}: some would be empty",
                help="set parallel.replicate so that parallel.fsdp is at most the number of experts",
            )
