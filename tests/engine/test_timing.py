"""Kernels for experts are timed on what a rank computes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from growc.engine.timing import TURNS, Share, time_experts
from growc.model import inspect
from tests.engine import gmm
from tests.engine.models import LENGTH, NEMOTRON, from_dense, with_adjugates
from tests.families import FAMILIES

CPU = torch.device("cpu")
KERNELS = ("eager", "grouped_mm", "batched_mm")

CONFIGS = {name: FAMILIES[name] for name in ("qwen3_moe", "gpt_oss")} | {
    "nemotron": NEMOTRON,
    "from gpt2": from_dense("gpt2"),
    "with adjugates": with_adjugates("qwen3_moe"),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_all_kernels_are_timed(name: str, precision: Any) -> None:
    model = inspect(CONFIGS[name], LENGTH)
    found = time_experts(model, Share(64, 1), precision, CPU, KERNELS)
    assert found.keys() == set(KERNELS)
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.parametrize(("ep", "experts"), [(1, 8), (2, 4)])
def test_a_rank_computes_its_own_experts(ep: int, experts: int) -> None:
    """As many pairs of a token and an expert as leave it, evenly spread."""
    with gmm.library():
        time_experts(inspect(FAMILIES["mixtral"], LENGTH), Share(64, ep), "fp32", CPU, ["grouped_gemm"])
    assert gmm.seen == [[64 * 2 // experts] * experts] * 2 * (TURNS + 1)


def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair of a token and an expert takes a copy of the expert, and its gradient: 3 x 32 x 48 numbers."""
    model, bytes_needed = inspect(FAMILIES["mixtral"], LENGTH), 2 * 128 * 3 * 32 * 48 * 4
    for free, fits in ((bytes_needed, False), (bytes_needed + 1, True)):
        memory = SimpleNamespace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        found = time_experts(model, Share(64, 1), "fp32", CPU, KERNELS)
        assert ("batched_mm" in found) == fits
