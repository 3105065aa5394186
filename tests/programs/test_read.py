"""What programs say of themselves agrees with what they evaluate to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from growc.numerics.evaluate import InMemory, evaluate
from growc.programs import (
    Add,
    Apply,
    Concat,
    Deferred,
    Divide,
    Expr,
    Init,
    Made,
    Mean,
    Pick,
    Scale,
    Source,
    Std,
    Take,
    Where,
    Whole,
    bind,
    deferred_vectors,
    describe,
    digest,
    from_parent,
    of_parent,
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
    st.sampled_from(["normal", "uniform", "constant", "zeros"]),
    st.floats(0.1, 2),
    st.text("xy", max_size=3),
)


def _grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    index = st.lists(st.integers(0, ROWS - 1), min_size=ROWS, max_size=ROWS).map(tuple)
    factors = st.lists(st.floats(-2, 2), min_size=ROWS, max_size=ROWS).map(tuple)
    each = st.lists(st.integers(0, WIDTH - 1), min_size=ROWS * WIDTH, max_size=ROWS * WIDTH)
    units = (each | st.permutations(range(WIDTH))).map(tuple)
    mask = st.lists(st.sampled_from([0, 1]), min_size=ROWS, max_size=ROWS).filter(any).map(tuple)
    std = st.just(Std(Source("a"))) | st.builds(Std, st.builds(Take, st.just(Source("a")), index), mask)
    svd = (("values", 0.1), ("vectors", 0.05), ("unit", "std"))
    seed = st.text("xy", min_size=1, max_size=3)
    return (
        st.builds(Take, inner, index)
        | st.builds(Pick, inner, units, st.just(WIDTH), st.just(0), st.just(1), st.booleans())
        | st.builds(Scale, inner, st.floats(-2, 2) | factors | std)
        | st.builds(
            Whole, st.just("svd_perturb"), st.just(Source("a")), st.just(ROWS), index, index, st.just(svd), seed
        )
        | st.builds(Whole, st.just("mean"), st.just(Source("b")), st.just(ROWS), index, index)
        | st.builds(Divide, inner, st.lists(st.integers(1, 9), min_size=ROWS, max_size=ROWS).map(tuple))
        | st.builds(Where, st.lists(st.sampled_from([0, 1]), min_size=ROWS, max_size=ROWS).map(tuple), inner, inner)
        | st.builds(Apply, st.just("orthogonal"), st.tuples(inner), st.just(()), seed)
        | st.builds(Add, inner, inner)
        | st.builds(lambda x, y, w: Mean((x, y), (w, 1 - w)), inner, inner, st.floats(0, 1))
        | st.builds(lambda x, y: Concat((Take(x, (4, 0)), y), (2, ROWS)), inner, inner).map(_cut)
    )


def _cut(x: Expr) -> Expr:
    """Some of seven rows, so that there are five again."""
    return Take(x, (6, 0, 3, 1, 5))


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
def test_a_program_of_another_parent_reads_that_one_alone(expr: Expr) -> None:
    there = from_parent(2, expr)
    assert sources(there) == {of_parent(2, name) for name in sources(expr)}
    tensors = InMemory({of_parent(2, name): tensor for name, tensor in TENSORS.items()})
    value = evaluate(there, torch.arange(ROWS), tensors, torch.float64)
    assert torch.allclose(value, whole(expr), rtol=0, atol=0, equal_nan=True)
    assert from_parent(0, expr) == expr


def test_what_is_the_same_of_all_parents_is_said_once() -> None:
    names = [of_parent(parent, "a") for parent in range(3)]
    same, moved = tuple(map(Source, names)), tuple(Take(Source(name), (1, 0)) for name in names)
    assert describe(Mean(same, (1 / 3,) * 3)) == "mean of a of each of 3 parents"
    assert describe(Mean(same, (0.5, 0.25, 0.25))) == "weighted mean of a of each of 3 parents"
    assert describe(Concat((same[0], *moved[1:]), (5, 2, 2))) == "rows of a, and a[2 rows] of 2 more"
    assert describe(Concat((same[1], same[0]), (5, 5))) == "rows of 1:a, a"


@given(programs)
def test_a_seed_changes_fresh_values_and_nothing_else(expr: Expr) -> None:
    fresh = any(drawn in repr(expr) for drawn in ("Init", "Apply", "svd_perturb"))
    assert (reseeded(expr, "p") != expr) == fresh
    assert shape(reseeded(expr, "p"), SHAPES) == shape(expr, SHAPES)


@given(
    st.lists(st.integers(0, ROWS - 1), min_size=4, max_size=4).map(tuple),
    st.lists(st.floats(-2, 2), min_size=4, max_size=4).map(tuple),
)
def test_binding_settles_late_vectors(index: tuple[int, ...], factors: tuple[float, ...]) -> None:
    late = Scale(Take(Source("a"), Deferred("i", 4)), Deferred("f", 4))
    assert deferred_vectors(late) == {Deferred("i", 4), Deferred("f", 4)}
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


@pytest.mark.parametrize("interleaved", [False, True])
def test_units_of_fused_matrices_are_picked_together(*, interleaved: bool) -> None:
    """Two experts of three units with two positions each, of which either keeps two units of its own."""
    values = torch.arange(24.0).view(2, 6, 2)
    late = Pick(Source("x"), Deferred("u", 4), 2, 0, 2, interleaved=interleaved)
    assert shape(late, {"x": (2, 6, 2)}) == (2, 4, 2)
    assert deferred_vectors(late) == {Deferred("u", 4)}
    picked = bind(late, {"u": (0, 2, 1, 2)})
    found = evaluate(picked, torch.tensor([1, 0]), InMemory({"x": values}), torch.float64)
    rows = [[2, 3, 4, 5], [0, 1, 4, 5]] if interleaved else [[1, 2, 4, 5], [0, 2, 3, 5]]
    assert torch.equal(found, torch.stack([values[1, rows[0]], values[0, rows[1]]]))
    assert torch.equal(
        evaluate(squared(picked), torch.tensor([1, 0]), InMemory({"x": values**2}), torch.float64), found**2
    )


@given(st.lists(st.floats(-2, 2), min_size=WIDTH, max_size=WIDTH).map(tuple))
def test_vectors_are_made_into_tensors_once_they_are_bound(mean: tuple[float, ...]) -> None:
    """Rows of deferred vectors, alone and below those of a source."""
    stack = Made("stacked", (), (), (2, WIDTH), vectors=(Deferred("first", WIDTH), Deferred("second", WIDTH)))
    late = Concat((Source("a"), stack), (ROWS, 2))
    assert deferred_vectors(late) == {Deferred("first", WIDTH), Deferred("second", WIDTH)}
    assert shape(late, SHAPES) == (ROWS + 2, WIDTH)
    assert sources(late) == {"a"}
    assert describe(late) == "rows of a, stacked(2 measured vectors)"
    bound = bind(late, {"first": mean, "second": mean[::-1]})
    assert not deferred_vectors(bound)
    assert "stacked(2 vectors)" in describe(bound)
    assert digest(bound) != digest(bind(late, {"first": mean, "second": tuple(x + 1 for x in mean)}))
    found = evaluate(bound, torch.tensor([ROWS + 1, 0, ROWS]), InMemory(TENSORS), torch.float64)
    expected = torch.tensor([mean[::-1], mean], dtype=torch.float64)
    assert torch.equal(found, torch.stack([expected[0], TENSORS["a"][0], expected[1]]))
    with pytest.raises(ValueError, match=f"planned with {WIDTH}"):
        bind(late, {"first": mean, "second": mean[1:]})


@pytest.mark.parametrize(
    "wrong",
    [
        Take(Source("a"), (0, ROWS)),
        Take(Source("a"), (-1,)),
        Scale(Source("a"), (1.0, 2.0)),
        Pick(Source("a"), (0, 1, WIDTH), 3, 0, 1, interleaved=False),
        Pick(Source("a"), (0, 1), 1, 0, 1, interleaved=False),
        Pick(Source("a"), (0,), 1, 0, 2, interleaved=False),
        Add(Source("a"), Take(Source("b"), (0,))),
        Mean((Source("a"), Take(Source("b"), (0,))), (0.5, 0.5)),
        Concat((Source("a"), Source("b")), (ROWS, 1)),
        Whole("mean", Source("a"), ROWS, (0, ROWS), (0, 0)),
        Whole("mean", Source("a"), ROWS + 1, (0, 1), (0, 0)),
        Whole("mean", Source("a"), ROWS, (0, 1), (0,)),
    ],
)
def test_shapes_that_disagree_are_refused(wrong: Expr) -> None:
    with pytest.raises(ValueError, match=r"row|factor|shape|unit"):
        shape(wrong, SHAPES)
