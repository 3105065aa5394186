"""How ranks are laid out: data parallel shards (FSDP2) and expert parallel groups."""

from __future__ import annotations

from dataclasses import dataclass

from growc.diagnostics import fail
from growc.model import ModelGraph
from growc.operators.grown_config import shares_weights
from growc.spec.schema import Parallel


@dataclass(frozen=True)
class Layout:
    """`fsdp` ranks share every dense tensor; groups of `ep` of them share the experts. fsdp is the number of ranks."""

    fsdp: int
    ep: int

    def __str__(self) -> str:
        return f"fsdp {self.fsdp}, ep {self.ep}"


def layout(parallel: Parallel, ranks: int, models: list[ModelGraph]) -> Layout:
    """The layout of a run on `ranks` ranks.

    `auto` for fsdp takes all ranks; `auto` for ep keeps the experts with the dense tensors (1), which needs no
    token exchange.

    Raises:
        GrowcError: the ranks do not fit the layout, or the experts of some model do not divide among the ranks.
    """
    fsdp = ranks if parallel.fsdp == "auto" else parallel.fsdp
    ep = 1 if parallel.ep == "auto" else parallel.ep
    if fsdp != ranks:
        fail("GROW620", f"parallel.fsdp is {fsdp}, but the run has {ranks} ranks",
             help="start it with --nproc equal to parallel.fsdp, or set parallel.fsdp to auto")  # fmt: skip
    if ranks % ep:
        fail("GROW620", f"parallel.ep {ep} does not divide {ranks} ranks", help="choose a divisor of the ranks")
    for model in models:
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
    return Layout(fsdp, ep)
