"""How a grown folder stores its tensors, by the layout that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

import torch

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.conversion import Loading, Storage
from growc.checkpoint.grown import Grown
from growc.checkpoint.layout import Layout
from growc.checkpoint.source import FolderTensors
from growc.checkpoint.weights import Weights
from growc.checkpoint.write import shell
from growc.diagnostics import fail
from growc.model.whole import names_in, whole_model, with_text


def is_distributed_by(layout: Layout, weights: Weights) -> bool:
    """Whether the grown folder holds a distributed checkpoint."""
    return layout == "dcp" or (layout == "same" and weights.in_memory)


def storage_by(layout: Layout, source: FolderTensors, grown: Grown, *, whole: bool = False) -> Storage:
    """How the grown folder stores its tensors.

    Args:
        layout: what was asked for.
        source: the folder that is grown.
        grown: its growths, chained.
        whole: whether the names are those in the whole model of which the source is a part.

    Raises:
        GrowcError: GROW664, the family cannot be stored so: loading what it is stored as would not give its tensors.
    """
    after = grown.rewrite.grown
    model = language = shell(after.config)
    part: Mapping[str, str] | None = None
    if whole and (around := whole_model(with_text(source.config, after.config))) is not None:
        model, part = around, names_in(around, language)
    if is_distributed_by(layout, source.weights):
        return Storage(language, frozenset(after.tensors))
    if layout == "same":
        return Storage(model, source.storage.as_is, part or {})
    metas = {n: torch.empty(info.shape, dtype=grown.dtype(n), device="meta") for n, info in after.tensors.items()}
    published = Storage(model, part=part or {})
    try:
        saved = published.stored(metas)
        renamed = frozenset(name for name in metas if published.named(name) not in saved)
        storage = replace(published, as_is=renamed) if layout == "fused" else published
        stored = storage.stored(metas)
        loading = Loading(model, stored, part=part)
        found = {n: t for load in loading.loads for n, t in loading.convert(load, stored.__getitem__).items()}
    except (RuntimeError, ValueError, NotImplementedError) as error:
        _refuse(layout, after, " ".join(str(error).split())[:300] or type(error).__name__)
    strange = [name for name in metas if name not in found or found[name].shape != metas[name].shape]
    if strange or loading.unknown:
        _refuse(layout, after, f"{(*strange, *loading.unknown)[0]} would not come back from it")
    return storage


def _refuse(layout: Layout, graph: ModelGraph, why: str) -> NoReturn:
    family = graph.config["model_type"]
    help = "ask for another --layout: `same` keeps the source's"
    fail("GROW664", f"a model of the type {family} cannot be stored in the layout {layout}: {why}", help=help)
