"""The half of `growc grow` that knows models: from a spec and a folder to a byte plan, with what must be computed.

It needs torch and transformers; `growc.files` does the rest, and needs neither.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from growc import __version__
from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.around import Around, around, check_whole
from growc.checkpoint.arrangement import Arrangement, distribute
from growc.checkpoint.card import write_card
from growc.checkpoint.compute_tensors import Maker
from growc.checkpoint.distributed import read_distributed
from growc.checkpoint.dtypes import FLOATING
from growc.checkpoint.grown import Grown, Tensors, chain, weight_scores
from growc.checkpoint.grown_training import grow_training, size_of
from growc.checkpoint.lineage import LINEAGE
from growc.checkpoint.proof import check_growth
from growc.checkpoint.recipes import recipes
from growc.checkpoint.request import Request
from growc.checkpoint.source import FolderTensors
from growc.checkpoint.stage import check_source, grow_node
from growc.checkpoint.storing import is_distributed_by, storage_by
from growc.checkpoint.validate_training_state import check_training
from growc.checkpoint.weights import HubWeights, Weights
from growc.checkpoint.write import shell, write_config
from growc.diagnostics import Diagnostic, GrowcError, fail
from growc.files.atomic import write_json
from growc.files.beside import TRAINING, beside, copy_beside, is_there
from growc.files.distributed import fingerprint, is_distributed
from growc.files.folder import read_folder
from growc.files.layout import lay_out
from growc.files.move import check_sources
from growc.files.plan import Plan
from growc.files.planfile import write_plan
from growc.files.space import check_room
from growc.files.staging import check_space
from growc.growth.decision import by_scores
from growc.growth.graph import GrowNode
from growc.growth.open import open_spec
from growc.growth.rewrite import Rewrite, core_seconds, refusals, rewrite
from growc.model import ModelSource, inspect
from growc.model.source import CONFIG, from_folder, named, read_config
from growc.model.whole import text_of
from growc.operators.facets import SkipsExperts, measure_of
from growc.operators.measures import needs
from growc.operators.work import spoken
from growc.plan.render import TOLD_FROM


def prepare(request: Request, aside: Path) -> tuple[Diagnostic, ...]:
    """Fill the empty folder `aside` with all of the grown checkpoint that is not moved from the source, and the plan.

    Tensors keep their dtype, and the source's layout on disk unless the request asks for another. The training state of
    a growc checkpoint is grown too.

    Returns:
        Warnings: those of `growc check`, GROW648 (files were left behind), GROW649 and GROW668 (tensors were).

    Raises:
        GrowcError: anything that keeps the folder from being grown.
    """
    key = request.key()
    opened = open_spec(request.spec, request.overrides, allow_code=request.allow_code)
    node = grow_node(opened, request.stage)
    _refuse_several(node)
    _refuse_gradients(node)
    source = from_folder(request.source.absolute(), fingerprint)
    dtype = _dtype({**source.config, **text_of(source.config)}, source.origin)
    with named(request.source / CONFIG):
        graph = inspect(source.config, opened.graph.source.cost.sequence_length)
    check_source(opened, node, graph, request.source)
    if trained := os.path.lexists(training := request.source / TRAINING):
        check_training(training, graph)
    weights = _weights(request.source, graph)
    along = beside(request.source, {name for name, *_ in weights.fingerprint()})
    read = weights.sources()
    tensors = FolderTensors(weights, shell(source.config), graph)
    grown, operators = _grown(node, graph, tensors)
    checked = check_growth(opened, node, chain(grown))

    after = grown.rewrite.grown
    distributed = is_distributed_by(request.layout, weights)
    stays = around(tensors, source.config, graph, after, distributed=distributed, text_only=request.text_only)
    storage = storage_by(request.layout, tensors, grown, whole=stays.whole)
    recipe = recipes(graph, tensors, grown, storage)
    carried = stays.planned(tensors)
    planned = recipe.tensors | carried
    _announce(sum(map(core_seconds, chain(grown))))
    if distributed:
        arrangement = distribute(planned.values(), weights.prefix, after.tied, request.shard_bytes, aside)
    else:
        arrangement = Arrangement(lay_out(planned.values(), request.shard_bytes))
    parameters = after.cost.total_params + sum(math.prod(tensor.shape) for tensor in carried.values())
    plan = Plan(key, parameters, read, arrangement.outputs)
    check_sources(plan, aside)
    check_room(plan, aside)
    config = write_config(aside, after, stays.text, dtype, stays.written)
    check_whole(stays, tensors, config, planned.values())
    copy_beside(request.source, along.carried, aside)
    write_json(aside / LINEAGE, _lineage(node, source, weights, operators, stays))
    write_card(aside, request.source, node, graph, after, checked.proof, stays, distributed=distributed)
    if trained:
        steps = chain(grown)
        check_space(aside, size_of(training, steps))
        grow_training(training, aside / TRAINING, steps)
    write_plan(aside, replace(plan, outputs=Maker(aside, arrangement, recipe, grown, storage).make()))
    return (*checked.warnings, *along.warnings(request.source), *stays.warnings(request.source))


def _announce(seconds: float) -> None:
    """Tell someone who waits how long it will be."""
    if seconds > TOLD_FROM:
        sys.stderr.write(f"computing new weights takes about {spoken(seconds)} of one core\n")


def _weights(folder: Path, graph: ModelGraph) -> Weights:
    return read_distributed(folder, graph) if is_distributed(folder) else HubWeights(read_folder(folder))


def _grown(node: GrowNode, graph: ModelGraph, tensors: Tensors) -> tuple[Grown, list[dict[str, Any]]]:
    """The stage's operators, one on the other, settled on the model as it is; and what they decided."""
    operators: list[dict[str, Any]] = []
    for index, planned in enumerate(node.rewrites):
        step = _replanned(node, index, planned, graph)
        decision = by_scores(step, weight_scores(step, tensors))
        tensors = Grown(decision.bound(step), tensors)
        graph = tensors.rewrite.grown
        settings = {"op": step.operator.op, **step.operator.model_dump(mode="json")}
        operators.append(settings | decision.record())
    assert isinstance(tensors, Grown)
    return tensors, operators


def _replanned(node: GrowNode, index: int, planned: Rewrite, graph: ModelGraph) -> Rewrite:
    """The rewrite on the folder's own model: an earlier growth of it may have been settled by measurement."""
    problems = refusals(planned.operator, graph)
    if problems:
        place = ("stages", node.position, "grow", index)
        raise GrowcError(Diagnostic(p.code, p.message, p.help, node.loaded.span(*place, *p.where)) for p in problems)
    return rewrite(planned.operator, graph, seed=planned.seed, sequence_length=planned.sequence_length)


def _refuse_several(node: GrowNode) -> None:
    if node.others:
        fail(
            "GROW662",
            f"stage {node.name} mixes {len(node.starts)} states, and `growc grow` reads one folder",
            help="run the stage with `growc run`",
            span=node.loaded.span("stages", node.position, "from"),
        )


def _refuse_gradients(node: GrowNode) -> None:
    for index, planned in enumerate(node.rewrites):
        operator = planned.operator
        measure = measure_of(operator)
        field, lacking = "skipping", "what skipping would do is measured by running the model"
        if not (isinstance(operator, SkipsExperts) and operator.skipping_over):
            field = next((name for name, value in operator if value == measure), "")
            lacking = needs(measure) if measure is not None else None
        if lacking:
            fail(
                "GROW312",
                f"{lacking}, and `growc grow` reads weights only (stage {node.name})",
                help="use `growc run`, or choose what needs no run (the score weight_norm, static keys, no skipping)",
                span=node.loaded.span("stages", node.position, "grow", index, field),
            )


def _dtype(config: Mapping[str, Any], origin: str) -> str | None:
    """What the folder's config says, under the key of today's transformers or the former one.

    Raises:
        GrowcError: GROW202, if it names no floating dtype, or two.
    """
    given = {key: config[key] for key in ("dtype", "torch_dtype") if config.get(key) is not None}
    faults = [
        f"{key} is {name!r}, no floating dtype of torch"
        for key, name in given.items()
        if not isinstance(name, str) or name not in FLOATING
    ]
    if not faults and len({*given.values()}) > 1:
        faults = [f"dtype is {given['dtype']}, and torch_dtype {given['torch_dtype']}"]
    if faults:
        fail("GROW202", f"{origin}/{CONFIG}: {faults[0]}", help="write the dtype of the weights, as `bfloat16`")
    return next(iter(given.values()), None)


def _lineage(
    node: GrowNode, source: ModelSource, weights: Weights, operators: list[dict[str, Any]], stays: Around
) -> dict[str, Any]:
    """Where the checkpoint comes from; nothing in it depends on the time or on paths, so equal calls write it alike."""
    lineage = weights.folder / LINEAGE
    before = {"lineage": read_config(lineage)} if is_there(lineage) else {}
    return {
        "growc": __version__,
        "stage": node.stage,
        "from": node.origin,
        "seed": node.training.seed,
        "operators": operators,
        **({"left_behind": [left.record for left in stays.left]} if stays.left else {}),
        "spec": node.loaded.values,
        "source": {
            "digest": source.digest,
            "files": [{"name": name, "size": size, "header": digest} for name, size, digest in weights.fingerprint()],
            **before,
        },
    }


def main(answer: int, asked: str) -> None:
    """What `growc.checkpoint.command.prepare_in_a_child` starts; the answer goes into the pipe `answer`."""
    values: dict[str, Any] = json.loads(asked)
    failed = False
    try:
        diagnostics = prepare(Request.read(values["request"]), Path(values["aside"]))
    except GrowcError as error:
        failed, diagnostics = True, error.diagnostics
    with os.fdopen(answer, "w") as stream:
        json.dump({"failed": failed, "diagnostics": [asdict(one) for one in diagnostics]}, stream)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
