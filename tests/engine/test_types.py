"""In bf16 every matrix product but the routers' has bf16 operands, forward and backward, experts' included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from growc.engine.layout import Layout
from growc.engine.losses import mean_loss
from growc.engine.recompute import recompute_layers
from growc.model import inspect
from tests.engine.models import LENGTH, built, grown, text
from tests.engine.ranks import on_ranks
from tests.families import FAMILIES

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_grouped_mm")

NAMES = ("mixtral", "qwen3_moe", "deepseek_v3", "glm4_moe", "gpt_oss", "llama4_text", "grown qwen3_moe")


def _config(name: str) -> dict[str, Any]:
    return grown(name.removeprefix("grown ")) if name.startswith("grown ") else FAMILIES[name]


class _Products(TorchDispatchMode):
    """Counts matrix products by the types of their operands, and by whether one of these is as wide as a router."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.fp32: list[list[tuple[int, ...]]] = []

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in PRODUCTS or (name.startswith("_scaled_dot_product") and not name.endswith("backward")):
            operands = [arg for arg in args if isinstance(arg, Tensor) and arg.is_floating_point()]
            kinds = {str(operand.dtype).removeprefix("torch.") for operand in operands}
            self.found["+".join(sorted(kinds))] += 1
            if "float32" in kinds:
                self.fp32.append([tuple(operand.shape) for operand in operands])
        return func(*args, **(kwargs or {}))


def seen(layout: Layout, config: dict[str, Any], how: Any) -> dict[str, Any]:
    """Products of one step in bf16 on this rank, and the types of gradients."""
    model = built(config, layout, "bf16")
    recompute_layers(model, how)
    with _Products() as products:
        loss = mean_loss(model, text(2))
        loss.backward()
    gradients = Counter(str(p.grad.dtype) for p in model.parameters() if p.grad is not None)
    return {"products": products.found, "fp32": products.fp32, "gradients": gradients, "loss": float(loss.detach())}


def _hold(found: dict[str, Any], config: dict[str, Any], twice: bool) -> None:
    sites = inspect(config, LENGTH).moe
    assert found["products"].keys() == {"bfloat16", "float32"}
    # Of each router: the logits, and the gradients of its weights and of its input; the logits again where asked.
    assert found["products"]["float32"] == (3 + twice) * len(sites)
    assert all(any(site.num_experts in shape for shape in shapes) for shapes in found["fp32"] for site in sites[:1])
    assert found["products"]["bfloat16"] > 10 * len(sites)
    assert found["gradients"].keys() == {"torch.float32"}
    assert 4 < found["loss"] < 8


@pytest.mark.parametrize("how", ["none", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_products_are_bf16_on_one_rank(alone: None, name: str, how: str) -> None:
    config = _config(name)
    _hold(seen(Layout(1, 1), config, how), config, how == "full")


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ep", [1, 2])
def test_products_are_bf16_on_two_ranks(tmp_path: Path, name: str, ep: int) -> None:
    config = _config(name)
    if ep > 1 and any(site.dense_dispatch for site in inspect(config, LENGTH).moe):
        ep = 1
    _hold(on_ranks(seen, Layout(2, ep), tmp_path, config, "none"), config, twice=False)


def test_what_is_computed_in_fp32_is_all_fp32(alone: None) -> None:
    model = built(FAMILIES["mixtral"])
    with _Products() as products:
        mean_loss(model, text(2)).backward()
    assert products.found.keys() == {"float32"}
    assert all(p.dtype is torch.float32 for p in model.parameters())
