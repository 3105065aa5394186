"""Parameters that are sharded by rows, on one rank or on several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from growc.engine.distribute import full
from growc.engine.layout import Layout
from tests.engine.ranks import on_ranks

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
            if isinstance(layout, DTensor):
                gradient = distribute_tensor(gradient, layout.device_mesh, layout.placements)
            named[name].grad = gradient
        optimizer.step()


def moved(shapes: Shapes, build: Build) -> dict[str, Tensor]:
    """Whole parameters after `STEPS` steps of the optimizer that is built."""
    named = parameters(shapes)
    step(build(named), named, range(STEPS))
    return {name: full(p).detach() for name, p in named.items()}


def moved_on_ranks(ranks: int, folder: Path, shapes: Shapes, build: Build) -> dict[str, Tensor]:
    """What `moved` says on the first of several ranks."""
    return on_ranks(_moved, Layout(ranks, 1), folder, dict(shapes), build)


def _moved(_: Layout, shapes: Shapes, build: Build) -> dict[str, Tensor]:
    return moved(shapes, build)
