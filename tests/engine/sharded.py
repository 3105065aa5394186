"""Parameters that are sharded by rows, on a process group of one or on several forked gloo ranks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from growc.engine.distribute import full, leave

Shapes = Mapping[str, tuple[int, ...]]
Build = Callable[[Mapping[str, nn.Parameter]], torch.optim.Optimizer]

STEPS = 4


def drawn(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Normal noise of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def parameters(shapes: Shapes) -> dict[str, nn.Parameter]:
    """Sharded over all ranks of the process group."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return {name: nn.Parameter(distribute_tensor(t, mesh, [Shard(0)])) for name, t in drawn(shapes, 0).items()}


def step(optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter], seeds: range) -> None:
    """A step with random gradients for every seed."""
    shapes = {name: tuple(p.shape) for name, p in named.items()}
    for seed in seeds:
        for name, gradient in drawn(shapes, 1 + seed).items():
            layout = named[name].data
            assert isinstance(layout, DTensor)
            named[name].grad = distribute_tensor(gradient, layout.device_mesh, layout.placements)
        optimizer.step()


def moved(shapes: Shapes, build: Build) -> dict[str, Tensor]:
    """Whole parameters after `STEPS` steps of the optimizer that is built."""
    named = parameters(shapes)
    step(build(named), named, range(STEPS))
    return {name: full(p).detach() for name, p in named.items()}


@contextmanager
def group(folder: Path, rank: int = 0, ranks: int = 1) -> Generator[None]:
    """A process group that meets at a file of the folder: a port might be taken."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", world_size=ranks, rank=rank)
    yield
    dist.destroy_process_group()


def on_ranks(folder: Path, ranks: int, shapes: Shapes, build: Build) -> dict[str, Tensor]:
    """What `moved` says on the first of several ranks. They are forked from one process that has all modules."""
    mp.get_context("forkserver").set_forkserver_preload([__name__])
    start = mp.start_processes  # pyright: ignore[reportPrivateImportUsage]
    start(_rank, (str(folder), ranks, dict(shapes), build), nprocs=ranks, start_method="forkserver")
    return torch.load(folder / "moved", weights_only=True)


def _rank(rank: int, folder: str, ranks: int, shapes: Shapes, build: Build) -> None:
    torch.set_num_threads(1)
    with group(Path(folder), rank, ranks):
        found = moved(shapes, build)
        if rank == 0:
            torch.save(found, Path(folder) / "moved")
        dist.barrier()
    leave(0)
