"""Which grow stage is meant, and whether a folder holds the model that it grows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from growc.anatomy.grown_format import GROWN
from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import fail
from growc.growth.graph import GrowNode
from growc.growth.open import Opened
from growc.spec.baselines import MAIN


def grow_node(opened: Opened, stage: str) -> GrowNode:
    """The grow stage called `stage`: with the point of a sweep in front, unless all points share it.

    Raises:
        GrowcError: there is none (GROW640), or one at each of several points (GROW651).
    """
    names = {node.name: node for node in opened.graph.nodes if node.arm == MAIN}
    alike = [name for name, node in names.items() if node.stage == stage]
    if stage not in names and len(alike) > 1:
        fail(
            "GROW651",
            f"stage {stage} differs between the points of the sweep",
            help=f"choose one of {', '.join(alike[:6])}{' ...' if len(alike) > 6 else ''}, or leave the sweep out with "
            "--set 'sweep={}'",
            span=names[alike[0]].loaded.span("stages", names[alike[0]].position),
        )
    stage = stage if stage in names or not alike else alike[0]
    grows = {name: node for name, node in names.items() if isinstance(node, GrowNode)}
    if stage not in grows:
        known = f"grow stages: {', '.join(grows)}" if grows else "the spec has no grow stage"
        if stage in names:
            span = names[stage].loaded.span("stages", names[stage].position)
            fail("GROW640", f"stage {stage} trains; only a grow stage can be run on a folder", help=known, span=span)
        near = difflib.get_close_matches(stage, grows, 1)
        fail("GROW640", f"the spec has no stage {stage!r}", help=f"did you mean {near[0]}?" if near else known)
    return grows[stage]


def check_source(opened: Opened, node: GrowNode, found: ModelGraph, folder: Path) -> None:
    """Refuse a folder whose model is not the one that `node` grows (GROW645)."""
    faults = _differences(node.before, found, settled=not _measured_before(opened, node))
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        fail(
            "GROW645",
            f"{folder} is not the model that stage {node.name} grows: {'; '.join(faults[:3])}{more}",
            help=f"the stage grows the state {node.start}: give a checkpoint of it",
            span=node.loaded.span("stages", node.position),
        )


def _measured_before(opened: Opened, node: GrowNode) -> bool:
    """Whether an earlier growth was settled by measurement, so that the spec does not know the groups of siblings."""
    start = node.start
    while start.node is not None:
        parent = opened.graph.node(start.node)
        if isinstance(parent, GrowNode) and any(rewrite.deferred_vectors for rewrite in parent.rewrites):
            return True
        start = parent.start
    return False


def _differences(wanted: ModelGraph, found: ModelGraph, *, settled: bool) -> list[str]:
    """What a folder has otherwise, told once: a wrong number of experts also changes shapes."""
    types = [_stock_type(graph) for graph in (wanted, found)]
    if types[0] != types[1]:
        return [f"its model_type is {types[1]}, not {types[0]}"]
    if wanted.layers != found.layers:
        return [f"it has {found.layers} layers, not {wanted.layers}"]
    return list(_routing(wanted, found, settled)) or list(_shapes(wanted, found))


def _routing(wanted: ModelGraph, found: ModelGraph, settled: bool) -> Iterator[str]:
    sites = [{site.layer: site for site in graph.moe} for graph in (wanted, found)]
    groups = [_groups(graph) for graph in (wanted, found)]
    for layer in sorted(sites[0].keys() | sites[1].keys()):
        if layer not in sites[0] or layer not in sites[1]:
            yield f"layer {layer} has {'no' if layer in sites[0] else 'unplanned'} experts"
            continue
        for field, title in (("num_experts", "experts"), ("top_k", "active experts"), ("routing_groups", "groups")):
            values = [getattr(at[layer], field) for at in sites]
            if values[0] != values[1]:
                yield f"layer {layer} has {values[1]} {title}, not {values[0]}"
        siblings = [at.get(layer) for at in groups]
        if (siblings[0] is None) != (siblings[1] is None):
            yield f"layer {layer} routes {'freely' if siblings[0] else 'exclusively'}"
        elif settled and siblings[0] != siblings[1]:
            yield f"layer {layer} has siblings in groups of {siblings[1]}, not {siblings[0]}"


def _shapes(wanted: ModelGraph, found: ModelGraph) -> Iterator[str]:
    for name in dict(wanted.tensors) | dict(found.tensors):
        shapes = [g.tensors[name].shape if name in g.tensors else None for g in (wanted, found)]
        if shapes[0] is None or shapes[1] is None:
            yield f"it has {'no' if shapes[1] is None else 'an unplanned'} {name}"
        elif shapes[0] != shapes[1]:
            yield f"{name} has shape {list(shapes[1])}, not {list(shapes[0])}"


def _stock_type(graph: ModelGraph) -> str:
    return graph.config.get(GROWN, graph.config)["model_type"]


def _groups(graph: ModelGraph) -> dict[int, list[int]]:
    """Sizes of the groups of siblings of every layer that routes exclusively."""
    layers: dict[str, Any] = graph.config.get(GROWN, {"layers": {}})["layers"]
    return {int(layer): entry["replicas"] for layer, entry in layers.items() if "replicas" in entry}
