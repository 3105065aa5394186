"""Activation checkpointing: what a layer's forward computed is computed again in the backward, but for its decisions.

A decision is what comes of comparing numbers: which experts a token goes to, which sibling wins. Rounding may differ
between the two computations, and a token that changed its experts would have the gradient of another forward. So
decisions are kept, which are small: whole numbers and truths.

torch's own selective checkpointing keeps outputs whole, and raises where they are changed in place, as most families do
with the gates that come out of a top-K.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel
from typing_extensions import override

from growc.diagnostics import fail
from growc.spec.training import Checkpointing

_ATEN: Any = torch.ops.aten

PRODUCTS = frozenset(
    {_ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.baddbmm.default, _ATEN._grouped_mm.default}  # noqa: SLF001
    | {
        getattr(_ATEN, name).default
        for name in dir(_ATEN)
        if name.startswith("_scaled_dot_product_") and not name.endswith("_backward")
    }
)
"""Operators that cost: `selective` keeps what they give, and computes the rest again."""

_COMPARE = [getattr(_ATEN, name) for name in ("eq", "ne", "gt", "ge", "lt", "le")]

TRUTHS = frozenset(
    {_ATEN.argmax.default, _ATEN.argmin.default}
    | {overload for name in _COMPARE for overload in (name.Scalar, name.Tensor)}
)
"""Operators all of whose output is a decision."""

PLACES: Mapping[Any, int] = {
    _ATEN.topk.default: 2, _ATEN.sort.default: 1, _ATEN.sort.stable: 2, _ATEN.max.dim: 1, _ATEN.min.dim: 1
}  # fmt: skip
"""Operators that give values and where these stood: the place of the dimension among their arguments."""


class _Sight:
    """Whether operators are looked at. Compiled code may write over what its own gave, which no version tells."""

    blind = False


@contextmanager
def unseen() -> Generator[None]:
    """Within, code is compiled: it is computed again as a whole, decisions and products included."""
    with _sight(blind=True):
        yield


@contextmanager
def seen() -> Generator[None]:
    """Within, inside of compiled code, operators run as they are."""
    with _sight(blind=False):
        yield


@contextmanager
def _sight(*, blind: bool) -> Generator[None]:
    before, _Sight.blind = _Sight.blind, blind
    try:
        yield
    finally:
        _Sight.blind = before


class _Kept:
    """The output of an operator, as long as nothing is written over it."""

    def __init__(self, found: Any) -> None:
        self.whole = isinstance(found, tuple)
        self.parts = [_alias(part) for part in (found if self.whole else (found,))]
        self.versions = [_version(part) for part in self.parts]

    def storages(self) -> list[int]:
        """Where its numbers lie."""
        return [_storage(part) for part in self.parts if isinstance(part, Tensor)]

    @property
    def stands(self) -> bool:
        """Whether it is still what the operator gave."""
        return bool(self.parts) and self.versions == [_version(part) for part in self.parts]

    def again(self) -> Any:
        """What the operator gave."""
        parts = [_alias(part) for part in self.parts]
        return tuple(parts) if self.whole else parts[0]


def _alias(part: Any) -> Any:
    """The same numbers without the history that a tensor has in the first forward."""
    return part.detach() if isinstance(part, Tensor) else part


def _storage(part: Tensor) -> int:
    return part.untyped_storage()._cdata  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _version(part: Any) -> int:
    return part._version if isinstance(part, Tensor) else 0  # noqa: SLF001


class _Mode(TorchDispatchMode):
    @classmethod
    @override
    def ignore_compile_internals(cls) -> bool:
        return True  # else torch would run compiled code as if it were not


class _First(_Mode):
    """The forward: what is to be kept is kept, in the order of its calls."""

    def __init__(self, kept: deque[Any], products: frozenset[Any]) -> None:
        super().__init__()
        self.kept, self.products = kept, products
        self.lies: dict[int, _Kept] = {}

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if self.lies and func._schema.is_mutable:  # noqa: SLF001
            self._forget(func, args)
        if _Sight.blind:
            return found
        if func in PLACES:
            self.kept.append(found[1])
        elif func in self.products or (func in TRUTHS and _compares(args)):
            self.kept.append(entry := _Kept(found))
            self.lies |= dict.fromkeys(entry.storages(), entry)
        return found

    def _forget(self, func: Any, args: Sequence[Any]) -> None:
        """What is written over, perhaps through a view that has versions of its own, is computed again."""
        for arg, said in zip(args, func._schema.arguments, strict=False):  # noqa: SLF001
            written = said.alias_info is not None and said.alias_info.is_write
            if written and isinstance(arg, Tensor) and (entry := self.lies.pop(_storage(arg), None)):
                entry.parts.clear()


class _Again(_Mode):
    """The forward in the backward: what was kept takes the place of what would be computed."""

    running = False

    def __init__(self, kept: deque[Any], products: frozenset[Any]) -> None:
        super().__init__()
        self.kept, self.products = kept, products

    @override
    def __enter__(self) -> Any:
        _Again.running = True
        return super().__enter__()

    @override
    def __exit__(self, *raised: Any) -> None:
        _Again.running = False
        super().__exit__(*raised)

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if _Sight.blind:
            return func(*args, **options)
        if func in PLACES:
            return _taken(func, args, options, self.kept.popleft())
        if func in self.products or (func in TRUTHS and _compares(args)):
            entry: _Kept = self.kept.popleft()
            return entry.again() if entry.stands else func(*args, **options)
        return func(*args, **options)


def _compares(args: Sequence[Any]) -> bool:
    """Whether numbers that can be rounded are compared."""
    return any(isinstance(arg, Tensor) and arg.is_floating_point() for arg in args)


def _taken(func: Any, args: Sequence[Any], options: Mapping[str, Any], places: Tensor) -> tuple[Tensor, Tensor]:
    """The values of a tensor at the places where they stood the first time."""
    position = PLACES[func]
    dim: int = args[position] if len(args) > position else options.get("dim", -1)
    if places.dim() < args[0].dim():  # a maximum that was not to keep its dimension
        return args[0].gather(dim, places.unsqueeze(dim)).squeeze(dim), places
    return args[0].gather(dim, places), places


def recomputing() -> bool:
    """Whether a layer's forward runs for the second time: what is counted was counted in the first."""
    return _Again.running


def forwards(products: frozenset[Any]) -> tuple[TorchDispatchMode, TorchDispatchMode]:
    """What the two forwards of a layer run under; the second gets the decisions of the first, and its `products`."""
    kept: deque[Any] = deque()
    return _First(kept, products), _Again(kept, products)


def recompute_layers(model: PreTrainedModel, how: Checkpointing) -> None:
    """Have the layers of a model computed again in the backward.

    Args:
        model: in training.
        how: `full` keeps the input of every layer and its decisions, `selective` matrix products and attention, too.

    Errors: GROW627 (the family's layers cannot be computed again).
    """
    if how == "none":
        return
    if not model.supports_gradient_checkpointing:
        fail("GROW627", f"the layers of {model.config.model_type} cannot be computed again in the backward",
             help="set training.activation_checkpointing to none")  # fmt: skip
    contexts = partial(forwards, PRODUCTS if how == "selective" else frozenset[Any]())
    model.activation_checkpointing_enable(
        activation_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts}
    )
