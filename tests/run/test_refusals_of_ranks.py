"""What one rank refuses, all refuse by its words: none waits for one that has left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist

from growc.diagnostics import GrowcError, fail
from growc.engine.layout import Layout
from growc.run.worker import on_every_rank
from tests.engine.ranks import on_ranks


def refused(_: Layout) -> list[str]:
    """What this rank is told where the last one's machine lacks something."""

    def check() -> None:
        if dist.get_rank() == dist.get_world_size() - 1:
            fail("GROW606", "kernels.attention: flash_attention_2 needs the library flash-attn", help="install it")

    on_every_rank(lambda: None)
    try:
        on_every_rank(check)
    except GrowcError as error:
        return [f"{each.code} {each.message}" for each in error.diagnostics]
    return []


@pytest.mark.slow
@pytest.mark.process
def test_a_refusal_of_one_rank_is_that_of_all(tmp_path: Path) -> None:
    (told,) = on_ranks(refused, Layout(2, 1), tmp_path)
    assert told == "GROW606 kernels.attention: flash_attention_2 needs the library flash-attn"
