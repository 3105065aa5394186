"""What releasing siblings would do, run on the exclusive model: no weight and no config changes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from growc.anatomy.sites import MoeSite
from growc.nn.duplicates import KEff
from growc.nn.exclusive import ExclusiveRouting


class Collisions(KEff):
    """Running share of selections that take a second sibling of a group, among all selections of one layer."""

    def __init__(self, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k

    @property
    def rate(self) -> float:
        """Between 0 (no token meets two siblings) and (K - 1) / K."""
        return 1 - self.mean / self.top_k


@contextmanager
def as_released(model: nn.Module, sites: tuple[MoeSite, ...]) -> Generator[Mapping[int, Collisions]]:
    """Within: the siblings of `sites` compete freely. Yields collisions by layer, filled by forwards."""
    seen = {site.layer: Collisions(site.top_k) for site in sites}
    with ExitStack() as stack:
        for site in sites:
            router = model.get_submodule(site.rule)
            assert isinstance(router, ExclusiveRouting)
            stack.callback(setattr, router, "open", router.open)
            router.open = 1.0
            hook = router.register_forward_hook(_counting(router, seen[site.layer]))
            stack.callback(hook.remove)
        yield seen


def _counting(router: ExclusiveRouting, seen: Collisions) -> Any:
    def count(_: nn.Module, __: Any, routed: tuple[Tensor, ...]) -> None:
        chosen = [out for out in routed if not out.is_floating_point()]
        # Dense dispatch gives gates of shape (tokens, slots), zero where not selected.
        slots = chosen[0] if chosen else routed[0].topk(seen.top_k, dim=-1).indices
        group = torch.tensor(router.siblings.group, device=slots.device)
        seen.count(group[slots])

    return count
