"""Double precision all through: transformers' routers and norms round to float32, which would hide small errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What `.float()`, `.to(...)` and `softmax(dtype=...)` all come down to.
CAST = torch.ops.aten._to_copy.default  # noqa: SLF001


class Double(TorchDispatchMode):
    """While it is entered, float64 tensors are not rounded to a narrower float type.

    Models in other types compute as ever.
    """

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        wanted: torch.dtype | None = options.get("dtype")
        if func is CAST and wanted is not None and wanted.is_floating_point and args[0].dtype is torch.float64:
            options["dtype"] = torch.float64
        return func(*args, **options)
