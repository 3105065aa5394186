"""Training state on disk: weights, moments and steps of every tensor, in torch's distributed checkpoint format.

A state is a folder with `state.json` (what it is), `config.json` (the model) and `shards/` (the tensors).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards

from growc.checkpoint.shards import ShardsReader
from growc.files.atomic import read_json, write_json

State = dict[str, dict[str, Tensor]]
"""Parameter name -> {moment name or "step": tensor}."""

SHARDS = "shards"
META = "state.json"

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
    writer = FileSystemWriter(folder / SHARDS, overwrite=False)
    _quietly(save_shards, content, storage_writer=writer, no_dist=alone)
    if alone or dist.get_rank() == 0:
        moments = {name: sorted(entry) for name, entry in optimizer.items()}
        write_json(folder / "config.json", dict(config))
        write_json(folder / META, asdict(Meta(key, node, step, tokens, moments)))


def read_meta(path: Path) -> Meta:
    """What the state at `path` is."""
    return Meta(**read_json(path / META))


def read_config(path: Path) -> dict[str, Any]:
    """The config of the model whose state lies at `path`."""
    return read_json(path / "config.json")


def read_content(path: Path, content: dict[str, Any]) -> None:
    """Fill the tensors of `content` with those of the state at `path`, whatever layout wrote it; all ranks together."""
    _quietly(load_shards, content, storage_reader=ShardsReader(path / SHARDS))


def types_of(path: Path) -> dict[str, torch.dtype]:
    """The type of every tensor of the state at `path`: `model.NAME` or `optimizer.NAME.MOMENT`."""
    index: dict[str, Any] = ShardsReader(path / SHARDS).read_metadata().state_dict_metadata
    return {key: entry.properties.dtype for key, entry in index.items()}


def read_tensor(path: Path, key: str, reader: ShardsReader | None = None) -> Tensor:
    """One tensor of the state at `path`, whole, whatever layout wrote it; one process alone.

    Args:
        path: the state.
        key: `model.NAME` or `optimizer.NAME.MOMENT`.
        reader: of its shards, for whoever reads many tensors: it has read their index.
    """
    reader = reader or ShardsReader(path / SHARDS)
    entry: Any = reader.read_metadata().state_dict_metadata[key]
    content = {key: torch.empty(entry.size, dtype=entry.properties.dtype)}
    _quietly(load_shards, content, storage_reader=reader, no_dist=True)
    return content[key]


def _quietly(act: Any, *args: Any, **kwargs: Any) -> None:
    """DCP warns at every call that one process acts alone, which is what was asked of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        act(*args, **kwargs)
