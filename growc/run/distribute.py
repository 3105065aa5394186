"""The one file that touches transformers' distributed engine (FSDP2 and expert parallelism as DTensors)."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

from growc.diagnostics import ExitCode
from growc.model.build import load_config
from growc.run.layout import Layout

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


def build_model(config: Mapping[str, Any], layout: Layout, device: torch.device, seed: int) -> PreTrainedModel:
    """The model of `config`, laid out over the ranks, with uninitialised weights to be loaded or grown into.

    Weights are fp32; the training step chooses the precision of its matrix products. Buffers that no checkpoint holds
    (rotary frequencies) are ready.
    """
    hf_config = load_config(config)
    torch.manual_seed(seed)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(hf_config, dtype=torch.float32)
    if layout.fsdp > 1:
        # Stages before the first mixture have no experts to be spread.
        wanted = DistributedConfig(fsdp_size=layout.fsdp, ep_size=layout.ep if model.ep_plan else 1)
        distributed, _, mesh = type(model).prepare_distribute_model(wanted)
        if model.all_tied_weights_keys:
            _leave_tied_to_the_root(model)
        model = type(model).maybe_distribute_model(model, distributed, mesh)
        # A leftover of the engine in the config would be saved with it.
        model.config.__dict__.pop("distributed_config", None)
    model.to_empty(device=device)
    model.tie_weights()
    for tensor in model.state_dict(keep_vars=True).values():
        setattr(tensor, LOADED, True)
    model.initialize_weights()
    return model


def _leave_tied_to_the_root(model: PreTrainedModel) -> None:
    """FSDP2 wants tied parameters in one group: the root's, which takes what no rule of the plan names."""
    tied = {name.rpartition(".")[0] for pair in model.all_tied_weights_keys.items() for name in pair}
    model.fsdp_plan = {rule: style for rule, style in model.fsdp_plan.items() if rule not in tied}


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


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered if sharded (every rank must call)."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
