"""What a program says of itself: its shape, its inputs, its text and its hash, without touching a tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from growc.programs.expr import Add, Expr, Init, Late, Scale, Source, Std, Take, Vector

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
        case Take(x, index):
            inner = shape(x, source_shapes)
            if not isinstance(index, Late) and any(not 0 <= i < inner[0] for i in index):
                raise ValueError(f"an index lies outside the {inner[0]} rows of {describe(x)}")
            return (_length(index), *inner[1:])
        case Scale(x, by):
            inner = shape(x, source_shapes)
            if isinstance(by, (tuple, Late)) and _length(by) != inner[0]:
                raise ValueError(f"{_length(by)} factors for {inner[0]} rows of {describe(x)}")
            return inner
        case Add(x, y):
            left, right = shape(x, source_shapes), shape(y, source_shapes)
            if left != right:
                raise ValueError(f"{describe(x)} has shape {left}, {describe(y)} has {right}")
            return left
        case Init():
            return expr.shape


def sources(expr: Expr) -> frozenset[str]:
    """Names of the source tensors that `expr` reads."""
    return frozenset(node.name for node in _walk(expr) if isinstance(node, Source))


def lates(expr: Expr) -> frozenset[Late]:
    """The vectors of `expr` that are still to be bound."""
    return frozenset(v for node in _walk(expr) for v in _vectors(node) if isinstance(v, Late))


def bind(expr: Expr, values: Mapping[str, tuple[float, ...] | tuple[int, ...]]) -> Expr:
    """`expr` with every late vector replaced by its value.

    Raises:
        KeyError: a late vector has no value.
        ValueError: a value has another length than was planned.
    """

    def value(vector: Vector) -> Vector:
        if not isinstance(vector, Late):
            return vector
        bound = values[vector.key]
        if len(bound) != vector.length:
            raise ValueError(f"{vector.key} was planned with {vector.length} values and bound with {len(bound)}")
        return bound

    match expr:
        case Take(x, index):
            return Take(bind(x, values), value(index))
        case Scale(x, by):
            return Scale(bind(x, values), value(by) if isinstance(by, (tuple, Late)) else by)
        case Add(x, y):
            return Add(bind(x, values), bind(y, values))
        case Source() | Init():
            return expr


def describe(expr: Expr) -> str:
    """One line of text for people: `rows[16] of gate.weight + 0.1 normal`."""
    match expr:
        case Source(name):
            return name
        case Take(x, index):
            late = ", chosen by utility" if isinstance(index, Late) else ""
            return f"{describe(x)}[{_length(index)} rows{late}]"
        case Scale(x, by):
            match by:
                case Std(source):
                    factor = f"std({source.name})"
                case tuple() | Late():
                    factor = "per-row factors"
                case _:
                    factor = f"{by:g}"
            return f"{factor} * {describe(x)}"
        case Add(x, y):
            return f"{describe(x)} + {describe(y)}"
        case Init(_, distribution, scale):
            return {"normal": f"normal(0, {scale:g})", "uniform": f"uniform(-{scale:g}, {scale:g})", "zeros": "zeros"}[
                distribution
            ]


def digest(expr: Expr) -> str:
    """A hash of the program's meaning (dataclass representations are canonical: plain frozen data)."""
    return hashlib.sha256(repr(expr).encode()).hexdigest()


def squared(expr: Expr) -> Expr:
    """The program of the squares, for programs in which every element reads one element of the source."""
    match expr:
        case Source():
            return expr
        case Take(x, index):
            return Take(squared(x), index)
        case Scale(x, by):
            match by:
                case tuple():
                    return Scale(squared(x), tuple(f * f for f in by))
                case Late(key, length):
                    return Scale(Scale(squared(x), Late(key, length)), Late(key, length))
                case Std():
                    raise AssertionError("a gradient program scales by known factors only")
                case _:
                    return Scale(squared(x), by * by)
        case Add() | Init():
            raise AssertionError("the square rule holds only while each element reads one source element")


def reseeded(expr: Expr, prefix: str) -> Expr:
    """`expr` with `prefix` put before the seed of every fresh value."""
    match expr:
        case Init():
            return replace(expr, seed=f"{prefix}/{expr.seed}")
        case Take(x, index):
            return Take(reseeded(x, prefix), index)
        case Scale(x, by):
            return Scale(reseeded(x, prefix), by)
        case Add(x, y):
            return Add(reseeded(x, prefix), reseeded(y, prefix))
        case Source():
            return expr


def _length(vector: Vector) -> int:
    return vector.length if isinstance(vector, Late) else len(vector)


def _walk(expr: Expr | Std) -> Iterator[Expr | Std]:
    yield expr
    match expr:
        case Take(x, _) | Std(x):
            yield from _walk(x)
        case Scale(x, by):
            yield from _walk(x)
            if isinstance(by, Std):
                yield from _walk(by)
        case Add(x, y):
            yield from _walk(x)
            yield from _walk(y)
        case Source() | Init():
            return


def _vectors(node: Expr | Std) -> tuple[Vector, ...]:
    match node:
        case Take(_, index):
            return (index,)
        case Scale(_, by) if isinstance(by, (tuple, Late)):
            return (by,)
        case _:
            return ()
