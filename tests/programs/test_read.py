"""What programs say of themselves agrees with what they evaluate to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from growc.growth.evaluate import InMemory, evaluate
from growc.programs import (
    Add,
    Expr,
    Init,
    Late,
    Scale,
    Source,
    Std,
    Take,
    bind,
    describe,
    digest,
    lates,
    reseeded,
    shape,
    sources,
    squared,
)

ROWS, WIDTH = 5, 3
TENSORS = {"a": torch.randn(ROWS, WIDTH, dtype=torch.float64), "b": torch.randn(ROWS, WIDTH, dtype=torch.float64)}
SHAPES = {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}

leaves: st.SearchStrategy[Expr] = st.sampled_from([Source("a"), Source("b")]) | st.builds(
    Init,
    st.just((ROWS, WIDTH)),
    st.sampled_from(["normal", "uniform", "zeros"]),
    st.floats(0.1, 2),
    st.text("xy", max_size=3),
)


def _grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    index = st.lists(st.integers(0, ROWS - 1), min_size=ROWS, max_size=ROWS).map(tuple)
    factors = st.lists(st.floats(-2, 2), min_size=ROWS, max_size=ROWS).map(tuple)
    return (
        st.builds(Take, inner, index)
        | st.builds(Scale, inner, st.floats(-2, 2) | factors | st.just(Std(Source("a"))))
        | st.builds(Add, inner, inner)
    )


programs = st.recursive(leaves, _grown, max_leaves=6)


def whole(expr: Expr) -> torch.Tensor:
    return evaluate(expr, torch.arange(shape(expr, SHAPES)[0]), InMemory(TENSORS), torch.float64)


@given(programs)
def test_the_shape_is_that_of_the_value(expr: Expr) -> None:
    assert tuple(whole(expr).shape) == shape(expr, SHAPES)


@given(programs, st.lists(st.integers(0, ROWS - 1), max_size=8))
def test_any_rows_are_those_of_the_whole(expr: Expr, rows: list[int]) -> None:
    """What lets a rank compute just its own rows, and an executor stream them."""
    index = torch.tensor(rows, dtype=torch.long)
    assert torch.equal(evaluate(expr, index, InMemory(TENSORS), torch.float64), whole(expr)[index])


@given(programs)
def test_a_program_reads_what_it_says(expr: Expr) -> None:
    needed = {name: TENSORS[name] for name in sources(expr)}
    evaluate(expr, torch.arange(ROWS), InMemory(needed), torch.float64)
    assert describe(expr)
    assert len(digest(expr)) == 64


@given(programs)
def test_a_seed_changes_fresh_values_and_nothing_else(expr: Expr) -> None:
    fresh = "Init" in repr(expr)
    assert (reseeded(expr, "p") != expr) == fresh
    assert shape(reseeded(expr, "p"), SHAPES) == shape(expr, SHAPES)


@given(
    st.lists(st.integers(0, ROWS - 1), min_size=4, max_size=4).map(tuple),
    st.lists(st.floats(-2, 2), min_size=4, max_size=4).map(tuple),
)
def test_binding_settles_late_vectors(index: tuple[int, ...], factors: tuple[float, ...]) -> None:
    late = Scale(Take(Source("a"), Late("i", 4)), Late("f", 4))
    assert lates(late) == {Late("i", 4), Late("f", 4)}
    assert shape(late, SHAPES) == (4, WIDTH)
    assert bind(late, {"i": index, "f": factors}) == Scale(Take(Source("a"), index), factors)
    assert torch.allclose(
        whole(bind(squared(late), {"i": index, "f": factors})),
        evaluate(bind(squared(late), {"i": index, "f": factors}), torch.arange(4), InMemory(TENSORS), torch.float64),
    )
    with pytest.raises(ValueError, match="planned with 4"):
        bind(late, {"i": index[:3], "f": factors})


@given(
    st.lists(st.integers(0, ROWS - 1), min_size=4, max_size=4).map(tuple),
    st.lists(st.floats(-2, 2), min_size=4, max_size=4).map(tuple),
)
def test_the_square_of_a_program_is_the_program_of_squares(index: tuple[int, ...], factors: tuple[float, ...]) -> None:
    gradient = Scale(Take(Source("a"), index), factors)
    squares = InMemory({"a": TENSORS["a"] ** 2})
    second = evaluate(squared(gradient), torch.arange(4), squares, torch.float64)
    assert torch.allclose(second, whole(gradient) ** 2)


@pytest.mark.parametrize(
    "wrong",
    [
        Take(Source("a"), (0, ROWS)),
        Take(Source("a"), (-1,)),
        Scale(Source("a"), (1.0, 2.0)),
        Add(Source("a"), Take(Source("b"), (0,))),
    ],
)
def test_shapes_that_disagree_are_refused(wrong: Expr) -> None:
    with pytest.raises(ValueError, match=r"row|factor|shape"):
        shape(wrong, SHAPES)
