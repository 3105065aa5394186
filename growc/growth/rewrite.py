"""What one operator does to one model: the grown model and a program for every one of its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from growc.model import ModelGraph, inspect
from growc.operators import Operator
from growc.operators.operator import Moments, Preserves, Replicas, Role, Target
from growc.operators.siblings import VECTORS
from growc.operators.sites import MoeSite
from growc.programs import Expr, Late, Source, bind, lates, reseeded


@dataclass(frozen=True)
class Rewrite:
    """One operator applied to one model.

    `programs` and `moments` have an entry for every tensor of `grown`. Where the allocation is measured at run time,
    their late vectors are free and `grown` has the layout of equal scores; `bound` settles both.
    """

    operator: Operator
    source: ModelGraph
    grown: ModelGraph
    programs: dict[str, Expr]
    moments: dict[str, Moments]
    seed: str
    sequence_length: int

    @property
    def sites(self) -> tuple[MoeSite, ...]:
        """The layers of the source that grow."""
        return self.operator.sites(self.source)

    @property
    def preserves(self) -> Preserves:
        """The class of preservation that the operator claims here."""
        return self.operator.preserves(self.source)

    @property
    def lates(self) -> frozenset[Late]:
        """The vectors that are settled at run time."""
        return frozenset(late for program in self.programs.values() for late in lates(program))

    def bound(self, replicas: Mapping[int, Replicas]) -> Rewrite:
        """The rewrite with every late vector settled by the replicas of each grown layer."""
        values: dict[str, Any] = {
            f"{site.name}/{name}": vector(replicas[site.layer])
            for site in self.sites
            for name, vector in VECTORS.items()
        }

        def settle(expr: Expr | None) -> Expr | None:
            return None if expr is None else bind(expr, values)

        return Rewrite(
            self.operator,
            self.source,
            inspect(self.operator.config(self.source, replicas), self.sequence_length),
            {name: bind(program, values) for name, program in self.programs.items()},
            {name: Moments(settle(m.first), settle(m.second), m.keep_step) for name, m in self.moments.items()},
            self.seed,
            self.sequence_length,
        )


def rewrite(operator: Operator, source: ModelGraph, *, seed: str, sequence_length: int) -> Rewrite:
    """Apply `operator` to `source`; the operator must have no `problems` with it.

    Args:
        operator: what grows.
        source: the model before.
        seed: prefix of the seeds of fresh values.
        sequence_length: at which the grown model's FLOPs are counted.
    """
    sites = operator.sites(source)
    replicas = {site.layer: operator.allocate(site) for site in sites}
    grown = inspect(operator.config(source, replicas), sequence_length)
    targets = [target(name, source, sites) for name in grown.tensors]
    return Rewrite(
        operator,
        source,
        grown,
        {t.name: reseeded(operator.weight(t), seed) for t in targets},
        {t.name: operator.moments(t) for t in targets},
        seed,
        sequence_length,
    )


def target(name: str, source: ModelGraph, sites: tuple[MoeSite, ...]) -> Target:
    """What the tensor called `name` is to the sites that grow."""
    shape = source.tensors[name].shape if name in source.tensors else ()
    for site, role in _roles(name, sites):
        return Target(name, shape, role, site)
    return Target(name, shape)


def _roles(name: str, sites: tuple[MoeSite, ...]) -> Iterator[tuple[MoeSite, Role]]:
    for site in sites:
        if name in site.expert_tensors:
            yield site, Role.EXPERT
        elif name in site.router_rows:
            yield site, Role.ROUTER
        elif name == site.selection_bias:
            yield site, Role.SELECTION_BIAS


def unchanged(rewrite: Rewrite, name: str) -> bool:
    """Whether a tensor is carried over as it is."""
    return rewrite.programs[name] == Source(name)
