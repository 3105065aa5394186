"""What a growth has alive on fake tensors is what its formula says, and its ranks ask for the rows that they lack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from benchmarks.memory import formulas
from benchmarks.memory.growing import growth
from growc.engine.layout import Layout
from growc.growth.rewrite import rewrite
from growc.model import inspect
from growc.operators import operator
from tests.engine.models import LENGTH
from tests.families import FAMILIES
from tests.operators_cases import EXACT

LAYOUT = Layout(4, 2)


@pytest.fixture
def fake_ranks() -> Iterator[None]:
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=LAYOUT.ranks)
    yield
    dist.destroy_process_group()


def test_a_growth_holds_both_models_and_their_moments(fake_ranks: None) -> None:
    planned = rewrite(
        operator("expert_upcycling").model_validate(EXACT),
        inspect(FAMILIES["qwen3_moe"], LENGTH),
        seed="0",
        sequence_length=LENGTH,
    )
    found = growth(planned, LAYOUT)
    assert found.before == formulas.held(planned.source, LAYOUT)
    assert found.after == formulas.held(planned.grown, LAYOUT)
    assert found.start == pytest.approx(12 * found.before, rel=0.01)
    formula = formulas.growing(planned.source, planned.grown, LAYOUT)
    stack = max(t.size for n, t in planned.grown.tensors.items() if n in planned.grown.moe[0].expert_tensors)
    assert formula < found.most < formula + 4 * 3 * stack / LAYOUT.ranks
