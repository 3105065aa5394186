"""The base of all growth in width: every axis gets a map, and every dimension a factor by what it does with the axis.

A feature that holds m times what its source held, and does the share a of its work, is written with m and read with
a / m. Gains of norms stay, and where the head is the table of embeddings the last gain takes a / m^2, since the table
is read and written with m. The gradient of an entry is the source's times its shares over its factor: the program of
gradients is never written, but computed from that of the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.matches import Match, Widened
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import ResolvedMoe, SiteKind
from growc.anatomy.widths import STREAM, Role, Stretch, WidthAxis
from growc.operators.axis_maps import AxisMap, copies, without_place
from growc.operators.claims import Moments, Preserves, Problem
from growc.operators.facets import Remarks, WidensAxes
from growc.operators.operator import Operator
from growc.programs import Add, Expr, Init, Scale, Source, Std, Take, squared


class Widening(Operator, WidensAxes, Remarks):
    """An operator that makes a model wider by copies of its features, and keeps what it computes."""

    site: ClassVar = SiteKind.BLOCK

    noise: float = Field(
        default=0.0,
        ge=0,
        description="what sets copies apart: noise on the weights that read them, which cancels over all copies, in "
        "units of the standard deviation of these weights; 0: copies are trained alike and stay alike",
    )
    optimizer_state: Literal["gradient", "copy", "reset"] = Field(
        default="gradient",
        description="gradient: moments follow the gradients of the grown tensors; copy: as the source's; reset: none "
        "is kept, for any tensor",
    )

    @abstractmethod
    def sizes(self, model: ModelGraph) -> Mapping[str, int]:
        """The keys of the config that change, with what they become."""

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        yield from ()

    @override
    def axis_problems(self, axes: Collection[WidthAxis]) -> Iterator[Problem]:
        for axis in axes:
            whole = axis.after % axis.before == 0
            if axis.after < axis.before:
                message = f"{axis.before} {axis.name} would become {axis.after}, which are fewer"
                yield Problem("GROW399", message, "give a size above the source's")
            elif axis.centred and not whole:
                message = f"norms subtract the mean of the stream, which {axis.after} copies of {axis.before} change"
                yield Problem("GROW399", message, f"choose a multiple of {axis.before}")
            elif axis.normed and axis.name != STREAM and not whole:
                message = f"a norm goes over all {axis.name}, of which {axis.after} come from {axis.before}"
                yield Problem("GROW399", message, f"choose a multiple of {axis.before}")
            elif axis.groups[0] and axis.after % axis.groups[1]:
                message = f"{axis.after} query heads do not share {axis.groups[1]} key-value heads alike"
                yield Problem("GROW399", message, f"choose a multiple of {axis.groups[1]}")
            elif lost := without_place(axis):
                message = f"{axis.after} {axis.name} with {axis.groups[1]} key-value heads have no place for {lost[0]}"
                yield Problem("GROW399", message, "choose more heads, or fewer key-value heads")

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.EXACTLY

    @override
    def remarks(self, model: ModelGraph) -> Iterator[Problem]:
        if not self.noise:
            message = "copies of a feature get equal gradients, and so stay equal for ever"
            yield Problem("GROW400", message, "give `noise`, say 0.01, which keeps the model as it is", ("noise",))

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        return {**model.config, **self.sizes(model)}

    @override
    def weight(self, tensor: Match) -> Expr:
        if not isinstance(tensor, Widened):
            return Source(tensor.name)
        maps = [_Dimension(dim) for dim in tensor.stretches]
        grown = _along(tensor, [dim.factors for dim in maps])
        if tensor.raised:
            return _less_one(grown, maps[0].factors)
        for number, dim in enumerate(maps):
            if self.noise and dim.signs is not None and len(maps) > 1:
                return Add(grown, self._cancelling(tensor, number, dim))
        return grown

    @override
    def gradient(self, tensor: Match) -> Expr:
        if not isinstance(tensor, Widened):
            return Source(tensor.name)
        return _along(tensor, [_Dimension(dim).gradients for dim in tensor.stretches])

    @override
    def moments(self, tensor: Match) -> Moments:
        if self.optimizer_state == "reset":
            return Moments(None, None, keep_step=False)
        copied = isinstance(tensor, Widened) and self.optimizer_state == "copy"
        first = _along(tensor, [None for _ in tensor.shape]) if copied else self.gradient(tensor)
        return Moments(first, squared(first), keep_step=True)

    def _cancelling(self, tensor: Widened, number: int, dim: _Dimension) -> Expr:
        """Noise on what is read along a dimension, drawn once for every feature of the source."""
        assert dim.signs is not None
        before = tensor.before[number]
        shape = (*tensor.shape[:number], before, *tensor.shape[number + 1 :])
        drawn = Take(Init(shape, "normal", self.noise, seed=f"{tensor.name}/noise"), dim.index, number)
        return Scale(Scale(drawn, dim.signs, number), Std(Source(tensor.name)))


class _Dimension:
    """Positions of one dimension of a grown tensor: where each comes from, and its factors.

    `factors` are those of the weights and `gradients` those of gradients, None where they are 1; `signs` of noise.
    """

    def __init__(self, stretches: tuple[Stretch, ...]) -> None:
        index, factors, gradients, signs = list[int](), list[float](), list[float](), list[float]()
        start = 0
        for stretch in stretches:
            axis, inner = stretch.axis, stretch.inner
            grown = copies(axis)
            weights = [_factor(stretch.role, m, a) for m, a in zip(grown.held, grown.share, strict=True)]
            noise = _noise(grown) if stretch.role is Role.READ else [0.0] * axis.after
            for turn in range(stretch.outer):
                for feature, source in enumerate(grown.source):
                    first = start + (turn * axis.before + source) * inner
                    index += range(first, first + inner)
                    factors += [weights[feature]] * inner
                    gradients += [grown.share[feature] / weights[feature]] * inner
                    signs += [noise[feature]] * inner
            start += stretch.outer * axis.before * inner
        self.index = tuple(index)
        self.moves = self.index != tuple(range(start))
        self.factors = tuple(factors) if any(one != 1 for one in factors) else None
        self.gradients = tuple(gradients) if any(one != 1 for one in gradients) else None
        self.signs = tuple(signs) if any(signs) else None


def _factor(role: Role, held: float, share: float) -> float:
    match role:
        case Role.WRITE | Role.NORM_BIAS:
            return held
        case Role.READ | Role.LAST_BIAS:
            return share / held
        case Role.GAIN:
            return 1.0
        case Role.LAST_GAIN:
            return share / held**2


def _noise(grown: AxisMap) -> list[float]:
    """How much each copy of a feature gets of the noise on its readers: all another part, and nothing in the sum."""
    of_source: dict[int, list[int]] = {}
    for feature, source in enumerate(grown.source):
        of_source.setdefault(source, []).append(feature)
    parts = [0.0] * len(grown.source)
    for features in of_source.values():
        middle = (len(features) - 1) / 2
        for place, feature in enumerate(features):
            parts[feature] = (place - middle) / (middle or 1) * grown.share[feature] / grown.held[feature]
    return parts


def _along(tensor: Match, factors: list[tuple[float, ...] | None]) -> Expr:
    """The source's tensor, along every dimension taken and multiplied."""
    assert isinstance(tensor, Widened)
    grown: Expr = Source(tensor.name)
    for number, (stretches, by) in enumerate(zip(tensor.stretches, factors, strict=True)):
        dim = _Dimension(stretches)
        if stretches and dim.moves:
            grown = Take(grown, dim.index, number)
        if by is not None:
            grown = Scale(grown, by, number)
    return grown


def _less_one(grown: Expr, factors: tuple[float, ...] | None) -> Expr:
    """A gain that is stored less 1, where all of it is multiplied: w (g + 1) - 1 = w g + (w - 1)."""
    if factors is None:
        return grown
    ones = Init((len(factors),), "constant", 1.0, seed="")
    return Add(grown, Scale(ones, tuple(factor - 1 for factor in factors)))
