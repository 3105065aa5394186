"""What layers compute without some of their experts, under any sharding (arXiv 2402.14800)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import MoeSite
from growc.engine.distribute import reshard
from growc.growth.decision import Decision
from growc.growth.rewrite import Rewrite
from growc.nn.pruned import without
from growc.operators.facets import replicas_of
from growc.operators.selection import ByReconstruction, Dropped, search, survivors


def pruned(
    planned: Rewrite,
    how: ByReconstruction,
    model: PreTrainedModel,
    batches: list[Tensor],
    device: torch.device,
) -> Decision:
    """The experts of every layer that stay, and the errors of the steps towards them; the same on every rank.

    Args:
        planned: the growth step.
        how: of its operator.
        model: the source, laid out over the ranks.
        batches: this rank's share of the calibration batches, each of shape (sequences, sequence_length + 1).
        device: of this rank.
    """
    replicas: dict[int, Replicas] = {}
    errors: dict[int, tuple[float, ...]] = {}
    was_training = model.training
    model.eval()
    with ExitStack() as earlier, torch.no_grad():
        for site in planned.mixtures:
            found = _Reconstruction(model, site, batches, device)
            experts, left = site.num_experts, sum(replicas_of(planned.operator, site))
            dropped, errors[site.layer] = search(
                experts, experts - left, site.routing_groups, how.exhaustive, found.errors
            )
            replicas[site.layer] = survivors(experts, dropped)
            if how.progressive:
                gone = [expert for expert, stays in enumerate(replicas[site.layer]) if not stays]
                earlier.enter_context(without(model.get_submodule(site.rule), gone))
    model.train(was_training)
    return Decision(planned.operator.op, replicas, errors)


class _Reconstruction:
    """One layer, which every forward of the model runs again for each set that is tried, on the same input."""

    def __init__(self, model: PreTrainedModel, site: MoeSite, batches: Iterable[Tensor], device: torch.device) -> None:
        self.model, self.site, self.batches, self.device = model, site, list(batches), device
        self.sets: Sequence[Dropped] = ()
        self.squares: list[Tensor] = []
        self.inside = False

    def errors(self, sets: Sequence[Dropped]) -> list[float]:
        """Sum over the batches of ||F(x) - F_S(x)||, divided by that of ||F(x)||, for each set of dropped experts."""
        self.sets = sets
        total = torch.zeros(1 + len(sets), dtype=torch.float64, device=self.device)
        hook = self.model.get_submodule(self.site.block).register_forward_hook(self._again, with_kwargs=True)
        with hook:
            for batch in self.batches:
                self.squares = []
                self.model(input_ids=batch[:, :-1].to(self.device), use_cache=False)
                squares = torch.stack(self.squares)
                if dist.is_initialized() and dist.get_world_size() > 1:
                    dist.all_reduce(squares)
                total += squares.sqrt()
        reshard(self.model)
        whole, *apart = total.tolist()
        return [error / whole if whole else 0.0 for error in apart]

    def _again(self, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self.inside:
            return
        self.inside = True
        expected, router = _first(output), self.model.get_submodule(self.site.rule)
        self.squares = [expected.double().square().sum()]
        for dropped in self.sets:
            with without(router, dropped):
                self.squares.append((expected - _first(block(*args, **kwargs))).double().square().sum())
        self.inside = False


def _first(output: Any) -> Tensor:
    """What the block adds to the residual stream; some return their router's logits, too."""
    return output if isinstance(output, Tensor) else output[0]
