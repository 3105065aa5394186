"""Distributed checkpoints as sources: written by torch on one process or on several gloo ranks, and spoilt."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.engine.distribute import leave
from growc.files.distributed import INDEX, SHARD


def nested(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The state dict in which the names of `state` have the prefix."""
    found = dict(state)
    for part in reversed(prefix.split(".")[:-1]):
        found = {part: found}
    return found


def distribute(folder: Path, prefix: str = "") -> PreTrainedModel:
    """Puts a distributed checkpoint in the place of a folder's safetensors files; returns the model."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    for file in folder.glob("model*"):
        file.unlink()
    save(model.state_dict(), folder, prefix)
    return model


def save(state: Mapping[str, Any], folder: Path, prefix: str = "") -> None:
    """One process alone, in the place of what was saved there before."""
    for file in (folder / INDEX, *folder.glob(f"*{SHARD}")):
        file.unlink(missing_ok=True)
    with alone():
        save_shards(nested(state, prefix), checkpoint_id=folder, no_dist=True)


def loaded(folder: Path, like: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """What torch reads from a distributed checkpoint into a state dict of these shapes and dtypes."""
    state = {prefix + name: torch.full_like(tensor, 77) for name, tensor in like.items()}
    with alone():
        load_shards(state, checkpoint_id=folder, no_dist=True)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


@contextmanager
def alone() -> Generator[None]:
    """DCP warns that one process acts alone, which is what is asked of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def save_on_ranks(folder: Path, to: Path, ranks: int, dim: int) -> None:
    """Saves the model in `folder` from several ranks: sharded by FSDP2 along dimension 0, or evenly along another."""
    # A file is where the ranks meet: a port might be taken. They are forked from one process that has all modules.
    mp.get_context("forkserver").set_forkserver_preload([__name__])
    start = mp.start_processes  # pyright: ignore[reportPrivateImportUsage]
    start(_save_on_rank, (str(folder), str(to), ranks, dim), nprocs=ranks, start_method="forkserver")


def _save_on_rank(rank: int, folder: str, to: str, ranks: int, dim: int) -> None:
    os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")
    dist.init_process_group("gloo", init_method=f"file://{to}.meet", rank=rank, world_size=ranks)
    mesh = init_device_mesh("cpu", (ranks,))
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if dim == 0:
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        state: dict[str, Any] = model.state_dict()
    else:
        state = {n: distribute_tensor(t, mesh, [Shard(min(dim, t.dim() - 1))]) for n, t in model.state_dict().items()}
    save_shards(state, checkpoint_id=to)
    dist.barrier()
    leave(0)


@contextmanager
def index_of(folder: Path) -> Generator[Metadata]:
    """The index of a checkpoint that the test made itself, to be changed."""
    index: Metadata = pickle.loads((folder / INDEX).read_bytes())
    yield index
    (folder / INDEX).write_bytes(pickle.dumps(index))
