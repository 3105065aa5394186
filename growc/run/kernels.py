"""The kernels of a run: what the spec asks for, and where that is `auto`, what was the fastest when it first began."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist

from growc.anatomy.grown_format import DELTAS, kinds_of
from growc.anatomy.model_graph import ModelGraph
from growc.engine.compiled import hold_compiler
from growc.engine.kernels import candidates, hold
from growc.engine.layout import Layout
from growc.engine.micro import micro_batch
from growc.engine.timing import Share, time_experts
from growc.growth.graph import GrowthGraph, TrainNode
from growc.records.folder import RunFolder
from growc.records.journal import Event, events, record
from growc.spec.kernels import Kernels

MEASURED = "kernels_measured"
"""The event that says which kernel for experts was the fastest."""


def settle(kernels: Kernels, graph: GrowthGraph, folder: RunFolder, layout: Layout, device: torch.device) -> Kernels:
    """The kernels that a run takes (every rank must call, and all take the same).

    On a CPU `auto` stays what it is; on a GPU kernels for experts are timed once, and the journal has the choice.
    """
    if kernels.experts == "auto" and device.type == "cuda":
        found: list[Any] = [None]
        if dist.get_rank() == 0:
            found = [fastest_experts(graph, folder, layout, device)]
        dist.broadcast_object_list(found, device=torch.device("cpu"))
        kernels = kernels.model_copy(update={"experts": found[0]})
    return kernels


def hold_kernels(kernels: Kernels, graph: GrowthGraph, device: torch.device) -> None:
    """Refuse kernels that the models of a run do not have or that do not run here.

    Errors: GROW605, GROW606, GROW607, GROW608.
    """
    hold(kernels, models_of(graph), {node.training.precision.compute for node in graph.nodes}, device)
    if kernels.compile:
        hold_compiler(device)


def models_of(graph: GrowthGraph) -> list[ModelGraph]:
    """All models that are laid out in a run, each once."""
    found = [model for node in graph.nodes for model in (node.before, node.after)]
    return list({id(model): model for model in found}.values())


def fastest_experts(graph: GrowthGraph, folder: RunFolder, layout: Layout, device: torch.device) -> str:
    """The fastest kernel for the experts of the first mixture that is trained, from the journal if it was timed before;
    `auto` where there is no choice.
    """
    models = models_of(graph)
    here = candidates(models, {node.training.precision.compute for node in graph.nodes}, device)
    if not here:
        return "auto"
    for event in events(folder.journal, MEASURED):
        if event.experts in here:  # a run may go on where a library is missing
            return event.experts
    for node in graph.nodes:
        # Experts that are composed of a base and deltas are no module that can be run alone.
        if not isinstance(node, TrainNode) or not node.after.moe or DELTAS in kinds_of(node.after.config):
            continue
        rows = micro_batch(node.training, node.sequence_length, layout.ranks)
        share = Share(rows * node.sequence_length, layout.ep)
        seconds = time_experts(node.after, share, node.training.precision.compute, device, here)
        best = min(seconds, key=lambda name: seconds[name])
        record(folder.journal, Event(time.time(), MEASURED, node.name, experts=best, seconds=seconds))
        return best
    return "auto"
