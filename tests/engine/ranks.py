"""Functions run on several gloo ranks of this machine, forked from one process that has imported all they need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from growc.engine.distribute import leave
from growc.engine.layout import Layout

CPU = torch.device("cpu")


def on_ranks(function: Callable[..., Any], layout: Layout, folder: Path, *given: Any) -> Any:
    """What `function(layout, *given)` returns on rank 0: tensors and plain values."""
    mp.get_context("forkserver").set_forkserver_preload([__name__, function.__module__])
    start = mp.start_processes  # pyright: ignore[reportPrivateImportUsage]
    arguments = (function, layout, str(folder), given)
    start(_rank, arguments, nprocs=layout.ranks, start_method="forkserver")
    return torch.load(folder / "result", weights_only=True)


def _rank(rank: int, function: Callable[..., Any], layout: Layout, folder: str, given: tuple[Any, ...]) -> None:
    os.environ.update(TRANSFORMERS_VERBOSITY="error", OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=layout.ranks)
    found = function(layout, *given)
    if rank == 0:
        torch.save(found, Path(folder) / "result")
    dist.barrier()
    leave(0)
