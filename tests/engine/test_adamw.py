"""AdamW in one kernel, where it is used, moves sharded parameters as AdamW step by step does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from growc.engine.distribute import alone
from growc.engine.optimizer import build_optimizer, set_state
from growc.spec.schema import AdamW
from tests.engine.sharded import Shapes, moved, moved_on_ranks

SHAPES: Shapes = {"matrix": (7, 5), "stack": (4, 3, 6), "vector": (9,)}


def build(named: Mapping[str, nn.Parameter], **how: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(named.values(), lr=1e-2, weight_decay=0.1, **how)


def test_one_kernel_moves_what_many_do(tmp_path: Path) -> None:
    with alone():
        fused, foreach = (moved(SHAPES, partial(build, **{how: True})) for how in ("fused", "foreach"))
    for name in SHAPES:
        torch.testing.assert_close(fused[name], foreach[name], rtol=1e-6, atol=1e-6)


@pytest.mark.process
def test_one_kernel_moves_the_shards_of_two_ranks(tmp_path: Path) -> None:
    fused = moved_on_ranks(2, tmp_path, SHAPES, partial(build, fused=True))
    (tmp_path / "alone").mkdir()
    with alone():
        foreach = moved(SHAPES, partial(build, foreach=True))
    for name in SHAPES:
        torch.testing.assert_close(fused[name], foreach[name], rtol=1e-6, atol=1e-6)


def test_equal_rows_stay_equal_on_a_cpu() -> None:
    """Copies of an expert must not drift apart by where they lie in a shard."""
    named = {"rows": nn.Parameter(torch.full((61,), 0.3))}
    optimizer = build_optimizer(AdamW(name="adamw", lr=0.1), named)
    for seed in range(200):
        named["rows"].grad = torch.randn((), generator=torch.Generator().manual_seed(seed)).expand(61).clone()
        optimizer.step()
    assert len(named["rows"].detach().unique()) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_the_kernel_counts_steps_on_its_own_device(fused: bool) -> None:
    named = {"matrix": nn.Parameter(torch.empty(3, 2, device="meta"))}
    optimizer = build_optimizer(AdamW(name="adamw"), named)
    optimizer.param_groups[0]["fused"] = fused
    moment = torch.empty(3, 2, device="meta")
    set_state(optimizer, named, {"matrix": {"step": torch.tensor(5.0), "exp_avg": moment, "exp_avg_sq": moment}})
    assert optimizer.state[named["matrix"]]["step"].device.type == ("meta" if fused else "cpu")
