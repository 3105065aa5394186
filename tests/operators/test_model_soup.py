"""The model soup: programs, bits, weights and moments, on a dense model and on one with experts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch

from growc.checks.twin import LENGTH, apply, grow_drawn, grow_twin, tokens
from growc.growth.rewrite import rewrite
from growc.model import inspect
from growc.model.drawn import draw, logits
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import operator
from growc.programs import describe, of_parent
from tests.families import FAMILIES

FAMILY = pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2", "glm4_moe"])


def soup(**settings: Any) -> Any:
    return operator("model_soup").model_validate(settings)


def test_programs_say_that_they_are_means() -> None:
    step = rewrite(soup(), inspect(FAMILIES["qwen3"], LENGTH), seed="0", sequence_length=LENGTH, parents=3)
    assert step.read.keys() == {of_parent(parent, name) for parent in range(3) for name in step.source.tensors}
    assert describe(step.programs["lm_head.weight"]) == "mean of lm_head.weight of each of 3 parents"


@FAMILY
def test_it_computes_the_mean_of_models_drawn_apart(family: str) -> None:
    twin = grow_twin(inspect(FAMILIES[family], LENGTH), [soup()], seed=0, parents=3)
    states = [model.state_dict() for model in (twin.source, *twin.others)]
    for name, value in twin.grown.state_dict().items():
        torch.testing.assert_close(value, sum(state[name] for state in states) / 3)
        if value.dim() > 1:
            assert not torch.equal(states[0][name], states[1][name])


@FAMILY
@pytest.mark.parametrize("weights", ["uniform", [1, 2, 0.5]])
def test_equal_models_give_their_bits_back(family: str, weights: Any) -> None:
    graph = inspect(FAMILIES[family], LENGTH)
    twin = grow_drawn((draw(graph.config, 0),) * 3, graph, [soup(weights=weights)], seed=0)
    before, after = twin.source.state_dict(), twin.grown.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after)
    ids = tokens(twin.source, 0)
    assert torch.equal(logits(twin.source, ids), logits(twin.grown, ids))


def test_weights_are_shares() -> None:
    graph = inspect(FAMILIES["llama"], LENGTH)
    step = rewrite(soup(weights=[1, 3]), graph, seed="0", sequence_length=LENGTH, parents=2)
    tensors = {name: torch.zeros(t.shape) + (":" in name) for name, t in step.read.items()}
    assert all(torch.equal(value, torch.full_like(value, 0.75)) for value in apply(step.programs, tensors).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_stand_alone(dtype: torch.dtype) -> None:
    graph = inspect(FAMILIES["llama"], LENGTH)
    step = rewrite(soup(), graph, seed="0", sequence_length=LENGTH, parents=3)
    name = "model.embed_tokens.weight"
    made = torch.Generator().manual_seed(0)
    fetch = InMemory({n: torch.randn(t.shape, generator=made).to(dtype) for n, t in step.read.items()})
    whole = evaluate(step.programs[name], torch.arange(256), fetch, dtype)
    rows = torch.tensor([7, 0, 255])
    assert torch.equal(evaluate(step.programs[name], rows, fetch, dtype), whole[rows])
    exact = sum(Fraction(float(fetch.tensors[of_parent(p, name)][0, 0])) for p in range(3)) / 3
    assert float(whole[0, 0]) == pytest.approx(float(exact), rel=0, abs=torch.finfo(dtype).eps * 4)


def test_moments_are_kept_where_it_is_asked() -> None:
    graph = inspect(FAMILIES["llama"], LENGTH)
    reset, kept = (
        rewrite(soup(optimizer_state=state), graph, seed="0", sequence_length=LENGTH, parents=2)
        for state in ("reset", "mean")
    )
    assert all(m.first is None and m.second is None and not m.keep_step for m in reset.moments.values())
    assert all(m.first == kept.programs[name] and m.keep_step for name, m in kept.moments.items())
