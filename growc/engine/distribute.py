"""Joining and leaving the process group, and models laid out over its ranks."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.experimental import implicit_replication
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.diagnostics import ExitCode
from growc.engine.head import head_of
from growc.engine.kernels import implementations
from growc.engine.layout import Layout
from growc.engine.spread import spread
from growc.model import inspect
from growc.model.build import load_config
from growc.spec.kernels import Kernels
from growc.spec.training import FloatType

LENGTH = 64
"""Positions at which a model is looked at for its routers; they do not depend on it."""

LOADED = "_is_hf_initialized"
"""transformers' mark on a tensor that its initialisation must leave alone."""


def start() -> torch.device:
    """Join the process group that torchrun set up: NCCL where there is a GPU, gloo else. Returns this rank's device."""
    # It warns that gathering strided shards takes two collectives; that happens once per stage, at the export.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
        return device
    dist.init_process_group("gloo")
    return torch.device("cpu")


@contextmanager
def alone() -> Generator[None]:
    """Within, this process is a process group of one.

    Nothing of the group is left behind: a process that were forked from this one later would have none of the group's
    threads, and wait for them for ever when it lets go of the group.
    """
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
        gc.collect()


def stop(code: ExitCode, *, status: int) -> NoReturn:
    """End this rank with `status`, after every rank has arrived if the run ended well.

    A diagnostic may be one rank's alone, so nobody waits for the others then.
    """
    if code in (ExitCode.CLEAN, ExitCode.INTERRUPTED):
        gc.collect()
        dist.barrier()
        dist.destroy_process_group()
    leave(status)


def leave(status: int) -> NoReturn:
    """End this process at once: interpreter shutdown can abort after gloo collectives of FSDP2 (SIGABRT).

    A gloo thread that still holds a tensor needs the interpreter to let go of it (pytorch/pytorch#179291).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def lay_out(
    config: Mapping[str, Any],
    layout: Layout,
    device: torch.device,
    precision: FloatType,
    kernels: Kernels = Kernels(),  # noqa: B008, it is frozen
) -> PreTrainedModel:
    """The model of `config` on the meta device, sharded over the ranks in fp32, whatever it computes in."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32, **implementations(kernels))
    head_of(model)
    spread(model, layout, device, precision, inspect(config, LENGTH))
    return model


def build_model(
    config: Mapping[str, Any],
    layout: Layout,
    device: torch.device,
    seed: int,
    precision: FloatType = "fp32",
    kernels: Kernels = Kernels(),  # noqa: B008, it is frozen
) -> PreTrainedModel:
    """The model of `config`, laid out over the ranks, with uninitialised weights to be loaded or grown into.

    Buffers that no checkpoint holds (rotary frequencies) are ready.
    """
    torch.manual_seed(seed)
    model = lay_out(config, layout, device, precision, kernels)
    model.to_empty(device=device)
    model.tie_weights()
    for tensor in model.state_dict(keep_vars=True).values():
        setattr(tensor, LOADED, True)
    with implicit_replication():  # some families compute with shards before they see that these are to be left alone
        model.initialize_weights()
    return model


def named_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each tied tensor once."""
    reshard(model)
    kept = set(model.state_dict())
    state: dict[str, Tensor] = dict(model.named_parameters())
    return state | {name: buffer for name, buffer in model.named_buffers() if name in kept}


def reshard(model: PreTrainedModel) -> None:
    """Give up full weights that a forward left gathered, so that parameters are shards again."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local(tensor: Tensor) -> Tensor:
    """This rank's shard."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def over_shards(total: Tensor, tensor: Tensor) -> Tensor:
    """A sum over this rank's shard of `tensor`, summed over all shards in place; copies of a shard count once."""
    if isinstance(tensor, DTensor):
        dist.all_reduce(total)
        sizes = zip(tensor.device_mesh.shape, tensor.placements, strict=True)
        total /= math.prod(size for size, placement in sizes if placement.is_replicate())
    return total


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered if sharded (every rank must call)."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
