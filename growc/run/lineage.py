"""What led to a stage: the growths on its way, as they were settled, and how much was trained after each."""

from __future__ import annotations

from growc.anatomy.replicas import Replicas
from growc.growth.graph import GrowNode, GrowthGraph, TrainNode, trunk
from growc.growth.past import PastGrowth
from growc.operators.siblings import siblings_after
from growc.records.folder import RunFolder
from growc.records.read import read_record
from growc.records.results import GrowResult


def growths(graph: GrowthGraph, folder: RunFolder, node: TrainNode | GrowNode) -> list[PastGrowth]:
    """All growths that led to the start of `node`, the first one first; of several states, to the first."""
    found, steps = list[PastGrowth](), 0
    for parent, port in trunk(node.start, graph.node):
        steps += parent.steps_to(port)
        if isinstance(parent, GrowNode):
            done = read_record(folder.result(parent.name), GrowResult).decisions
            for rewrite, settled in zip(reversed(parent.rewrites), reversed(done), strict=True):
                found.append(PastGrowth(rewrite.operator, settled.replicas, steps, settled.layer_order))
    return found[::-1]


def siblings(past: list[PastGrowth]) -> dict[int, Replicas]:
    """Sizes of the groups of siblings by layer, in slot order, after `past`."""
    groups: dict[int, Replicas] = {}
    for growth in past:
        groups = siblings_after(growth.operator, groups, growth.replicas, growth.layer_order)
    return groups
