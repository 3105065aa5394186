"""Muon over shards: matrices move by their orthogonalised momentum, whatever else a model has by AdamW.

Muon is Keller Jordan's (https://kellerjordan.github.io/posts/muon/); what it is given, and that the rest follows AdamW
with the same rate and weight decay, is from arXiv 2502.16982. The iteration and its rate are torch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim._muon import (
    DEFAULT_A,
    DEFAULT_B,
    DEFAULT_C,
    EPS,
    _adjust_lr,  # pyright: ignore[reportPrivateUsage]
    _zeropower_via_newtonschulz,  # pyright: ignore[reportPrivateUsage]
)
from transformers import PreTrainedModel
from typing_extensions import override

from growc.anatomy.sites import MoeSite
from growc.engine.distribute import local
from growc.engine.moments import KEPT_IN
from growc.engine.sharded import rows_held
from growc.spec.training import AdjustLr


def hidden_matrices(model: PreTrainedModel, sites: Iterable[MoeSite]) -> frozenset[str]:
    """Names of the parameters that Muon is for: matrices of hidden layers, routers' too, and stacks of matrices.

    Embeddings, the head, vectors, and stacks of whatever else (biases of experts, filters) are not among them.

    Args:
        model: laid out over the ranks or not.
        sites: its layers with experts.
    """
    stacks = {name for site in sites for name in (*site.expert_tensors, *site.adjugates)}
    head = cast(nn.Module, model.get_output_embeddings())
    outer = [head, *(module for module in model.modules() if isinstance(module, nn.Embedding))]
    outside = {id(parameter) for module in outer for parameter in module.parameters()}
    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() == (3 if name in stacks else 2) and id(parameter) not in outside
    )


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for some parameters and AdamW for the others, as one optimizer.

    The `momentum_buffer` of a parameter is the running mean of its gradients, of its shape and sharded as it is. A
    stage of sgd leaves their sum under the same name, which is 1 / (1 - momentum) times as large and fades as fast as
    any gradient does. Where it is kept in bf16 it is still computed in fp32; what it is for is iterated in bf16 anyway.

    Args:
        matrices: parameters of shape (rows, columns), or (experts, rows, columns) of which each matrix is one of its
            own; only dimension 0 may be sharded.
        others: of the other parameters; its groups and state become a part of this optimizer's.
        lr: learning rate, before it is adjusted to the shape of a matrix.
        weight_decay: decoupled, in units of `lr`.
        momentum: decay of the running mean of gradients.
        nesterov: whether to look one gradient ahead.
        ns_steps: Newton-Schulz iterations.
        adjust_lr: see `growc.spec.training.Muon`.
        kept_in: type of the running means.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: torch.optim.AdamW,
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        ns_steps: int,
        adjust_lr: AdjustLr,
        kept_in: torch.dtype,
    ) -> None:
        super().__init__(
            matrices,
            {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps,
             "adjust_lr": adjust_lr, KEPT_IN: kept_in},
        )  # fmt: skip
        self.own, self.others = list(self.param_groups), others
        self.param_groups += others.param_groups
        others.state = self.state

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient; all ranks together, since they gather matrices."""
        assert closure is None, "the loss is computed before"
        for group in self.own:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        self.others.step()

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter, dtype=group[KEPT_IN])
        shard, slope, kept = local(parameter), local(gradient), local(state["momentum_buffer"])
        mean = kept.float().lerp_(slope, 1 - group["momentum"])  # in place where it is kept in fp32
        kept.copy_(mean)
        update = slope.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        shard.mul_(1 - group["lr"] * group["weight_decay"])
        rate = _adjust_lr(group["lr"], group["adjust_lr"], parameter.shape[-2:])
        shard.add_(_orthogonal(parameter, update.bfloat16(), group["ns_steps"]), alpha=-rate)


def _orthogonal(parameter: Tensor, update: Tensor, steps: int) -> Tensor:
    """This rank's shard of the orthogonalised update of a parameter, of which `update` is the shard, in bfloat16.

    Experts are orthogonalised one by one, where they lie: a product of many at once rounds by how many a rank holds.
    The rows of a matrix are gathered in the type that is iterated in.
    """
    if update.dim() == 3:
        for expert in update:
            expert.copy_(_iterate(expert, steps))
        return update
    if not isinstance(parameter, DTensor):
        return _iterate(update, steps)
    sharded = DTensor.from_local(
        update, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
    held = rows_held(parameter)
    return _iterate(sharded.full_tensor(), steps)[held.start : held.stop]


def _iterate(matrix: Tensor, steps: int) -> Tensor:
    """The nearest matrix whose singular values are about one; `matrix` is written over."""
    return _zeropower_via_newtonschulz(matrix, (DEFAULT_A, DEFAULT_B, DEFAULT_C), steps, EPS)
