"""By which rules a run chooses what a spec leaves to it (`auto`)."""

from __future__ import annotations

from growc.growth.graph import GrowthGraph, TrainNode
from growc.spec.schema import Parallel
from growc.spec.training import AUTO_TOKENS

WHOLE = "all devices share one copy of the weights"
COPIES = "the devices, divided by the {} copies of the weights"
EP = "the most devices of one machine among which the experts of every stage divide, 1 if they cannot be spread"
MICRO = f"the most sequences that divide a device's share of a batch and have at most {AUTO_TOKENS:,} tokens, or one"


def automatic(parallel: Parallel, graph: GrowthGraph) -> dict[str, str]:
    """The rule of each value that is `auto` and that a run of `graph` uses, by its key."""
    found: dict[str, str] = {}
    trained = [node for node in graph.nodes if isinstance(node, TrainNode)]
    if parallel.fsdp == "auto":
        found["fsdp"] = WHOLE if parallel.replicate == 1 else COPIES.format(parallel.replicate)
    if parallel.ep == "auto" and any(node.after.moe for node in graph.nodes):
        found["ep"] = EP
    if any(node.training.micro_batch == "auto" for node in trained):
        found["micro_batch"] = MICRO
    return found
