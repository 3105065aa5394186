"""AdamW whose two moments are kept in bf16, so that an element has 12 bytes of state in place of 16.

Only what is kept is rounded, and to nearest: rounded by chance, copies of an expert, which are equal, would part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from typing_extensions import override

from growc.engine.distribute import local

KEPT_IN = "kept_in"
"""The key of a group of parameters under which the type stands that means of their gradients are kept in."""


class AdamWInBf16(torch.optim.AdamW):
    """AdamW that computes in fp32, one shard at a time, and keeps the moments in the type that a group says.

    The moments of a parameter have its shape and are sharded as it is.
    """

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient."""
        assert closure is None, "the loss is computed before"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device if group["fused"] else "cpu")
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter, dtype=group[KEPT_IN])
        kept = [local(state[name]) for name in ("exp_avg", "exp_avg_sq")]
        first, second = (moment.float() for moment in kept)
        adamw(
            [local(parameter)], [local(gradient)], [first], [second], [], [state["step"]], fused=group["fused"],
            amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=group["weight_decay"],
            eps=group["eps"], maximize=False,
        )  # fmt: skip
        for moment, computed in zip(kept, (first, second), strict=True):
            moment.copy_(computed)
