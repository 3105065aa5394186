"""Training state on disk: weights, moments and steps of every tensor, in torch's distributed checkpoint format.

A state is a folder with `state.json` (what it is), `config.json` (the model) and `shards/` (the tensors). It is
written aside by all ranks and committed by one rename: an existing state is never written over.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from transformers import PreTrainedModel

from growc.checkpoint.atomic import commit, read_json, write_json
from growc.model.build import canonical
from growc.run.distribute import named_state
from growc.run.optimizer import State

FORMAT = 1


@dataclass(frozen=True)
class Meta:
    """What a state is: the node it belongs to, and how far that node is.

    `moments` lists, for every tensor with optimizer state, the names of its state tensors.
    """

    key: str
    node: str
    step: int
    tokens: int
    moments: dict[str, list[str]]
    format: int = FORMAT


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


def write_state(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    optimizer: State,
    key: str,
    node: str,
    step: int,
    tokens: int,
    *,
    alone: bool = False,
) -> None:
    """Fill an existing folder with a state; committing it is the caller's act.

    All ranks write together, or one of them `alone` while the others wait.
    """
    content = {"model": dict(tensors), "optimizer": optimizer}
    writer = FileSystemWriter(folder / "shards", overwrite=False)
    _quietly(save_shards, content, storage_writer=writer, no_dist=alone)
    if alone or dist.get_rank() == 0:
        moments = {name: sorted(entry) for name, entry in optimizer.items()}
        write_json(folder / "config.json", dict(config))
        write_json(folder / "state.json", asdict(Meta(key, node, step, tokens, moments)))


def read_meta(path: Path) -> Meta:
    """What the state at `path` is."""
    return Meta(**read_json(path / "state.json"))


def read_config(path: Path) -> dict[str, Any]:
    """The config of the model whose state lies at `path`."""
    return read_json(path / "config.json")


def load_state(path: Path, model: PreTrainedModel) -> tuple[Meta, State]:
    """Load weights into `model`, whatever layout wrote them, and return the optimizer's state laid out like it."""
    meta = read_meta(path)
    tensors = named_state(model)
    optimizer: State = {
        name: {key: torch.zeros(()) if key == "step" else torch.empty_like(tensors[name]) for key in keys}
        for name, keys in meta.moments.items()
    }
    with torch.no_grad():
        content = {"model": tensors, "optimizer": optimizer}
        _quietly(load_shards, content, storage_reader=FileSystemReader(path / "shards"))
    return meta, optimizer


def _quietly(act: Any, *args: Any, **kwargs: Any) -> None:
    """DCP warns at every call that one process acts alone, which is what was asked of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        act(*args, **kwargs)
