"""`growc grow`: one grow stage on a checkpoint folder, file to file, without training and without an accelerator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from growc import __version__
from growc.checkpoint.atomic import write_json
from growc.checkpoint.grown import Grown, Tensors, allocated, weight_norms
from growc.checkpoint.shards import SHARD_BYTES
from growc.checkpoint.source import FolderTensors
from growc.checkpoint.stage import check_source, grow_node
from growc.checkpoint.staging import check_destination, staged
from growc.checkpoint.write import (
    LINEAGE,
    TRAINING,
    companions,
    copy_companions,
    plan_layout,
    shell,
    write_config,
    write_weights,
)
from growc.diagnostics import Diagnostic, GrowcError, Severity, fail
from growc.growth.graph import GrowNode
from growc.growth.open import Opened, open_spec
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import ModelGraph, ModelSource, inspect, resolve
from growc.model.folder import read_folder
from growc.model.source import read_config
from growc.operators import Operator
from growc.operators.allocation import Greedy, Proportional
from growc.spec.schema import Model

CONFIG_BYTES = 10**8
"""Room left for configs, index and file system on top of the weights' bytes."""


def grow(
    spec: Path,
    stage: str,
    from_: Path,
    to: Path,
    overrides: Sequence[str],
    allow_code: bool,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[Diagnostic, ...]:
    """Grow the checkpoint in `from_` as the spec's grow stage `stage` says, and write the result to `to`.

    `to` appears whole or not at all. Tensors keep their dtype. Weights only: an optimizer's state is not grown.

    Args:
        spec: the spec file.
        stage: name of one of its grow stages.
        from_: a Hugging Face folder with the model that the stage grows.
        to: a folder that does not exist.
        overrides: `--set` values.
        allow_code: whether `model.module` of the spec may run.
        shard_bytes: the most tensor bytes of one weight file.

    Returns:
        Warnings: GROW648 (training state was not grown), GROW649 (tensors were left out).

    Raises:
        GrowcError: anything that keeps the folder from being grown; nothing is left at `to` then.
    """
    opened = open_spec(spec, overrides, allow_code=allow_code)
    node = grow_node(opened, stage)
    _refuse_gradients(opened, node)
    if not from_.is_dir():
        fail("GROW650", f"{from_} is not a folder", help="--from is a Hugging Face folder, or a checkpoint of a run")
    check_destination(to, from_)
    source = resolve(Model(path=str(from_.absolute())), from_)
    graph = inspect(source.config, opened.graph.source.cost.sequence_length)
    check_source(opened, node, graph, from_)
    tensors = FolderTensors(read_folder(from_), shell(source.config), graph)
    grown, operators = _grown(opened, node, graph, tensors)
    graph = grown.rewrite.grown

    layout = plan_layout(graph, grown, shard_bytes)
    size = layout.size + sum(file.stat().st_size for file in companions(from_)) + CONFIG_BYTES
    with staged(to, size) as aside:
        write_weights(aside, layout, grown)
        write_config(aside, graph, _dtype(source))
        copy_companions(from_, aside)
        write_json(aside / LINEAGE, _lineage(node, source, from_, operators))
    return tuple(_warnings(from_, tensors))


def _grown(opened: Opened, node: GrowNode, graph: ModelGraph, tensors: Tensors) -> tuple[Grown, list[dict[str, Any]]]:
    """The stage's operators, one on the other, settled on the model as it is; and what they decided."""
    operators: list[dict[str, Any]] = []
    for index, planned in enumerate(node.rewrites):
        step = _replanned(opened, node, index, planned, graph)
        scores = weight_norms(tensors, step.sites) if step.operator.measured else {}
        replicas = allocated(step, scores)
        tensors = Grown(step.bound(replicas), tensors)
        graph = tensors.rewrite.grown
        settings = {"op": step.operator.op, **step.operator.model_dump(mode="json")}
        operators.append(settings | {"replicas": replicas} | ({"scores": scores} if scores else {}))
    assert isinstance(tensors, Grown)
    return tensors, operators


def _replanned(opened: Opened, node: GrowNode, index: int, planned: Rewrite, graph: ModelGraph) -> Rewrite:
    """The rewrite on the folder's own model: an earlier growth of it may have been settled by measurement."""
    problems = list(planned.operator.problems(graph))
    if problems:
        place = ("stages", node.position, "grow", index)
        raise GrowcError(Diagnostic(p.code, p.message, p.help, opened.loaded.span(*place, *p.where)) for p in problems)
    return rewrite(planned.operator, graph, seed=planned.seed, sequence_length=planned.sequence_length)


def _refuse_gradients(opened: Opened, node: GrowNode) -> None:
    for index, planned in enumerate(node.rewrites):
        score = _score(planned.operator)
        if score not in (None, "weight_norm"):
            fail(
                "GROW312",
                f"the score {score} of stage {node.name} needs gradients, and `growc grow` reads weights only",
                help="use `growc run`, or set the score to weight_norm",
                span=opened.loaded.span("stages", node.position, "grow", index, "allocation"),
            )


def _score(operator: Operator) -> str | None:
    rule = getattr(operator, "allocation", None)
    return rule.score if isinstance(rule, (Greedy, Proportional)) else None


def _dtype(source: ModelSource) -> str | None:
    return source.config.get("dtype", source.config.get("torch_dtype"))


def _lineage(node: GrowNode, source: ModelSource, folder: Path, operators: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the checkpoint comes from; nothing in it depends on the time or on paths, so equal calls write it alike."""
    before = {"lineage": read_config(folder / LINEAGE)} if (folder / LINEAGE).is_file() else {}
    return {
        "growc": __version__,
        "stage": node.stage,
        "from": str(node.start),
        "seed": node.training.seed,
        "operators": operators,
        "source": {"digest": source.digest, **before},
    }


def _warnings(folder: Path, tensors: FolderTensors) -> Iterator[Diagnostic]:
    if (folder / TRAINING).is_dir():
        yield Diagnostic(
            "GROW648",
            f"the training state in {folder / TRAINING} was not grown: the new checkpoint has weights only",
            "to keep the optimizer's state, grow within `growc run`",
            severity=Severity.WARNING,
        )
    if tensors.dropped:
        yield Diagnostic(
            "GROW649",
            f"{len(tensors.dropped)} tensors of {folder} were left out, {tensors.dropped[0]} among them",
            "transformers ignores them in this family: they are no part of the language model",
            severity=Severity.WARNING,
        )
