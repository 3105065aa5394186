"""Growing sharded tensors: every rank computes the rows it will hold, and only rows that it lacks travel.

Nothing is ever gathered whole. Rows are dimension 0, the only dimension that FSDP2 and expert parallelism shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from growc.engine.distribute import local, over_shards
from growc.numerics.evaluate import computed_in, evaluate
from growc.numerics.slerp import products
from growc.programs import Expr, Source


def rows_held(tensor: Tensor) -> range:
    """The rows of the whole tensor that this rank's shard holds (all of them where it is not sharded)."""
    if not isinstance(tensor, DTensor):
        return range(tensor.shape[0] if tensor.dim() else 1)
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    assert shape[1:] == tuple(tensor.shape[1:]), "only dimension 0 is sharded"
    return range(offset[0], offset[0] + shape[0])


@dataclass(frozen=True)
class Sharded:
    """Source tensors spread over the ranks; every rank must ask for the same names in the same order.

    Rows come in fp32 where they are kept in less, so that what is made of them is rounded once.
    """

    tensors: Mapping[str, Tensor]

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`: rows that other ranks hold come by one all-to-all."""
        tensor = self.tensors[name]
        if isinstance(tensor, DTensor):
            rows = _exchange(tensor, index)
        else:
            rows = tensor[index] if tensor.dim() else tensor.clone()
        return rows.to(computed_in(tensor.dtype))

    def std(self, name: str) -> float:
        """See `Fetch.std`: two passes in float64, each summed over the ranks."""
        tensor = self.tensors[name]
        mine = local(tensor).double()
        count = tensor.numel()
        mean = over_shards(mine.sum(), tensor) / count
        return float((over_shards(((mine - mean) ** 2).sum(), tensor) / count).sqrt())

    def gram(self, names: Sequence[str]) -> Tensor:
        """See `Mixing.gram`: summed over the ranks."""
        tensors = [self.tensors[name] for name in names]
        mine = products([local(tensor) for tensor in tensors])
        return over_shards(mine.to(local(tensors[0]).device), tensors[0]).cpu()


def grow_tensor(program: Expr, target: Tensor, fetch: Sharded) -> None:
    """Write what `program` says into this rank's shard of `target`, in place."""
    held = rows_held(target)
    index = torch.arange(held.start, held.stop, device=local(target).device)
    if isinstance(program, Source) and _same_layout(fetch.tensors[program.name], target):
        value = local(fetch.tensors[program.name])
    else:
        value = evaluate(program, index, fetch, computed_in(target.dtype))
    local(target).copy_(value)


def _same_layout(source: Tensor, target: Tensor) -> bool:
    if isinstance(source, DTensor) != isinstance(target, DTensor) or source.shape != target.shape:
        return False
    if isinstance(source, DTensor) and isinstance(target, DTensor):
        return source.device_mesh == target.device_mesh and source.placements == target.placements
    return True


def _exchange(tensor: DTensor, index: Tensor) -> Tensor:
    """Rows `index` of the whole tensor; each rank may ask for other rows."""
    ranks, me = dist.get_world_size(), dist.get_rank()
    mine, held = tensor.to_local(), rows_held(tensor)
    wanted: list[int] = torch.unique(index).tolist()
    asked: list[tuple[tuple[int, int], list[int]]] = [((0, 0), [])] * ranks
    dist.all_gather_object(asked, ((held.start, held.stop), wanted))
    holder = {row: rank for rank in reversed(range(ranks)) for row in range(*asked[rank][0])}
    # Both ends know the order in which rows travel: by who holds them, and then by their number.
    receive = sorted(wanted, key=holder.__getitem__)
    sources = Counter(holder[row] for row in wanted)
    sent = [[row - held.start for row in rows if holder[row] == me] for _, rows in asked]
    places = torch.tensor([place for rows in sent for place in rows], dtype=torch.long, device=mine.device)

    width = mine.shape[1:].numel()
    out = mine.new_empty(len(receive), width)
    dist.all_to_all_single(
        out,
        mine.reshape(mine.shape[0], width)[places],
        [sources[rank] for rank in range(ranks)],
        [len(rows) for rows in sent],
    )
    place = torch.empty(tensor.shape[0], dtype=torch.long, device=mine.device)
    place[torch.tensor(receive, dtype=torch.long, device=mine.device)] = torch.arange(len(receive), device=mine.device)
    return out[place[index]].view(index.shape[0], *mine.shape[1:])
