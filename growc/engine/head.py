"""The output head and the loss in one, over chunks of tokens: logits never exist whole.

A chunk's gradients are computed in the forward, while its logits are there, as Liger Kernel does (arXiv 2410.10989,
Section 3.2): three matrix products in all and no recomputation. `torch.nn.functional.linear_cross_entropy` does the
same from torch 2.13 on, for heads that are one linear map; those that scale or cap their logits need more, and older
versions of torch have none.

What a family does with the logits behind its head is its own code, which runs here for every chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from typing_extensions import override

from growc.diagnostics import fail

CHUNK = 1024
"""Tokens whose logits exist at the same time."""


@dataclass
class _Output(BaseModelOutput):
    """What layers give back; whatever else a family looks for in it is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Given(nn.Module):
    """Stands for the layers below the head, whose attributes it has: its output is what it was given."""

    value: Tensor

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.__dict__["layers"] = layers

    @override
    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["layers"], name)

    @override
    def forward(self, *_: Any, **__: Any) -> _Output:
        return _Output(last_hidden_state=cast(Any, self.value))


class _Behind:
    """What a causal language model does with the output of its head, element by element: scales, or caps it, or adds.

    It is the model without its layers and its head, which shares all else with it.

    Raises:
        LookupError: the head is not beside the layers.
    """

    def __init__(self, model: PreTrainedModel, probe: Tensor, logits: Tensor) -> None:
        """`logits` is what the model made of `probe`, of the same shape."""
        kind = type(model).__mro__[2] if isinstance(model, FSDPModule) else type(model)
        self.shell: Any = object.__new__(kind)
        head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
        parts = dict(model.named_children())
        around = [name for name, part in parts.items() if any(inside is embedding for inside in part.modules())]
        heads = [name for name, part in parts.items() if part is head]
        if len(around) != 1 or not heads:
            raise LookupError("the head is not beside the layers")
        self.given = _Given(parts[around[0]])
        parts |= {name: nn.Identity() for name in heads} | {around[0]: self.given}
        self.shell.__dict__ = {**model.__dict__, "_modules": parts}
        self.known: tuple[Tensor, Tensor] | None = (probe, logits)

    def __call__(self, raw: Tensor) -> Tensor:
        self.given.value = raw
        ids = torch.zeros(raw.shape[:2], dtype=torch.long, device=raw.device)
        return self.shell.forward(input_ids=ids, use_cache=False).logits

    def hold(self) -> None:
        """See once that it does what the model did; to be called in a forward of the model, which gathers weights."""
        if self.known is not None:
            probe, logits = self.known
            if not torch.equal(self(probe), logits):
                _unknown(self.shell)
            self.known = None


def _unknown(model: PreTrainedModel) -> NoReturn:
    fail(
        "GROW628",
        f"what {model.config.model_type} does with the output of its head is not known",
        help="losses are computed in chunks, which needs it; please report the family",
    )


class Head:
    """The head of a model, which returns losses instead of logits as long as it has targets.

    `behind` is what the model does with the head's output, if anything; it is found when a loss is first asked for, for
    it may depend on weights.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.plain: Callable[[Tensor], Tensor] = module.forward
        self.behind: _Behind | None = None
        self.found = False
        self.probe: Tensor | None = None
        self.targets = torch.empty(0)
        self.found_losses: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def look_behind(self, model: PreTrainedModel, ids: Tensor) -> None:
        """Find out what `model` does with the output of its head, by a forward in which that output is known.

        Args:
            model: whose head this is (every rank must call).
            ids: a few tokens.

        Errors: GROW628 (it is not known).
        """
        if self.found:
            return
        size = model.config.get_text_config().vocab_size
        self.probe = torch.linspace(-50, 50, size, device=ids.device).expand(*ids.shape, -1)
        logits = model(input_ids=ids, use_cache=False).logits
        if not torch.equal(logits, self.probe):
            try:
                self.behind = _Behind(model, self.probe, logits)
            except LookupError:
                _unknown(model)
        self.found, self.probe = True, None

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits of shape (sequences, positions, vocabulary); the loss, of shape (1, 1, 1), where targets are given."""
        if self.probe is not None:
            return self.probe
        if not self.targets.numel():
            return self.plain(hidden)
        if self.behind is not None:
            self.behind.hold()
        parameters = tuple(self.module.parameters())
        self.found_losses = cast(
            tuple[Tensor, Tensor], _Loss.apply(self, hidden.flatten(0, 1), torch.is_grad_enabled(), *parameters)
        )
        return self.found_losses[0]

    def take_losses(self) -> tuple[Tensor, Tensor]:
        """What the last forward found, which is then forgotten: a head that kept its own graph would never be freed.

        Returns:
            The sum of the losses of all tokens in nats, with gradient, and those of every token, of shape (tokens,),
            without.
        """
        assert self.found_losses is not None
        found, self.found_losses = self.found_losses, None
        return found

    def of_chunk(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Losses of shape (tokens,) of a few tokens' hidden states (tokens, features)."""
        logits = self.plain(hidden)
        if self.behind is not None:
            logits = self.behind(logits[None])[0]
        return F.cross_entropy(logits.float(), targets, reduction="none")

    @contextmanager
    def against(self, targets: Tensor) -> Generator[None]:
        """Within, one forward of the model computes losses against `targets`, of shape (sequences, positions)."""
        self.targets = targets.flatten()
        try:
            yield
        finally:
            self.targets = torch.empty(0)


class _Loss(torch.autograd.Function):
    """Sum of the losses of all tokens; its gradients are those of chunks, summed in float32."""

    @staticmethod
    @override
    def forward(ctx: Any, head: Head, hidden: Tensor, learns: bool, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        if not learns:
            for rows in _chunks(len(hidden)):
                losses[rows] = head.of_chunk(hidden[rows], head.targets[rows])
            return losses.sum().view(1, 1, 1), losses
        below = torch.empty_like(hidden)
        sums = [torch.zeros_like(p, dtype=torch.float32) for p in parameters]
        for rows in _chunks(len(hidden)):
            chunk = hidden[rows].detach().requires_grad_()
            with torch.enable_grad():
                found = head.of_chunk(chunk, head.targets[rows])
                below[rows], *own = torch.autograd.grad(found.sum(), [chunk, *parameters])
            losses[rows] = found.detach()
            for total, gradient in zip(sums, own, strict=True):
                total += gradient
        ctx.save_for_backward(below, *(s.to(p.dtype) for s, p in zip(sums, parameters, strict=True)))
        ctx.mark_non_differentiable(losses)
        return losses.sum().view(1, 1, 1).clone(), losses

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        below, *own = ctx.saved_tensors
        scale = gradients[0].view(())
        return None, below * scale, None, *(gradient * scale for gradient in own)


def _chunks(tokens: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, tokens, CHUNK)]


def head_of(model: PreTrainedModel) -> Head:
    """The head of a model, put in the place of its own head's forward when it is first asked for."""
    module = cast(nn.Module, model.get_output_embeddings())
    placed = module.__dict__.get("forward")
    if not isinstance(placed, Head):
        placed = Head(module)
        module.forward = placed
    return placed
