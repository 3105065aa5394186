"""Growth operators: one small file each, and the table of them."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from growc.operators.operator import Operator

OPERATORS: dict[str, str] = {
    "bam": "growc.operators.bam:Bam",
    "branch_train_mix": "growc.operators.branch_train_mix:BranchTrainMix",
    "deepen": "growc.operators.deepen:Deepen",
    "ders": "growc.operators.ders:Ders",
    "expert_pruning": "growc.operators.expert_pruning:ExpertPruning",
    "expert_slimming": "growc.operators.expert_slimming:ExpertSlimming",
    "expert_upcycling": "growc.operators.expert_upcycling:ExpertUpcycling",
    "grove": "growc.operators.grove:Grove",
    "hypercloning": "growc.operators.hypercloning:HyperCloning",
    "merge_duplicates": "growc.operators.merge_duplicates:MergeDuplicates",
    "model_soup": "growc.operators.model_soup:ModelSoup",
    "nexus": "growc.operators.nexus:Nexus",
    "nexus_extension": "growc.operators.nexus_extension:NexusExtension",
    "release_siblings": "growc.operators.release_siblings:ReleaseSiblings",
    "router_upcycling": "growc.operators.router_upcycling:RouterUpcycling",
    "sparse_upcycling": "growc.operators.sparse_upcycling:SparseUpcycling",
    "drop_upcycling": "growc.operators.drop_upcycling:DropUpcycling",
    "noise_upcycling": "growc.operators.noise_upcycling:NoiseUpcycling",
    "virtual_group_upcycling": "growc.operators.virtual_group_upcycling:VirtualGroupUpcycling",
    "stack": "growc.operators.stack:Stack",
    "symphony": "growc.operators.symphony:Symphony",
    "widen": "growc.operators.widen:Widen",
}
"""Operator name -> where its class lives; a new operator is a file and a row."""


def operator(name: str) -> type[Operator]:
    """The class of the operator called `name`.

    Raises:
        KeyError: there is no such operator.
    """
    module, _, cls = OPERATORS[name].partition(":")
    return cast(type[Operator], getattr(import_module(module), cls))


__all__ = ["OPERATORS", "Operator", "operator"]
