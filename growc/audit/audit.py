"""A grown folder held against an independent reading of its growth, before it takes its name."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from growc.audit.compare import MOST, differences
from growc.audit.fault import refuse
from growc.audit.readings import READ, reading
from growc.audit.record import check_settings
from growc.audit.rows import AsTold, InFolder, Rows
from growc.audit.step import Step
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
from growc.model import ModelGraph, inspect
from growc.model.source import CONFIG, read_config


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
    source = _tensors(request.source, inspect(read_config(request.source / CONFIG), length))
    found = _tensors(grown, inspect(read_config(grown / CONFIG), length))
    wanted = _read(node, read_config(grown / LINEAGE), source)
    _check_model(wanted.graph, found.graph)
    if told := tuple(islice(differences(found, wanted), MOST)):
        raise GrowcError(told)
    return ()


def _tensors(folder: Path, graph: ModelGraph) -> InFolder:
    weights = read_distributed(folder, graph) if is_distributed(folder) else HubWeights(read_folder(folder))
    return InFolder(FolderTensors(weights, shell(graph.config), graph), graph)


def _read(node: GrowNode, lineage: dict[str, Any], source: Rows) -> Rows:
    """What the growths of a stage, one on the other, make of the source's tensors."""
    records: list[dict[str, Any]] = lineage["operators"]
    if len(records) != len(node.rewrites):
        refuse(f"growth.json tells of {len(records)} operators, and the stage has {len(node.rewrites)}")
    for index, (planned, record) in enumerate(zip(node.rewrites, records, strict=True)):
        operator, before = planned.operator, source.graph
        replicas = {int(layer): tuple(counts) for layer, counts in record["replicas"].items()}
        after = inspect(operator.config(before, replicas), before.cost.sequence_length)
        seed = f"{node.training.seed}/{node.stage}/{index}"
        step = Step(operator, seed, before, after, source, record)
        check_settings(step)
        source = AsTold(reading(operator.op)(step), source, after)
    return source


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
