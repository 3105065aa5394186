"""What a program says of itself: its shape, its inputs, its text and its hash, without touching a tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from growc.programs.expr import (
    Add,
    Apply,
    AsExperts,
    Concat,
    Deferred,
    Divide,
    Expr,
    Init,
    Made,
    Mean,
    Merge,
    Pick,
    Scale,
    Slerp,
    Source,
    Std,
    Take,
    Vector,
    Where,
    Whole,
)
from growc.programs.parents import of_parent, parent_of

Shape = tuple[int, ...]


def shape(expr: Expr, source_shapes: Mapping[str, Shape]) -> Shape:
    """The shape that `expr` evaluates to.

    Raises:
        KeyError: a source tensor does not exist.
        ValueError: shapes disagree, or a literal index is out of range.
    """
    match expr:
        case Source(name):
            return source_shapes[name]
        case Take(x, index, dim):
            inner = shape(x, source_shapes)
            if not isinstance(index, Deferred) and any(not 0 <= i < inner[dim] for i in index):
                raise ValueError(f"an index lies outside the {inner[dim]} {_slice(dim)}s of {describe(x)}")
            return (*inner[:dim], _length(index), *inner[dim + 1 :])
        case Pick(x, units, kept, dim, times):
            inner = shape(x, source_shapes)
            count, rest = divmod(inner[dim + 1], times)
            if rest or _length(units) not in (kept, inner[0] * kept):
                raise ValueError(f"{_length(units)} units, {kept} for each of {inner[0]} rows, of {describe(x)}")
            if not isinstance(units, Deferred) and any(not 0 <= unit < count for unit in units):
                raise ValueError(f"a unit lies outside the {count} of {describe(x)}")
            return (*inner[: dim + 1], times * kept, *inner[dim + 2 :])
        case Scale(x, by, dim):
            inner = shape(x, source_shapes)
            if isinstance(by, (tuple, Deferred)) and _length(by) != inner[dim]:
                raise ValueError(f"{_length(by)} factors for {inner[dim]} {_slice(dim)}s of {describe(x)}")
            return inner
        case Divide(x, by):
            inner = shape(x, source_shapes)
            if _length(by) != inner[0]:
                raise ValueError(f"{_length(by)} divisors for {inner[0]} rows of {describe(x)}")
            return inner
        case Where(mask, x, y):
            both = _same(x, y, source_shapes)
            if _length(mask) != both[0]:
                raise ValueError(f"a mask of {_length(mask)} for {both[0]} rows of {describe(x)}")
            return both
        case Apply(_, inputs):
            first, *rest = (shape(x, source_shapes) for x in inputs)
            if any(other[0] != first[0] for other in rest):
                raise ValueError(f"{describe(expr)} takes inputs of {[first, *rest]}")
            return first
        case Whole(_, x, rows, index, draw):
            inner = shape(x, source_shapes)
            if rows != inner[0] or _length(draw) != _length(index):
                raise ValueError(f"{describe(expr)} takes {inner[0]} rows and one draw for each of its own")
            if not isinstance(index, Deferred) and any(not 0 <= i < rows for i in index):
                raise ValueError(f"an index lies outside the {rows} rows of {describe(x)}")
            return (_length(index), *inner[1:])
        case Made(_, inputs, rows):
            if tuple(shape(x, source_shapes)[0] for x in inputs) != rows:
                raise ValueError(f"{describe(expr)} takes matrices of {rows} rows")
            return expr.shape
        case Add(x, y):
            return _same(x, y, source_shapes)
        case Concat(inputs, sizes):
            shapes = [shape(x, source_shapes) for x in inputs]
            if tuple(each[0] for each in shapes) != sizes or len({each[1:] for each in shapes}) != 1:
                raise ValueError(f"{describe(expr)} puts {shapes} together as {list(sizes)} rows")
            return (sum(sizes), *shapes[0][1:])
        case Mean((first, *rest), weights):
            if len(weights) != len(expr.inputs):
                raise ValueError(f"{len(weights)} weights for a mean of {len(expr.inputs)} tensors")
            for x in rest:
                _same(first, x, source_shapes)
            return shape(first, source_shapes)
        case Slerp((first, *rest)):
            for x in rest:
                _same(first, x, source_shapes)
            return shape(first, source_shapes)
        case Mean() | Slerp():
            raise ValueError("a mean of nothing")
        case Merge(x, sizes):
            inner = shape(x, source_shapes)
            if sum(sizes) != inner[0]:
                raise ValueError(f"groups of {sum(sizes)} rows in all for {inner[0]} rows of {describe(x)}")
            return (len(sizes), *inner[1:])
        case AsExperts():
            return _of_experts(expr, [source_shapes[part.name] for part in expr.parts])
        case Init():
            return expr.shape


def _of_experts(expr: AsExperts, parts: list[Shape]) -> Shape:
    first, *rest = parts
    if any(other != first for other in rest) or tuple(part[0] for part in parts) != expr.rows:
        raise ValueError(f"{describe(expr)} takes matrices of one shape, and with {expr.rows} rows")
    if expr.along is None:
        return (expr.shards, *first)
    if first[expr.along] % expr.shards:
        raise ValueError(f"{first[expr.along]} units do not make up {expr.shards} equal shares")
    row = first if len(first) == 1 or expr.along == expr.dim else first[::-1]
    units = len(parts) * first[expr.along] // expr.shards
    return (expr.shards, *row[: expr.dim], units, *row[expr.dim + 1 :])


def _same(x: Expr, y: Expr, source_shapes: Mapping[str, Shape]) -> Shape:
    left, right = shape(x, source_shapes), shape(y, source_shapes)
    if left != right:
        raise ValueError(f"{describe(x)} has shape {left}, {describe(y)} has {right}")
    return left


def sources(expr: Expr) -> frozenset[str]:
    """Names of the source tensors that `expr` reads."""
    return frozenset(node.name for node in _walk(expr) if isinstance(node, Source))


def deferred_vectors(expr: Expr) -> frozenset[Deferred]:
    """The vectors of `expr` that are still to be bound."""
    return frozenset(v for node in _walk(expr) for v in _vectors(node) if isinstance(v, Deferred))


def bind(expr: Expr, values: Mapping[str, tuple[float, ...] | tuple[int, ...]]) -> Expr:
    """`expr` with every deferred vector replaced by its value.

    Raises:
        KeyError: a deferred vector has no value.
        ValueError: a value has another length than was planned.
    """

    def value(vector: Vector) -> Vector:
        if not isinstance(vector, Deferred):
            return vector
        bound = values[vector.key]
        if len(bound) != vector.length:
            raise ValueError(f"{vector.key} was planned with {vector.length} values and bound with {len(bound)}")
        return bound

    return _rebuilt(expr, lambda x: bind(x, values), value)


def describe(expr: Expr) -> str:
    """One line of text for people: `rows[16] of gate.weight + 0.1 normal`."""
    match expr:
        case Source(name):
            return name
        case Take(x, index, dim):
            late = ", chosen by measurement" if isinstance(index, Deferred) else ""
            return f"{describe(x)}[{_length(index)} {_slice(dim)}s{late}]"
        case Pick(x, units, kept):
            late = ", chosen by measurement" if isinstance(units, Deferred) else ""
            return f"{describe(x)}[{kept} units of each row{late}]"
        case Scale(x, by, dim):
            match by:
                case Std(source, mask):
                    factor = f"std({describe(source)}{', some rows' if mask else ''})"
                case tuple() | Deferred():
                    factor = f"per-{_slice(dim)} factors"
                case _:
                    factor = f"{by:g}"
            return f"{factor} * {describe(x)}"
        case Divide(x, _):
            return f"{describe(x)} / per-row numbers"
        case Where(_, x, y):
            return f"{describe(x)} in some rows, {describe(y)} in the others"
        case Apply(function, inputs, parameters):
            return _called(function, inputs, parameters)
        case Whole(function, x, parameters=parameters):
            return f"{_called(function, (x,), parameters)}[{_length(expr.index)} rows]"
        case Made(function, inputs):
            late = any(isinstance(vector, Deferred) for vector in expr.vectors)
            count, measured = len(expr.vectors), "measured " if late else ""
            told = [f"{count} {measured}vector{'s' if count > 1 else ''}"] if count else []
            return f"{function}({', '.join([*map(describe, inputs), *told])})"
        case Add(x, y):
            return f"{describe(x)} + {describe(y)}"
        case Concat(inputs):
            return f"rows of {_of_parents(inputs)}"
        case Mean(inputs, weights):
            return f"{'' if len({*weights}) == 1 else 'weighted '}mean of {_of_parents(inputs)}"
        case Slerp(inputs):
            return f"spherical mean of {_of_parents(inputs)}"
        case Merge(x, sizes, by):
            return f"{by} of siblings in {describe(x)}[{len(sizes)} groups]"
        case AsExperts(parts, shards=shards):
            scales = expr.scales or (1.0,) * len(parts)
            scaled = (f"{by:g} * {x.name}" if by != 1 else x.name for x, by in zip(parts, scales, strict=True))
            return f"({', '.join(scaled)})" + (f" in {shards} shares" if shards > 1 else "")
        case Init(_, distribution, scale):
            return {
                "normal": f"normal(0, {scale:g})",
                "uniform": f"uniform(-{scale:g}, {scale:g})",
                "constant": f"{scale:g}",
                "zeros": "zeros",
                "below": f"whole numbers below {scale:g}",
            }[distribution]


def _of_parents(inputs: tuple[Expr, ...]) -> str:
    """Inputs in words; what is the same of each of several sources is said once."""
    first, *others = (describe(_renamed(x, lambda name: parent_of(name)[1])) for x in inputs)
    parents = [{parent_of(name)[0] for name in sources(x)} for x in inputs]
    start = min(parents[0], default=0)
    if len({*others}) != 1 or parents != [{parent} for parent in range(start, start + len(inputs))]:
        return ", ".join(map(describe, inputs))
    if start and first == others[0]:
        return f"{first} of each of parents {start} to {start + len(inputs) - 1}"
    if first == others[0]:
        return f"{first} of each of {len(inputs)} parents"
    return f"{first}, and {others[0]} of {len(others)} more"


def _called(function: str, inputs: Iterable[Expr], parameters: Iterable[tuple[str, float | int | str]]) -> str:
    given = [*map(describe, inputs), *(f"{key} {item}" for key, item in parameters)]
    return f"{function}({', '.join(given)})"


def digest(expr: Expr) -> str:
    """A hash of the program's meaning (dataclass representations are canonical: plain frozen data)."""
    return hashlib.sha256(repr(expr).encode()).hexdigest()


def squared(expr: Expr) -> Expr:
    """The program of the squares, for programs in which every element reads one element of the source."""
    match expr:
        case Source():
            return expr
        case AsExperts():
            return replace(expr, scales=tuple(scale * scale for scale in expr.scales))
        case Take(x):
            return replace(expr, x=squared(x))
        case Pick(x):
            return replace(expr, x=squared(x))
        case Scale(x, by, dim):
            match by:
                case tuple():
                    return Scale(squared(x), tuple(f * f for f in by), dim)
                case Deferred(key, length):
                    return Scale(Scale(squared(x), Deferred(key, length), dim), Deferred(key, length), dim)
                case Std():
                    raise AssertionError("a gradient program scales by known factors only")
                case _:
                    return Scale(squared(x), by * by)
        case Divide(x, by):
            return Divide(Divide(squared(x), by), by)
        case Where(mask, x, y):
            return Where(mask, squared(x), squared(y))
        case Concat(inputs, sizes):
            return Concat(tuple(map(squared, inputs)), sizes)
        case Apply(function, inputs) if function in MOVING:
            first, *rest = inputs
            return replace(expr, inputs=(squared(first), *rest))
        case Init(distribution="zeros"):
            return expr
        case Add() | Mean() | Slerp() | Merge() | Init() | Apply() | Whole() | Made():
            raise AssertionError("the square rule holds only while each element reads one source element")


MOVING = frozenset({"shuffle", "keep_units"})
"""Functions whose every element is one element of the first input, or zero."""


def reseeded(expr: Expr, prefix: str) -> Expr:
    """`expr` with `prefix` put before the seed of every fresh value."""
    inner = _rebuilt(expr, lambda x: reseeded(x, prefix), lambda vector: vector)
    if isinstance(inner, Init) or (isinstance(inner, (Apply, Whole, Made)) and inner.seed):
        return replace(inner, seed=f"{prefix}/{inner.seed}")
    return inner


def from_parent(parent: int, expr: Expr) -> Expr:
    """`expr`, which reads tensors of the first source, over those of the source numbered `parent`."""
    return _renamed(expr, lambda name: of_parent(parent, name))


def _renamed(expr: Expr, name: Callable[[str], str]) -> Expr:
    if isinstance(expr, Source):
        return Source(name(expr.name))
    return _rebuilt(expr, lambda x: _renamed(x, name), lambda vector: vector)


def _rebuilt(expr: Expr, child: Callable[[Expr], Expr], vector: Callable[[Vector], Vector]) -> Expr:
    """`expr` with its inputs and vectors replaced."""
    match expr:
        case Take(x, index, dim):
            return Take(child(x), vector(index), dim)
        case Pick(x, units):
            return replace(expr, x=child(x), units=vector(units))
        case Scale(x, by, dim):
            return Scale(child(x), _rebuilt_factor(by, child, vector), dim)
        case Divide(x, by):
            return Divide(child(x), vector(by))
        case Where(mask, x, y):
            return Where(vector(mask), child(x), child(y))
        case Apply(_, inputs):
            return replace(expr, inputs=tuple(map(child, inputs)))
        case Whole(_, x, _, index, draw):
            return replace(expr, x=_source(child(x)), index=vector(index), draw=vector(draw))
        case Add(x, y):
            return Add(child(x), child(y))
        case Slerp(inputs):
            return Slerp(tuple(map(_source, map(child, inputs))))
        case Concat(inputs) | Mean(inputs):
            return replace(expr, inputs=tuple(map(child, inputs)))
        case Merge(x, sizes, by):
            return Merge(child(x), sizes, by)
        case AsExperts(parts):
            return replace(expr, parts=tuple(map(_source, map(child, parts))))
        case Made(_, inputs):
            own = tuple(map(vector, expr.vectors))
            return replace(expr, inputs=tuple(map(_source, map(child, inputs))), vectors=own)
        case Source() | Init():
            return expr


def _source(expr: Expr) -> Source:
    assert isinstance(expr, Source), "what is read whole stays a source's tensor"
    return expr


def _rebuilt_factor(
    by: float | Vector | Std, child: Callable[[Expr], Expr], vector: Callable[[Vector], Vector]
) -> float | Vector | Std:
    match by:
        case tuple() | Deferred():
            return vector(by)
        case Std(x, mask):
            rows = child(x)
            assert isinstance(rows, (Source, Take))
            return Std(rows, vector(mask) if mask is not None else None)
        case _:
            return by


def _slice(dim: int) -> str:
    """What a slice along a dimension is called."""
    return ("row", "column", "slice")[min(dim, 2)]


def _length(vector: Vector) -> int:
    return vector.length if isinstance(vector, Deferred) else len(vector)


def _walk(expr: Expr | Std) -> Iterator[Expr | Std]:
    yield expr
    match expr:
        case Take(x, _) | Pick(x) | Std(x) | Divide(x, _) | Whole(_, x) | Merge(x):
            yield from _walk(x)
        case Scale(x, by):
            yield from _walk(x)
            if isinstance(by, Std):
                yield from _walk(by)
        case Add(x, y) | Where(_, x, y):
            yield from _walk(x)
            yield from _walk(y)
        case Apply(_, inputs) | AsExperts(inputs) | Made(_, inputs) | Concat(inputs) | Mean(inputs) | Slerp(inputs):
            for x in inputs:
                yield from _walk(x)
        case Source() | Init():
            return


def _vectors(node: Expr | Std) -> tuple[Vector, ...]:
    match node:
        case Take(_, vector) | Pick(_, vector) | Divide(_, vector) | Where(vector, _, _):
            return (vector,)
        case Scale(_, by) if isinstance(by, (tuple, Deferred)):
            return (by,)
        case Std(_, mask) if mask is not None:
            return (mask,)
        case Whole(_, _, _, index, draw):
            return (index, draw)
        case Made(vectors=vectors):
            return vectors
        case _:
            return ()
