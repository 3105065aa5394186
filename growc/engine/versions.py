"""All that differs between the versions of torch that growc works with; other code asks here.

Which these are is said in `growc.files.versions`, where it is known without torch.
"""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def gathered(mine: Tensor) -> Tensor:
    """The tensors of all ranks, of the same shape (n, ...) on each, one after the other: (ranks * n, ...).

    torch 2.13 renamed the collective, and warns of its former name.
    """
    everyone = mine.new_empty(dist.get_world_size() * mine.shape[0], *mine.shape[1:])
    gather = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"
    getattr(dist, gather)(everyone, mine)
    return everyone
