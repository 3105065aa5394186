"""A training step of the engine on fake tensors of a fake process group, and what is alive in it."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from growc.engine.distribute import lay_out, local
from growc.engine.head import head_of
from growc.engine.layout import Layout
from growc.engine.losses import mean_loss
from growc.engine.recompute import recompute_layers
from growc.spec.training import Checkpointing


class Alive(TorchDispatchMode):
    """Bytes of all tensors but the shards that are made under it and are alive, and the most that there ever are."""

    def __init__(self, shards: Iterable[Tensor]) -> None:
        super().__init__()
        self.most = 0
        self._shards = {id(shard.untyped_storage()) for shard in shards}
        self._storages: dict[int, Any] = {}

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        fresh = False
        for each in tree_leaves(found):
            if isinstance(each, Tensor) and each.device.type != "meta":
                shard = each._local_tensor if isinstance(each, DTensor) else each  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                storage = shard.untyped_storage()
                key = id(storage)
                if key not in self._storages and key not in self._shards:
                    self._storages[key] = weakref.ref(storage, lambda _, key=key: self._storages.pop(key, None))
                    fresh = True
        if fresh:
            self.most = max(self.most, self.now)
        return found

    @property
    def now(self) -> int:
        """Bytes that are alive; FSDP2 gives weights that it gathered up by making their storage empty."""
        return sum(storage.nbytes() for each in list(self._storages.values()) if (storage := each()) is not None)


class _Fused(torch.autograd.Function):
    """Attention as kernels of GPUs do it: it keeps its inputs, its output, and a number for each head and token.

    That of CPUs has none for values of another width than the keys', and makes all scores at once.
    """

    @staticmethod
    @override
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, found, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return found

    @staticmethod
    @override
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(each) for each in ctx.saved_tensors[:3])


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return _Fused.apply(query, key, value)  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Step:
    """Elements of this rank's shards; bytes alive after the forward, and the most at any time, beside the shards."""

    elements: int
    after_forward: int
    most: int


def step(config: Mapping[str, Any], layout: Layout, how: Checkpointing, tokens: int, top_k: int) -> Step:
    """One micro-batch in bf16, forward and backward, on rank 0 of a fake process group of the layout's size."""
    device = torch.device("cpu")
    model = lay_out(config, layout, device, "bf16")
    with FakeTensorMode(allow_non_fake_inputs=True), _balanced(layout.ep, tokens * top_k):
        model.to_empty(device=device)
        model.tie_weights()
        model.train()
        head_of(model).found = True  # nothing is behind the heads of these families
        recompute_layers(model, how)
        batch = torch.randint(0, 1000, (1, tokens + 1))
        with Alive([local(parameter) for parameter in model.parameters()]) as alive:
            loss = mean_loss(model, batch)
            after = alive.now
            loss.backward()
        elements = sum(local(p).numel() for p in model.parameters())
        gradients = sum(local(p.grad).numel() for p in model.parameters() if p.grad is not None)
    assert gradients == elements
    return Step(elements, after, alive.most)


@contextmanager
def _balanced(ep: int, rows: int) -> Generator[None]:
    """How many tokens ranks exchange is data, which fake tensors do not have: every rank gets as many.

    Attention is that of a GPU meanwhile.
    """

    def tolist(counts: FakeTensor) -> Any:
        assert counts.shape == (2, ep), "only the sizes of what is exchanged are read"
        return [[rows // ep] * ep] * 2

    fused = patch.object(torch.nn.functional, "scaled_dot_product_attention", _attention)
    with patch.object(FakeTensor, "tolist", tolist), fused:
        yield
