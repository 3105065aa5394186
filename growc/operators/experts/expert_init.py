"""What an initialisation of expert weights gives: a program for the weights, and one for their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import ClassVar

from typing_extensions import override

from growc.anatomy.matches import Expert
from growc.anatomy.sites import MoeSite, Units
from growc.operators.claims import Problem
from growc.operators.initialisation import Initialisation, Slots
from growc.programs import Divide, Expr, Init, Where

Layout = tuple[tuple[str, int], ...]


class ExpertInit(Initialisation):
    """How the expert weights of copies start. Its tensors are all of `MoeSite.expert_tensors`."""

    by_units: ClassVar[bool] = False
    """Whether it must know where the intermediate units lie."""
    mixes: ClassVar[bool] = False
    """Whether it makes a copy of two experts."""

    @override
    def problems(self, site: MoeSite) -> Iterator[Problem]:
        if self.by_units and not site.units:
            yield Problem(
                "GROW332",
                f"the intermediate units of {site.experts} could not be found",
                "choose an init that needs none of them: copy, copy_noise, scaled_copy, interpolate",
                ("experts", "init"),
            )
        if self.mixes and site.num_experts == 1:
            yield Problem(
                "GROW333",
                f"{site.block} has one expert, and none to mix it with",
                "choose an init that takes one expert",
                ("experts", "init"),
            )

    def weight(self, slots: Slots) -> Expr:
        """The grown tensor over the source's."""
        raise NotImplementedError

    def carried(self, slots: Slots) -> Expr:
        """For every element the one of the source that it comes from (zero if none), so that moments can follow it."""
        return slots.copied

    def gradient(self, slots: Slots) -> Expr:
        """Its expected gradient over the source's: siblings share the tokens of their source."""
        return Divide(self.carried(slots), slots.vector("replicas"))


def of_originals(slots: Slots) -> Expr:
    """The expected gradient where copies are nothing like their source: only originals know theirs."""
    none = Init((slots.count, *slots.tensor.before[1:]), "zeros", 0.0, slots.tensor.name)
    return Where(slots.vector("copies"), none, Divide(slots.copied, slots.vector("replicas")))


def units_of(slots: Slots) -> Units | None:
    """Where the intermediate units lie in this tensor, or None if it has none (a bias of the stream)."""
    return slots.tensor.units if isinstance(slots.tensor, Expert) else None


def layout(units: Units) -> Layout:
    """The same for a function of rows, which gets one expert's tensor."""
    return (("dim", units.dim), ("times", units.times), ("interleaved", int(units.interleaved)))


def matrices_of(slots: Slots) -> tuple[int, int, int] | None:
    """How many matrices of one copy lie in this tensor, and the units and the stream of each; None if it has none."""
    units, row = units_of(slots), slots.tensor.before[1:]
    if units is None or len(row) < 2:
        return None
    return units.times, row[units.dim] // units.times, prod(row) // row[units.dim]


def ranked(rank: int | None) -> Layout:
    """The rank of a truncated decomposition for a function of rows, which takes all without one."""
    return () if rank is None else (("rank", rank),)


def expert_seed(slots: Slots) -> str:
    """A seed that all tensors of an expert share, so that they are drawn the same units."""
    return f"{slots.tensor.site.experts}/units"
