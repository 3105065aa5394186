"""Tensor programs on real tensors, row by row.

Rows (dimension 0) are asked for by index, so an executor computes just the rows it holds, wherever the source's rows
live: `fetch` may read memory, a file, or another rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, runtime_checkable

import torch
from torch import Tensor

from growc.diagnostics import fail
from growc.model.stack_ffn import fused
from growc.numerics.functions import FUNCTIONS
from growc.numerics.matrices import MATRICES, one_thread
from growc.numerics.random import Stream, normal, uniform
from growc.numerics.router_init import MAKERS
from growc.numerics.slerp import products, shares
from growc.programs import (
    Add,
    Apply,
    AsExperts,
    Concat,
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
    Where,
    Whole,
    sources,
)

AT_ONCE = 2**24
"""Fresh values that are drawn at a time, in float32, before they are rounded to the dtype that is asked for."""


class Fetch(Protocol):
    """Where rows of source tensors come from."""

    def rows(self, name: str, index: Tensor) -> Tensor:
        """Rows `index` (a 1-D tensor of row numbers) of source tensor `name`; a 0-D tensor comes as it is."""
        ...

    def std(self, name: str) -> float:
        """Standard deviation over all elements of source tensor `name`."""
        ...


@runtime_checkable
class Mixing(Fetch, Protocol):
    """Where rows of the tensors of several sources come from."""

    def gram(self, names: Sequence[str]) -> Tensor:
        """Inner products of source tensors, over all elements: of shape (names, names), in float64 on the CPU."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Source tensors of this process, whole."""

    tensors: dict[str, Tensor]

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`."""
        tensor = self.tensors[name]
        return tensor[index] if tensor.dim() else tensor.clone()

    def std(self, name: str) -> float:
        """See `Fetch.std`."""
        values = self.tensors[name].double()  # two passes, as over ranks, so that both give the same bits
        mean = values.sum() / values.numel()
        return float((((values - mean) ** 2).sum() / values.numel()).sqrt())

    def gram(self, names: Sequence[str]) -> Tensor:
        """See `Mixing.gram`."""
        return products([self.tensors[name] for name in names])


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """The type in which tensors grow that are stored as `dtype`."""
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point else dtype


def evaluate(expr: Expr, index: Tensor, fetch: Fetch, dtype: torch.dtype) -> Tensor:
    """Rows `index` of what `expr` describes.

    Args:
        expr: a program whose deferred vectors are bound.
        index: row numbers, a 1-D integer tensor on the device of the result.
        fetch: where source rows come from.
        dtype: of fresh values; source values keep theirs.
    """
    match expr:
        case Source(name):
            return fetch.rows(name, index)
        case Take(x, slices, dim):
            assert isinstance(slices, tuple)
            chosen = torch.tensor(slices, device=index.device)
            if dim == 0:
                return evaluate(x, chosen[index], fetch, dtype)
            return evaluate(x, index, fetch, dtype).index_select(dim, chosen)
        case Pick(x):
            return _picked(expr, evaluate(x, index, fetch, dtype), index)
        case Scale(x, by, dim):
            value = evaluate(x, index, fetch, dtype)
            match by:
                case Std():
                    return value * _spread(by, fetch, index.device, dtype)
                case tuple() if dim:
                    return value * torch.tensor(by, dtype=value.dtype, device=value.device).view(_column(value, dim))
                case tuple():
                    return value * _along_rows(by, value, index)
                case _:
                    assert isinstance(by, (int, float))
                    return value * by
        case Divide(x, by):
            assert isinstance(by, tuple)
            value = evaluate(x, index, fetch, dtype)
            return value / _along_rows(by, value, index)
        case Where(mask, x, y):
            assert isinstance(mask, tuple)
            chosen = torch.tensor(mask, device=index.device)[index].bool()
            # Every rank asks both sides, if for no rows: fetching rows is a collective act.
            yes, no = evaluate(x, index[chosen], fetch, dtype), evaluate(y, index[~chosen], fetch, dtype)
            kind = torch.promote_types(yes.dtype, no.dtype)
            value = yes.new_empty(len(index), *yes.shape[1:], dtype=kind)
            value[chosen], value[~chosen] = yes.to(kind), no.to(kind)
            return value
        case Apply():
            return _applied(expr, [evaluate(x, index, fetch, dtype) for x in expr.inputs], index)
        case Whole():
            return _of_whole(expr, index, fetch)
        case Made():
            return _made(expr, index, fetch, dtype)
        case Add(x, y):
            return evaluate(x, index, fetch, dtype) + evaluate(y, index, fetch, dtype)
        case Concat():
            return _joined(expr, index, fetch, dtype)
        case Mean((first, *rest), (_, *weights)):
            start = evaluate(first, index, fetch, dtype)
            value = start.clone()
            for x, weight in zip(rest, weights, strict=True):
                value += (evaluate(x, index, fetch, dtype) - start) * weight
            return value
        case Mean():
            raise AssertionError("a mean has inputs")
        case Slerp(inputs):
            assert isinstance(fetch, Mixing)
            of_first, *weights = shares(fetch.gram([x.name for x in inputs]))
            start = fetch.rows(inputs[0].name, index)
            value = start * (of_first + sum(weights))
            for x, weight in zip(inputs[1:], weights, strict=True):
                value += (fetch.rows(x.name, index) - start) * weight
            return value
        case Merge():
            return _merged(expr, index, fetch, dtype)
        case AsExperts():
            return _as_experts(expr, index, fetch)
        case Init():
            return _draw(expr, index, dtype)


def _joined(expr: Concat, index: Tensor, fetch: Fetch, dtype: torch.dtype) -> Tensor:
    values: list[Tensor] = []
    places: list[Tensor] = []
    start = 0
    for x, size in zip(expr.inputs, expr.sizes, strict=True):
        place = ((index >= start) & (index < start + size)).nonzero().flatten()
        values.append(evaluate(x, index[place] - start, fetch, dtype))  # every rank asks all, if for no rows
        places.append(place)
        start += size
    value = torch.cat(values)
    result = torch.empty_like(value)
    result[torch.cat(places)] = value
    return result


def _picked(pick: Pick, value: Tensor, index: Tensor) -> Tensor:
    assert isinstance(pick.units, tuple)
    along = pick.dim + 1
    units = torch.tensor(pick.units, device=value.device).view(-1, pick.kept)
    units = units.expand(len(value), -1) if len(units) == 1 else units[index.to(value.device)]
    turns = torch.arange(pick.times, device=value.device)
    if pick.interleaved:
        positions = (units[:, :, None] * pick.times + turns).flatten(1)
    else:
        positions = (turns[:, None] * (value.shape[along] // pick.times) + units[:, None]).flatten(1)
    shape = [positions.shape[1] if dim == along else size for dim, size in enumerate(value.shape)]
    spread = positions.view(len(value), *(shape[dim] if dim == along else 1 for dim in range(1, value.dim())))
    return value.gather(along, spread.expand(shape))


def _merged(merge: Merge, index: Tensor, fetch: Fetch, dtype: torch.dtype) -> Tensor:
    sizes = torch.tensor(merge.sizes, device=index.device)
    starts, held = (sizes.cumsum(0) - sizes)[index], sizes[index]
    first = evaluate(merge.x, starts, fetch, dtype)
    counts = held.to(first.dtype).view(-1, *(1 for _ in first.shape[1:]))
    value = first.clone() if merge.by == "mean" else first * counts
    for c in range(1, max(merge.sizes)):  # every rank asks as often, if for no new rows: fetching is a collective act
        other = evaluate(merge.x, starts + torch.where(c < held, c, 0), fetch, dtype)
        # What is taken off is +0 for equal rows, and x - 0 is x bit for bit, whatever the sign of a zero.
        value -= (first - other) / counts if merge.by == "mean" else first - other
    return value


def _as_experts(expr: AsExperts, index: Tensor, fetch: Fetch) -> Tensor:
    wanted = set(index.tolist()) or {0}  # a rank without rows needs to know their shape
    # Every rank asks for every share, if for no rows: fetching is a collective act.
    asked = {number: _share(expr, number, fetch, index.device, number in wanted) for number in range(expr.shards)}
    shares = {number: share for number, share in asked.items() if share is not None}
    first = next(iter(shares.values()))
    value = first.new_empty(len(index), *first.shape)
    for number, share in shares.items():
        value[index == number] = share
    return value


def _share(expr: AsExperts, number: int, fetch: Fetch, device: torch.device, wanted: bool) -> Tensor | None:
    """One row."""
    matrices: list[Tensor] = []
    for part, rows in zip(expr.parts, expr.rows, strict=True):
        size = rows // expr.shards if expr.along == 0 else rows
        first = number * size if expr.along == 0 else 0
        matrix = fetch.rows(part.name, torch.arange(first, first + size if wanted else first, device=device))
        if expr.along == 1:
            matrix = matrix.tensor_split(expr.shards, dim=1)[number]
        matrices.append(matrix)
    return fused(matrices, expr) if wanted else None


def _column(value: Tensor, dim: int) -> list[int]:
    """The shape of a vector along a dimension of a tensor."""
    return [-1 if each == dim else 1 for each in range(value.dim())]


def _along_rows(numbers: tuple[float, ...] | tuple[int, ...], value: Tensor, index: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=value.dtype, device=value.device)[index].view(-1, *(1 for _ in value.shape[1:]))


def _spread(unit: Std, fetch: Fetch, device: torch.device, dtype: torch.dtype) -> float:
    """The standard deviation in whose units noise is stated."""
    if unit.mask is None:
        assert isinstance(unit.x, Source)
        std = fetch.std(unit.x.name)
    else:
        assert isinstance(unit.mask, tuple)
        rows = evaluate(unit.x, torch.tensor(unit.mask, device=device).nonzero().flatten(), fetch, dtype)
        with one_thread():
            std = float(rows.double().cpu().std(correction=0))
    if std == 0:
        _no_unit(min(sources(unit.x)))
    return std


def _no_unit(name: str) -> NoReturn:
    fail(
        "GROW330",
        f"{name} is constant, so noise in units of its standard deviation would be none",
        help="state the noise in absolute units, or grow from a state that has been trained",
    )


def _applied(apply: Apply, inputs: list[Tensor], index: Tensor) -> Tensor:
    """Row by row, in float64 and by one thread: the bytes do not depend on which rows are computed together."""
    function, parameters, first = FUNCTIONS[apply.function], dict(apply.parameters), inputs[0]
    result = torch.empty_like(first)
    with one_thread():
        for place, row in enumerate(index.tolist()):
            try:
                value = function([x[place].double() for x in inputs], parameters, Stream(apply.seed, row))
            except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
                _no_decomposition(min(sources(apply)), error)
            result[place] = value.to(first.dtype)
    return result


def _no_decomposition(name: str, error: Exception) -> NoReturn:
    fail(
        "GROW334",
        f"a matrix of {name} has no singular value decomposition: {' '.join(str(error).split())[:200]}",
        help="look for NaN or infinite weights in the source",
    )


def _of_whole(whole: Whole, index: Tensor, fetch: Fetch) -> Tensor:
    """The function of all rows, in float64 on the CPU and by one thread: the bytes do not depend on the layout."""
    assert isinstance(whole.index, tuple)
    assert isinstance(whole.draw, tuple)
    gathered = fetch.rows(whole.x.name, torch.arange(whole.rows, device=index.device))
    matrix, parameters = gathered.double().cpu(), dict(whole.parameters)
    if whole.seed and not matrix.any():
        _no_unit(whole.x.name)
    chosen, draws = torch.tensor(whole.index)[index.cpu()], torch.tensor(whole.draw)[index.cpu()]
    result = matrix.new_empty(len(index), *matrix.shape[1:])
    for draw in draws.unique().tolist():
        with one_thread():
            value = MATRICES[whole.function](matrix, parameters, Stream(whole.seed, draw))
        result[draws == draw] = value[chosen[draws == draw]]
    return result.to(gathered)


def _made(made: Made, index: Tensor, fetch: Fetch, dtype: torch.dtype) -> Tensor:
    gathered = [
        fetch.rows(x.name, torch.arange(rows, device=index.device))
        for x, rows in zip(made.inputs, made.rows, strict=True)
    ]
    vectors = [torch.tensor(vector, dtype=torch.float64) for vector in made.vectors]
    with one_thread():
        matrices = [*(matrix.double().cpu() for matrix in gathered), *vectors]
        value = MAKERS[made.function](matrices, dict(made.parameters), Stream(made.seed, 0))
    assert value.shape == made.shape
    return value[index.cpu()].to(index.device, gathered[0].dtype if gathered else dtype)


def _draw(init: Init, index: Tensor, dtype: torch.dtype) -> Tensor:
    values = torch.empty(len(index), *init.shape[1:], dtype=dtype, device=index.device)
    if init.distribution in ("zeros", "constant"):
        return values.fill_(init.scale if init.distribution == "constant" else 0)
    size = math.prod(init.shape[1:])
    for place, row, count in _runs(index.tolist()):
        flat = values[place : place + count].view(-1)
        for start in range(0, count * size, AT_ONCE):
            some = flat[start : start + AT_ONCE]
            some.copy_(drawn(init, row * size + start, len(some)))
    return values


def drawn(init: Init, start: int, count: int) -> Tensor:
    """Elements `start` to `start + count` of fresh values, counted through the rows of the whole tensor, in float32."""
    if init.distribution == "below":
        return uniform(init.seed, start, count).double().add_(1).mul_(init.scale / 2).floor_().float()
    values = (normal if init.distribution == "normal" else uniform)(init.seed, start, count)
    return values.mul_(init.scale)


def _runs(rows: list[int]) -> Iterator[tuple[int, int, int]]:
    """Rows that follow each other: where the first stands in the list, its number, and how many they are."""
    first = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place] != rows[place - 1] + 1:
            yield first, rows[first], place - first
            first = place
