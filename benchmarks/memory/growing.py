"""A growth of the engine on fake tensors of a fake process group, and the most that is alive in it.

The whole code path is the product's, `growc.run.grow.apply`. What needs numbers, which fake tensors do not have:

- Models are laid out outside of the mode, as meshes must be.
- Row numbers are real: whole numbers are computed beside fake fractions while a tensor is grown.
- Which rows every rank holds and lacks is computed here for all of them; the fake group knows of rank 0 alone.
- The forward of 8 tokens in which it is found what is behind the head is left out.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import (
    _compute_local_shape_and_global_offset,  # pyright: ignore[reportPrivateUsage]
)
from torch.distributed.tensor.placement_types import Placement
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes  # pyright: ignore[reportPrivateUsage]
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel
from typing_extensions import override

from benchmarks.memory.tracked import Alive
from growc.engine import distribute, sharded
from growc.engine.distribute import build_model, local
from growc.engine.layout import Layout
from growc.engine.optimizer import TYPES
from growc.growth.decision import by_scores
from growc.growth.rewrite import Rewrite
from growc.measures.calibration import Parent
from growc.programs import Divide, Expr, Source, Take
from growc.run import grow
from growc.spec.training import FloatType

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Growth:
    """Elements of this rank's shards before and after, bytes of all that is there before, and the most at any time.

    Weights are fp32, and every one has AdamW's two moments, before and after, in a type of their own.
    """

    before: int
    after: int
    start: int
    most: int


def growth(planned: Rewrite, layout: Layout, kept_in: FloatType = "fp32") -> Growth:
    """The growth of a model with AdamW's state on rank 0 of a fake process group of the layout's size."""
    cpu = torch.device("cpu")
    with FakeTensorMode(allow_non_fake_inputs=True), Alive([]) as alive, _on_fake_tensors():
        model = build_model(planned.source.config, layout, cpu, 0, "bf16")
        state = {
            name: {"step": torch.ones(()), **{m: torch.empty_like(p, dtype=TYPES[kept_in]) for m in MOMENTS}}
            for name, p in model.named_parameters()
        }
        start = alive.now
        place = grow.Place(layout, cpu, "bf16", 0, np.empty((0, 0), dtype=np.int64))
        grown, _, moments = grow.apply(planned, by_scores(planned, {}), [Parent(model, state)], place)
        assert moments.keys() == dict(grown.named_parameters()).keys()
        before, after = (sum(local(p).numel() for p in each.parameters()) for each in (model, grown))
    return Growth(before, after, start, alive.most)


@contextmanager
def _on_fake_tensors() -> Generator[None]:
    lay_out, grow_tensor = distribute.lay_out, sharded.grow_tensor
    growing: list[tuple[Expr, Tensor]] = []

    def laid_out(*given: Any) -> PreTrainedModel:
        with unset_fake_temporarily():
            return lay_out(*given)

    def grown(program: Expr, target: Tensor, fetch: sharded.Sharded) -> None:
        growing[:] = [(program, target)]
        with _WholeNumbers():
            grow_tensor(program, target, fetch)

    def gather(asked: list[Any], mine: Any) -> None:
        """What `all_gather_object` would: the rows of the source that each rank holds, and those that it wants."""
        ((program, target),) = growing
        asked[:] = [
            ((held.start, held.stop), sorted(set(_wanted(program, rows))))
            for held, rows in zip(_rows(sources[_name(program)]), _rows(target), strict=True)
        ]
        assert asked[0] == mine

    sources: dict[str, Tensor] = {}
    original = sharded.Sharded.rows

    def rows(self: sharded.Sharded, name: str, index: Tensor) -> Tensor:
        sources[name] = self.tensors[name]
        return original(self, name, index)

    with ExitStack() as patches:
        for place, name, stand_in in (
            (distribute, "lay_out", laid_out),
            (grow, "grow_tensor", grown),
            (grow, "ready_head", lambda *_: None),
            (sharded.dist, "all_gather_object", gather),
            (sharded.Sharded, "rows", rows),
        ):
            patches.enter_context(patch.object(place, name, stand_in))
        yield


class _WholeNumbers(TorchDispatchMode):
    """Computes with whole numbers and truths as they are, beside fake tensors."""

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        tensors = [each for each in tree_leaves((args, options)) if isinstance(each, Tensor)]
        kind = options.get("dtype")
        makes = tensors or kind is not None or func.overloadpacket is torch.ops.aten.arange
        whole = makes and (kind is None or not kind.is_floating_point)
        if whole and not any(each.is_floating_point() or isinstance(each, FakeTensor) for each in tensors):
            with unset_fake_temporarily():
                return func(*args, **options)
        return func(*args, **options)


def _name(program: Expr) -> str:
    match program:
        case Source(name):
            return name
        case Take(x, _) | Divide(x, _):
            return _name(x)
        case _:
            raise AssertionError(f"no growth of these benchmarks has {program}")


def _wanted(program: Expr, rows: range | list[int]) -> list[int]:
    """The rows of its source that rows of a tensor are made of."""
    match program:
        case Take(x, tuple(taken)):
            return _wanted(x, [int(taken[row]) for row in rows])
        case Divide(x, _):
            return _wanted(x, rows)
        case _:
            return [*rows]


def _rows(tensor: Tensor) -> tuple[range, ...]:
    """The rows that every rank holds."""
    assert isinstance(tensor, DTensor)
    return _held(tensor.shape[0], tensor.device_mesh, tensor.placements)


@cache
def _held(rows: int, mesh: DeviceMesh, placements: tuple[Placement, ...]) -> tuple[range, ...]:
    found: list[range] = []
    with _disable_current_modes():
        for rank in range(dist.get_world_size()):
            coordinate: list[int] = (mesh.mesh == rank).nonzero()[0].tolist()
            (size,), (start, *_) = _compute_local_shape_and_global_offset((rows,), mesh.shape, coordinate, placements)
            found.append(range(start, start + size))
    return tuple(found)
