"""What initialisations will cost, from shapes alone."""

from __future__ import annotations

from typing import Any

import pytest

from growc.growth.rewrite import core_seconds, rewrite
from growc.model import inspect
from growc.operators import work
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.operators.experts import EXPERT_INITS
from tests.families import FAMILIES

MODEL = inspect(FAMILIES["gpt_oss"], 16)
HEAVY = {"svd_perturb", "svd_mix", "sparse_code_mix", "orthogonal"}
DRAWN = {"copy_noise", "drop", "random"}


def seconds(factor: int = 2, **settings: Any) -> float:
    operator = ExpertUpcycling.model_validate({"factor": factor, **settings})
    return core_seconds(rewrite(operator, MODEL, seed="0", sequence_length=16))


@pytest.mark.parametrize("init", EXPERT_INITS)
def test_what_computes_costs_as_much_as_it_makes_copies(init: str) -> None:
    once = seconds(experts={"init": init})
    assert (once > 0) == (init in HEAVY | DRAWN)
    assert seconds(4, experts={"init": init}) == pytest.approx(3 * once)
    if init in HEAVY:
        assert once > seconds(experts={"init": "random"})


def test_matrices_are_counted_apart() -> None:
    """Gate, up and down of each of the copies: three matrices of stream x units."""
    (site, *others) = MODEL.moe
    copies, stream, units = site.num_experts * (1 + len(others)), 32, 16
    assert seconds(experts={"init": "svd_mix"}) == pytest.approx(3 * copies * work.mixed(units, stream, None))
    assert seconds(experts={"init": "svd_perturb", "rank": 2}) == pytest.approx(
        3 * copies * work.perturbed(units, stream, 2)
    )


def test_the_router_is_decomposed_once_for_each_copy_of_an_expert() -> None:
    once = seconds(router={"init": "svd_perturb"})
    assert once > 0
    assert seconds(3, router={"init": "svd_perturb"}) == pytest.approx(2 * once)
    assert seconds(router={"init": "copy"}) == 0


def test_a_truncated_decomposition_is_far_cheaper_where_matrices_are_large() -> None:
    assert work.singular(4096, 14336, 64) < work.singular(4096, 14336) / 20
    assert work.singular(4096, 14336, 4096) == work.singular(4096, 14336)
    assert 30 < work.singular(4096, 14336) < 300


@pytest.mark.parametrize(
    ("amount", "said"), [(0.1234, "0.12 s"), (45, "45 s"), (720, "12 min"), (12_240, "3.4 h"), (4.3e6, "1200 h")]
)
def test_times_are_said_in_two_digits(amount: float, said: str) -> None:
    assert work.spoken(amount) == said
