"""The training state of this rank's model, saved and loaded by all ranks together.

A state is written aside and committed by one rename: an existing one is never written over.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.checkpoint.training import Meta, State, read_content, read_meta, types_of, write_state
from growc.engine.distribute import named_state
from growc.files.atomic import commit
from growc.model.build import canonical


def save_state(
    path: Path, model: PreTrainedModel, optimizer: State, *, key: str, node: str, step: int, tokens: int
) -> None:
    """Write the state of `model` and its optimizer to the fresh folder `path` (every rank must call)."""
    aside = path.with_name(path.name + ".partial")
    if dist.get_rank() == 0:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    dist.barrier()
    write_state(aside, named_state(model), canonical(model.config), optimizer, key, node, step, tokens)
    if dist.get_rank() == 0:
        commit(aside, path)
    dist.barrier()


def load_state(path: Path, model: PreTrainedModel) -> tuple[Meta, State]:
    """Load weights into `model`, whatever layout wrote them, and return the optimizer's state laid out like it.

    Moments have the types that they are stored in.
    """
    meta = read_meta(path)
    tensors = named_state(model)
    stored = types_of(path)
    optimizer: State = {
        name: {key: _room(tensors[name], key, stored[f"optimizer.{name}.{key}"]) for key in keys}
        for name, keys in meta.moments.items()
    }
    with torch.no_grad():
        read_content(path, {"model": tensors, "optimizer": optimizer})
    return meta, optimizer


def _room(parameter: Tensor, key: str, dtype: torch.dtype) -> Tensor:
    return torch.zeros(()) if key == "step" else torch.empty_like(parameter, dtype=dtype)
