"""The model card of a grown checkpoint: the source's, with a section on the growth."""

from __future__ import annotations

from pathlib import Path

from growc.anatomy.grown_format import loads
from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.around import Around
from growc.files.beside import CARD, is_there
from growc.growth.graph import GrowNode
from growc.plan.changes import settings
from growc.plan.render import parameters


def write_card(
    folder: Path,
    source: Path,
    node: GrowNode,
    before: ModelGraph,
    after: ModelGraph,
    proof: str,
    stays: Around,
    *,
    distributed: bool,
) -> None:
    """Write the card of a model grown from the one in `source`; nothing in it depends on the time or on paths.

    `proof` is a sentence on how the claim is known to hold, or nothing.
    """
    card = source / CARD
    text = card.read_bytes().rstrip() + b"\n\n" if is_there(card) else b""
    section = _section(node, before, after, proof, _loads(after, stays, distributed)) + _left(stays)
    (folder / CARD).write_bytes(text + section.encode())


def _left(stays: Around) -> str:
    return "".join(f"\n{left.says}\n" for left in stays.left)


def _loads(after: ModelGraph, stays: Around, distributed: bool) -> str:
    if stays.whole:
        return f"It {loads(stays.config)}, with all parts beside the language model as they were."
    if not distributed:
        return f"It {loads(after.config)}."
    return (
        "Its weights are a distributed checkpoint of torch, which `torch.distributed.checkpoint.load` reads into the\n"
        f"state dict of a model of its config. As safetensors files it {loads(after.config)}."
    )


def _section(node: GrowNode, before: ModelGraph, after: ModelGraph, proof: str, loading: str) -> str:
    total, grown = (parameters(graph.cost.total_params) for graph in (before, after))
    active, grown_active = (
        "unknown" if graph.active_params is None else parameters(graph.active_params) for graph in (before, after)
    )
    proof = f"{proof}\n\n" if proof else ""
    operators = "\n".join(f"- `{step.operator.op}`: {settings(step.operator)}" for step in node.rewrites)
    return f"""## Growth

This checkpoint was grown from another, not trained from scratch: {total} parameters became {grown}, {active} active
ones {grown_active}. Stage `{node.stage}`, seed {node.training.seed}; it {node.preserves.in_words}:

{operators}

{proof}{loading} `growth.json` has the spec, the operators with all that they decided, and hashes of the
source.
"""
