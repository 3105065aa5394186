"""Interpolation on the sphere by inner products alone, against the textbook's steps on the vectors themselves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from growc.numerics.evaluate import InMemory, evaluate
from growc.numerics.slerp import products, shares
from growc.programs import Slerp, Source


def _slerp(one: Tensor, other: Tensor, part: float) -> Tensor:
    angle = math.acos(float((one * other).sum() / one.norm() / other.norm()))
    return (math.sin((1 - part) * angle) * one + math.sin(part * angle) * other) / math.sin(angle)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_it_takes_the_steps_of_the_textbook(count: int) -> None:
    made = torch.Generator().manual_seed(count)
    tensors = [torch.randn(5, 4, generator=made, dtype=torch.float64) * (i + 1) for i in range(count)]
    wanted = tensors[0]
    for k, tensor in enumerate(tensors[1:], start=2):
        wanted = _slerp(wanted, tensor, 1 / k)
    fetch = InMemory({str(i): tensor for i, tensor in enumerate(tensors)})
    program = Slerp(tuple(Source(str(i)) for i in range(count)))
    found = evaluate(program, torch.arange(5), fetch, torch.float64)
    torch.testing.assert_close(found, wanted)
    rows = torch.tensor([3, 0])
    assert torch.equal(evaluate(program, rows, fetch, torch.float64), found[rows])


def test_vectors_of_one_length_keep_it() -> None:
    vectors = torch.eye(3, dtype=torch.float64)
    weights = torch.tensor(shares(products([*vectors])), dtype=torch.float64)
    assert float((weights @ vectors).norm()) == pytest.approx(1)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.0, -1.0])
def test_vectors_on_one_line_are_averaged(factor: float) -> None:
    one = torch.randn(6, dtype=torch.float64)
    assert shares(products([one, factor * one])) == pytest.approx([0.5, 0.5])


def test_equal_tensors_stay_as_they_are() -> None:
    one = torch.randn(5, 4)
    fetch = InMemory(dict.fromkeys("abc", one))
    program = Slerp(tuple(map(Source, "abc")))
    torch.testing.assert_close(evaluate(program, torch.arange(5), fetch, torch.float32), one, rtol=1e-6, atol=0)
