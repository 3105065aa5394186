"""One fault in one tensor program: what a wrong row, factor, seed, term or source tensor would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random

from growc.growth.rewrite import Rewrite
from growc.operators.claims import Moments
from growc.programs import (
    Add,
    Apply,
    AsExperts,
    Divide,
    Expr,
    Init,
    Made,
    Merge,
    Pick,
    Scale,
    Source,
    Std,
    Take,
    Where,
    Whole,
    shape,
)

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Fault:
    """What was changed in the program of which tensor."""

    tensor: str
    kind: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.kind} in {self.tensor}\n  {self.before}\n  {self.after}"


def spoilt(step: Rewrite, rng: Random, *, trained: bool) -> tuple[Rewrite, Fault]:
    """The rewrite, whose deferred vectors are bound, with one fault in the program of one tensor.

    Where an optimizer's state is grown too, the fault may be in the program of one of its moments.
    """
    if trained and rng.random() < 0.7:
        return _spoilt_moments(step, rng)
    shapes = {name: info.shape for name, info in step.read.items()}
    changed = [name for name, program in step.programs.items() if program != Source(name)]
    faults: list[tuple[str, Expr]] = []
    name = ""
    while not faults:  # a tensor that is as it was has none, if no other has its shape
        name = rng.choice(changed if changed and rng.random() < 0.9 else sorted(step.programs))
        faults = list(_faults(step.programs[name], shapes, rng))
    # Kinds are drawn first: a program has many sources, and one sum.
    kind = rng.choice(sorted({kind for kind, _ in faults}))
    other = rng.choice([expr for each, expr in faults if each == kind])
    fault = Fault(name, kind, repr(step.programs[name]), repr(other))
    return replace(step, programs={**step.programs, name: other}), fault


def _spoilt_moments(step: Rewrite, rng: Random) -> tuple[Rewrite, Fault]:
    shapes = {name: info.shape for name, info in step.read.items()}
    plain = {name for name, each in step.moments.items() if each.first == Source(name)}
    others = sorted({name for name, info in step.grown.tensors.items() if info.kind == "parameter"} - plain)
    name = rng.choice(others if others and rng.random() < 0.9 else sorted(plain or others))
    right = step.moments[name]
    if right.first is None or right.second is None or not right.keep_step:
        alike = Source(name) if shapes.get(name) == step.grown.tensors[name].shape else None
        wrong, kind = Moments(alike, alike, keep_step=alike is not None), "state that is kept"
    else:
        faults = [("state that is lost", Moments(None, None, keep_step=False))]
        faults += [(f"first: {kind}", replace(right, first=e)) for kind, e in _faults(right.first, shapes, rng)]
        faults += [(f"second: {kind}", replace(right, second=e)) for kind, e in _faults(right.second, shapes, rng)]
        if right.first != right.second:
            faults.append(("second: as the first", replace(right, second=right.first)))
        kind = rng.choice(sorted({kind for kind, _ in faults}))
        wrong = rng.choice([each for other, each in faults if other == kind])
    fault = Fault(name, kind, repr(right), repr(wrong))
    return replace(step, moments={**step.moments, name: wrong}), fault


def _faults(expr: Expr, shapes: Shapes, rng: Random) -> Iterator[tuple[str, Expr]]:
    """Programs of the same shape with one fault, here or further inside."""
    yield from _own(expr, shapes, rng)
    for inner, put in _inside(expr):
        yield from ((kind, put(other)) for kind, other in _faults(inner, shapes, rng))


def _own(expr: Expr, shapes: Shapes, rng: Random) -> Iterator[tuple[str, Expr]]:
    match expr:
        case Source(name):
            alike = [other for other, size in shapes.items() if size == shapes[name] and other != name]
            if alike:
                yield "source", Source(rng.choice(alike))
        case Take(x, tuple(index), dim):
            what = "column" if dim else "row"
            yield from ((what, replace(expr, index=one)) for one in _other_index(index, shape(x, shapes)[dim], rng))
        case Pick(x, tuple(units)):
            inner = shape(x, shapes)
            width = inner[expr.dim + 1] // expr.times
            yield from (("unit", replace(expr, units=one)) for one in _other_index(units, width, rng))
        case Scale(_, by):
            yield "factor", Scale(expr, 1.01)
            yield "sign", Scale(expr, -1.0)
            if isinstance(by, tuple):
                yield "factor of a row", replace(expr, by=_changed(by, rng, 1.01))
            if isinstance(by, Std) and isinstance(by.x, Source):
                yield "unit of noise", replace(expr, by=Std(by.x, None) if by.mask else 1.0)
        case Divide(x, by) if isinstance(by, tuple):
            yield "divisor", Divide(x, _changed(by, rng, 1.01))
            yield "no divisor", x
        case Where(tuple(mask), x, y):
            place = rng.randrange(len(mask))
            yield "mask", Where(tuple(1 - m if i == place else m for i, m in enumerate(mask)), x, y)
            yield "mask turned", Where(mask, y, x)
        case Add(x, y):
            yield "term", x
            yield "term", y
        case Merge(x, sizes, by):
            yield "sum for mean", Merge(x, sizes, "sum" if by == "mean" else "mean")
            places = [i for i in range(len(sizes) - 1) if sizes[i + 1] > 1]
            if places:
                at = rng.choice(places)
                moved = {at: 1, at + 1: -1}
                yield "groups", Merge(x, tuple(size + moved.get(i, 0) for i, size in enumerate(sizes)), by)
        case Init():
            yield "seed", replace(expr, seed=f"{expr.seed}!")
            yield "scale of draws", replace(expr, scale=1.01 * expr.scale)
        case Apply() | Whole() | Made():
            if expr.seed:
                yield "seed", replace(expr, seed=f"{expr.seed}!")
            numbers = [i for i, (_, value) in enumerate(expr.parameters) if isinstance(value, float)]
            if numbers:
                at = rng.choice(numbers)
                given = tuple((k, v * 1.01 if i == at else v) for i, (k, v) in enumerate(expr.parameters))  # type: ignore[operator]
                yield "parameter", replace(expr, parameters=given)
            if isinstance(expr, Whole) and isinstance(expr.index, tuple):
                index = tuple(map(int, expr.index))
                yield from (("row", replace(expr, index=one)) for one in _other_index(index, expr.rows, rng))
        case AsExperts(parts):
            scales = expr.scales or (1.0,) * len(parts)
            yield "factor", replace(expr, scales=_changed(scales, rng, 1.01))
            if len(parts) > 1:
                yield "parts", replace(expr, parts=parts[::-1])
            place = rng.randrange(len(parts))
            alike = [n for n, size in shapes.items() if size == shapes[parts[place].name] and n != parts[place].name]
            if alike:
                other = Source(rng.choice(alike))
                yield "source", replace(expr, parts=tuple(other if i == place else p for i, p in enumerate(parts)))
        case _:
            return


def _inside(expr: Expr) -> Iterator[tuple[Expr, Callable[[Expr], Expr]]]:
    """The parts of a program, and how to put another in the place of each."""
    match expr:
        case Take(x) | Pick(x) | Scale(x) | Divide(x) | Merge(x):
            yield x, lambda other: replace(expr, x=other)
        case Add(x, y) | Where(_, x, y):
            yield x, lambda other: replace(expr, x=other)
            yield y, lambda other: replace(expr, y=other)
        case Apply(_, inputs):
            for place, inner in enumerate(inputs):
                yield inner, _at(expr, place)
        case Whole(_, x):
            yield x, lambda other: replace(expr, x=other)
        case Made(_, inputs):
            for place, inner in enumerate(inputs):
                yield inner, _at(expr, place)
        case _:
            return


def _at(expr: Apply | Made, place: int) -> Callable[[Expr], Expr]:
    def put(other: Expr) -> Expr:
        inputs = tuple(other if i == place else x for i, x in enumerate(expr.inputs))
        return replace(expr, inputs=inputs)  # pyright: ignore[reportArgumentType]

    return put


def _other_index(index: tuple[float, ...] | tuple[int, ...], count: int, rng: Random) -> Iterator[tuple[int, ...]]:
    """The same with one entry changed."""
    numbers = [int(number) for number in index]
    others = list(range(count))
    place = rng.randrange(len(numbers))
    others.remove(numbers[place])
    if others:
        yield tuple(rng.choice(others) if i == place else number for i, number in enumerate(numbers))


def _changed(numbers: tuple[float, ...] | tuple[int, ...], rng: Random, by: float) -> tuple[float, ...]:
    place = rng.randrange(len(numbers))
    return tuple(float(number) * (by if i == place else 1.0) for i, number in enumerate(numbers))
