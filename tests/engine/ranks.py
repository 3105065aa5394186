"""Functions run on several gloo ranks of this machine, forked from one process that has imported all they need."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from growc.engine.distribute import leave
from growc.engine.layout import Layout

CPU = torch.device("cpu")


def on_ranks(function: Callable[..., Any], layout: Layout, folder: Path, *given: Any) -> Any:
    """What `function(layout, *given)` returns on rank 0, as JSON carries it."""
    mp.get_context("forkserver").set_forkserver_preload([__name__, function.__module__])
    start = mp.start_processes  # pyright: ignore[reportPrivateImportUsage]
    arguments = (function, layout, str(folder), given)
    start(_rank, arguments, nprocs=layout.ranks, start_method="forkserver")
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def _rank(rank: int, function: Callable[..., Any], layout: Layout, folder: str, given: tuple[Any, ...]) -> None:
    os.environ.update(TRANSFORMERS_VERBOSITY="error", OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=layout.ranks)
    found = function(layout, *given)
    if rank == 0:
        (Path(folder) / "result.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    leave(0)


@contextmanager
def one_rank(folder: Path) -> Generator[None]:
    """This process as the one rank of a group."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", world_size=1, rank=0)
    try:
        yield
    finally:
        dist.destroy_process_group()
