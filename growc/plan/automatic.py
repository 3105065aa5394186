"""By which rules a run chooses what a spec leaves to it (`auto`)."""

from __future__ import annotations

from growc.growth.graph import GrowthGraph, TrainNode
from growc.spec.schema import Parallel
from growc.spec.training import AUTO_TOKENS

WHOLE = "weights are sharded over all devices"
COPIES = "weights are sharded over all devices of each of the {} replicas"
EP = "the largest number of devices of one machine that divides the number of experts of every stage, else 1"
MICRO = f"the most sequences that divide a device's part of the batch, at most {AUTO_TOKENS:,} tokens; at least one"


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
