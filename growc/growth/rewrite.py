"""What one operator does to one model: the grown model and a program for every one of its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from growc.anatomy.matches import Match
from growc.anatomy.model_graph import ModelGraph, TensorInfo
from growc.anatomy.replicas import VECTORS, KeptUnits, Replicas
from growc.anatomy.sites import FfnSite, MoeSite, ResolvedMoe
from growc.diagnostics import GrowcError
from growc.growth.match_tensors import Growth, match_layers, match_tensors
from growc.growth.match_widths import match_widths, unknown_widths, width_axes
from growc.model import inspect
from growc.model.closing import closing
from growc.model.layer_codings import fitting_config
from growc.model.moe_class_search import resolve_moe
from growc.model.scalars import moved_scalars
from growc.operators import Operator
from growc.operators.claims import Moments, Preserves, Problem
from growc.operators.facets import (
    Mixes,
    ReordersLayers,
    TakesLong,
    WidensAxes,
    map_order_of,
    replicas_of,
    wanted_mixtures,
)
from growc.operators.matching import order_of
from growc.programs import Deferred, Expr, Source, bind, deferred_vectors, of_parent, reseeded


@dataclass(frozen=True)
class Rewrite:
    """One operator applied to one model.

    `programs` and `moments` have an entry for every tensor of `grown`. Where the allocation is measured at run time,
    their deferred vectors are free and `grown` has the layout of equal scores; `bound` settles both. `parents` is how
    many models are mixed: `source`, and those of `other`; programs name the tensors of these by `of_parent`. `moe` is
    what was found for the mixtures that the operator wants.
    """

    operator: Operator
    source: ModelGraph
    grown: ModelGraph
    programs: dict[str, Expr]
    moments: dict[str, Moments]
    seed: str
    sequence_length: int
    parents: int = 1
    moe: ResolvedMoe | None = None

    @property
    def read(self) -> dict[str, TensorInfo]:
        """The tensors that programs may read: those of all parents."""
        models = (self.source, *(self.other for _ in range(1, self.parents)))
        return {of_parent(i, name): tensor for i, model in enumerate(models) for name, tensor in model.tensors.items()}

    @property
    def matches(self) -> dict[str, Match]:
        """What every tensor of `grown` is to the operator, by name."""
        found = matches(self.operator, self.source, self.grown, self.moe, self.parents)
        return {match.name: match for match in found}

    @property
    def other(self) -> ModelGraph:
        """The architecture of the models that are mixed with `source`: mostly the same."""
        return other_of(self.operator, self.source)

    @property
    def sites(self) -> tuple[MoeSite | FfnSite, ...]:
        """The layers of the source that grow."""
        return self.operator.sites(self.source)

    @property
    def mixtures(self) -> tuple[MoeSite, ...]:
        """Those of them that have experts already."""
        return tuple(site for site in self.sites if isinstance(site, MoeSite))

    @property
    def networks(self) -> tuple[FfnSite, ...]:
        """Those of them that are dense."""
        return tuple(site for site in self.sites if isinstance(site, FfnSite))

    @property
    def preserves(self) -> Preserves:
        """The class of preservation that the operator claims here."""
        return self.operator.preserves(self.source)

    @property
    def deferred_vectors(self) -> frozenset[Deferred]:
        """The vectors that are settled at run time."""
        return frozenset(late for program in self.programs.values() for late in deferred_vectors(program))

    def bound(
        self,
        replicas: Mapping[int, Replicas],
        units: Mapping[int, KeptUnits] | None = None,
        means: Mapping[str, tuple[float, ...]] | None = None,
    ) -> Rewrite:
        """The rewrite with every deferred vector bound: by the replicas and the kept units of each grown layer, and by
        means, which have the vectors' own names.
        """
        values: dict[str, Any] = {
            f"{site.name}/{name}": vector(replicas[site.layer])
            for site in self.sites
            for name, vector in VECTORS.items()
        }
        for site in self.mixtures:
            kept = (units or {}).get(site.layer, ())
            values[f"{site.name}/units"] = tuple(unit for row in kept[: site.num_experts] for unit in row)
            values |= {f"{ffn.name}/units": row for ffn, row in zip(site.shared, kept[site.num_experts :], strict=True)}
        for site in self.networks:
            values |= {order_of(site, parent): row for parent, row in enumerate((units or {}).get(site.layer, ()), 1)}
        values |= means or {}

        def settle(expr: Expr | None) -> Expr | None:
            return None if expr is None else bind(expr, values)

        return Rewrite(
            self.operator,
            self.source,
            inspect(_config(self.operator, self.source, replicas, self.moe), self.sequence_length),
            {name: bind(program, values) for name, program in self.programs.items()},
            {name: Moments(settle(m.first), settle(m.second), m.keep_step) for name, m in self.moments.items()},
            self.seed,
            self.sequence_length,
            self.parents,
            self.moe,
        )


def refusals(operator: Operator, source: ModelGraph) -> list[Problem]:
    """Why `operator` cannot grow `source`: what it says itself, or that no class can hold the mixtures it wants."""
    found = list(operator.problems(source))
    if not found and (request := wanted_mixtures(operator, source)) and not resolve_moe(source, request):
        message = f"no class can hold experts in the place of {source.model_type}'s feed-forward networks"
        help = "growc can stack linear maps of one kind with one activation between them"
        found.append(Problem("GROW354", message, help))
    if not found and isinstance(operator, ReordersLayers):
        found += _layer_refusals(operator, source)
    if not found and isinstance(operator, WidensAxes):
        found += _width_refusals(operator, source)
    return found


def _width_refusals(operator: WidensAxes, source: ModelGraph) -> list[Problem]:
    """Why the axes of `source` cannot become as long as the operator's config makes them."""
    assert isinstance(operator, Operator)
    try:
        grown = inspect(operator.config(source, {}), source.cost.sequence_length)
    except GrowcError as error:
        return [Problem("GROW398", one.message, one.help) for one in error.diagnostics]
    found = [*unknown_widths(source, grown), *moved_scalars(source, grown)]
    return found or list(operator.axis_problems(width_axes(source, grown)))


def _layer_refusals(operator: ReordersLayers, source: ModelGraph) -> Iterator[Problem]:
    """Why the layers of `source` cannot be in the order that the operator wants, or not closed."""
    order = operator.layer_order(source)
    config = fitting_config(source, order)
    if config is None:
        message = f"{source.model_type}'s config cannot say that layers {', '.join(map(str, order))} follow each other"
        help = "it tells kinds of layers by a count or a period: choose an order that keeps it, or a source with lists"
        yield Problem("GROW396", message, help)
        return
    try:
        grown = inspect(config, source.cost.sequence_length)
    except GrowcError as error:
        yield from (Problem("GROW396", one.message, one.help) for one in error.diagnostics)
        return
    if shared := next((name for name in grown.tied if name.startswith(f"{grown.blocks.path}.")), None):
        message = f"{shared} of the grown model would be shared with another layer"
        yield Problem("GROW396", message, "choose a source whose layers have weights of their own")
    elif operator.closes:
        try:
            closing(source)
        except GrowcError as error:
            yield from (Problem(one.code, one.message, one.help, ("start",)) for one in error.diagnostics)


def _config(
    operator: Operator, source: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None
) -> Mapping[str, Any]:
    """The config of the grown model."""
    if isinstance(operator, ReordersLayers):
        config = fitting_config(source, operator.layer_order(source))
        assert config is not None
        return config
    return operator.config(source, replicas, moe)


def rewrite(operator: Operator, source: ModelGraph, *, seed: str, sequence_length: int, parents: int = 1) -> Rewrite:
    """Apply `operator` to `source`; there must be no `refusals`.

    Args:
        operator: what grows.
        source: the model before.
        seed: prefix of the seeds of fresh values.
        sequence_length: at which the grown model's FLOPs are counted.
        parents: how many models there are, for an operator that mixes: `source`, and those like `other_of` it.
    """
    operator = operator.mixing(parents) if isinstance(operator, Mixes) else operator
    sites = operator.sites(source)
    replicas = {site.layer: replicas_of(operator, site) for site in sites}
    moe = resolve_moe(source, wanted_mixtures(operator, source))
    grown = inspect(_config(operator, source, replicas, moe), sequence_length)
    wanted = list(matches(operator, source, grown, moe, parents))

    def own(expr: Expr | None) -> Expr | None:
        return None if expr is None else reseeded(expr, seed)

    moments = {t.name: operator.moments(t) for t in wanted}
    return Rewrite(
        operator,
        source,
        grown,
        {t.name: reseeded(operator.weight(t), seed) for t in wanted},
        # What weights are moved by draws must move their moments by the same.
        {name: Moments(own(m.first), own(m.second), m.keep_step) for name, m in moments.items()},
        seed,
        sequence_length,
        parents,
        moe,
    )


def other_of(operator: Operator, source: ModelGraph) -> ModelGraph:
    """The architecture of the models that `operator` mixes with `source`."""
    config = operator.others(source) if isinstance(operator, Mixes) else source.config
    return source if config is source.config else inspect(config, source.cost.sequence_length)


def matches(
    operator: Operator, source: ModelGraph, grown: ModelGraph, moe: ResolvedMoe | None, parents: int = 1
) -> Iterator[Match]:
    """What every tensor of `grown` is to `operator`; `moe` holds the mixtures that it wants."""
    if isinstance(operator, ReordersLayers):
        closed_at = closing(source) if operator.closes else {}
        return match_layers(source, grown, operator.layer_order(source), closed_at, parents)
    if isinstance(operator, WidensAxes):
        return match_widths(source, grown, parents)
    order = map_order_of(operator, source, moe)
    return match_tensors(Growth(source, grown, operator.sites(source), other_of(operator, source), order, parents))


def unchanged(rewrite: Rewrite, name: str) -> bool:
    """Whether a tensor is carried over as it is."""
    return rewrite.programs[name] == Source(name)


def core_seconds(rewrite: Rewrite) -> float:
    """How long one core takes to compute the grown tensors, as predicted from their shapes."""
    operator = rewrite.operator
    return sum(map(operator.seconds, rewrite.matches.values())) if isinstance(operator, TakesLong) else 0.0
