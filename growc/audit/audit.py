"""A grown folder held against an independent reading of its growth, before it takes its name."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from growc.anatomy.model_graph import ModelGraph
from growc.audit.beside import differences_beside
from growc.audit.compare import MOST, differences
from growc.audit.fault import refuse
from growc.audit.readings import READ, reading
from growc.audit.record import check_settings
from growc.audit.rows import AsTold, InFolder, Rows
from growc.audit.step import Step
from growc.audit.training import training_differences
from growc.checkpoint.distributed import read_distributed
from growc.checkpoint.lineage import LINEAGE
from growc.checkpoint.request import Request
from growc.checkpoint.source import FolderTensors
from growc.checkpoint.stage import grow_node
from growc.checkpoint.weights import HubWeights
from growc.checkpoint.write import shell
from growc.diagnostics import Diagnostic, GrowcError, Severity
from growc.files.distributed import is_distributed
from growc.files.folder import read_folder
from growc.growth.graph import GrowNode
from growc.growth.open import open_spec
from growc.model import inspect
from growc.model.layer_codings import fitting_config
from growc.model.moe_class_search import resolve_moe
from growc.model.source import CONFIG, read_config
from growc.operators.facets import ReordersLayers, map_order_of, wanted_mixtures


@torch.no_grad()
def audit(request: Request, grown: Path) -> tuple[Diagnostic, ...]:
    """Compare every tensor of the folder `grown` with what the request's stage makes of the source.

    The operators and their settings come from the spec, the tensors from both folders; neither the byte plan nor the
    tensor programs have a part in it. Rows that are moved must be the same bits, and computed ones the same numbers up
    to the rounding of `growc.audit.value`.

    Returns:
        A warning (GROW666) where the stage has an operator without a reading: then nothing was compared.

    Raises:
        GrowcError: GROW665, for each of the first tensors that differ, or what the lineage or the config says wrongly.
    """
    opened = open_spec(request.spec, request.overrides, allow_code=request.allow_code)
    node = grow_node(opened, request.stage)
    if unread := [step.operator.op for step in node.rewrites if step.operator.op not in READ]:
        return (_unread(unread[0]),)
    length = node.before.cost.sequence_length
    source, found = _tensors(request.source, length), _tensors(grown, length)
    steps, wanted = _read(node, read_config(grown / LINEAGE), source)
    _check_model(wanted.graph, found.graph)
    config, text_only = read_config(grown / CONFIG), request.text_only
    beside = differences_beside(source.tensors, found.tensors, config, text_only=text_only)
    training = training_differences(request.source, grown, steps)
    if told := tuple(islice(chain(differences(found, wanted, found.graph.tensors), beside, training), MOST)):
        raise GrowcError(told)
    return ()


def _tensors(folder: Path, length: int) -> InFolder:
    config = read_config(folder / CONFIG)
    graph = inspect(config, length)
    weights = read_distributed(folder, graph) if is_distributed(folder) else HubWeights(read_folder(folder))
    return InFolder(FolderTensors(weights, shell(config), graph), graph)


def _read(node: GrowNode, lineage: dict[str, Any], source: Rows) -> tuple[list[Step[Any]], Rows]:
    """The growths of a stage, the first one first, and what they make of the source's tensors, one on the other."""
    records: list[dict[str, Any]] = lineage["operators"]
    if len(records) != len(node.rewrites):
        refuse(f"growth.json tells of {len(records)} operators, and the stage has {len(node.rewrites)}")
    steps: list[Step[Any]] = []
    for index, (planned, record) in enumerate(zip(node.rewrites, records, strict=True)):
        operator, before = planned.operator, source.graph
        replicas = {int(layer): tuple(counts) for layer, counts in record["replicas"].items()}
        moe = resolve_moe(before, wanted_mixtures(operator, before))
        config = operator.config(before, replicas, moe)
        if isinstance(operator, ReordersLayers):
            fitting = fitting_config(before, operator.layer_order(before))
            assert fitting is not None, "what cannot be said was refused before it grew"
            config = fitting
        after = inspect(config, before.cost.sequence_length)
        seed = f"{node.training.seed}/{node.stage}/{index}"
        steps.append(Step(operator, seed, before, after, source, record, map_order_of(operator, before, moe)))
        check_settings(steps[-1])
        source = AsTold(reading(operator.op)(steps[-1]), source, after)
    return steps, source


def _check_model(wanted: ModelGraph, found: ModelGraph) -> None:
    """Refuse a config that is not the grown model's."""
    for what in ("layers", "tied", "moe", "ffn", "attention"):
        if getattr(wanted, what) != getattr(found, what):
            refuse(f"{CONFIG} describes another model than the grown one: its {what} differ")


def _unread(op: str) -> Diagnostic:
    return Diagnostic(
        "GROW666",
        f"{op} has no independent reading: the tensors are as planned, and the plan was not checked",
        "compare a run of the model with what you expect of it",
        severity=Severity.WARNING,
    )


def main(answer: int, asked: str) -> None:
    """What `growc.checkpoint.command.in_a_child` starts; the answer goes into the pipe `answer`."""
    values: dict[str, Any] = json.loads(asked)
    failed = False
    try:
        diagnostics = audit(Request.read(values["request"]), Path(values["aside"]))
    except GrowcError as error:
        failed, diagnostics = True, error.diagnostics
    with os.fdopen(answer, "w") as stream:
        json.dump({"failed": failed, "diagnostics": [asdict(one) for one in diagnostics]}, stream)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
