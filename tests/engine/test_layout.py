"""Which layout `auto` takes, and which are refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from growc.diagnostics import GrowcError
from growc.engine.layout import Layout, layout
from growc.model import inspect
from growc.spec.schema import Parallel
from tests.engine.models import LENGTH, grown
from tests.families import FAMILIES

QWEN = inspect(FAMILIES["qwen3_moe"], LENGTH)
LLAMA = inspect(FAMILIES["llama"], LENGTH)
LLAMA4 = inspect(FAMILIES["llama4_text"], LENGTH)
GROWN = inspect(grown("qwen3_moe"), LENGTH)


@pytest.mark.parametrize(
    ("ranks", "models", "given", "wanted"),
    [
        (1, [QWEN], {}, Layout(1, 1)),
        (2, [QWEN, GROWN], {}, Layout(2, 2)),
        (8, [QWEN, GROWN], {}, Layout(8, 8)),
        (6, [QWEN], {}, Layout(6, 2)),
        (8, [QWEN], {"ep": 1}, Layout(8, 1)),
        (16, [QWEN], {"replicate": 4}, Layout(4, 4, 4)),
        (64, [LLAMA], {}, Layout(64, 1)),
        (4, [LLAMA4], {}, Layout(4, 1)),
        (4, [LLAMA, QWEN], {}, Layout(4, 4)),
    ],
)
def test_auto_takes_the_most_ranks_of_a_node_among_which_experts_divide(
    monkeypatch: pytest.MonkeyPatch, ranks: int, models: list[Any], given: dict[str, Any], wanted: Layout
) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert layout(Parallel(**given), ranks, models) == wanted
    assert wanted.ranks == ranks


def test_experts_are_exchanged_within_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert layout(Parallel(), 8, [QWEN]) == Layout(8, 2)


@pytest.mark.parametrize(
    ("ranks", "models", "given", "code"),
    [
        (3, [LLAMA], {"replicate": 2}, "GROW620"),
        (4, [LLAMA], {"fsdp": 4, "replicate": 2}, "GROW620"),
        (4, [QWEN], {"ep": 3}, "GROW620"),
        (3, [QWEN], {"ep": 3}, "GROW621"),
        (2, [LLAMA4], {"ep": 2}, "GROW622"),
        (16, [QWEN], {}, "GROW626"),
        (16, [QWEN, GROWN], {"ep": 1}, "GROW626"),
    ],
)
def test_what_does_not_fit_is_refused(ranks: int, models: list[Any], given: dict[str, Any], code: str) -> None:
    with pytest.raises(GrowcError) as refused:
        layout(Parallel(**given), ranks, models)
    assert [d.code for d in refused.value.diagnostics] == [code]
