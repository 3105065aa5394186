"""Expert slimming: as many experts as before, each with fewer intermediate units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import config_with, groups_of, releasing
from growc.anatomy.matches import Expert, Match, SharedExpert
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import KeptUnits, Replicas
from growc.anatomy.sites import FfnSite, MoeSite, ResolvedMoe
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import HasControls, Measures, Slims
from growc.operators.measures import Measure
from growc.operators.on_mixtures import OnMixtures
from growc.operators.operator import Operator
from growc.operators.sensitivity import BySensitivity, best_units, by_expert
from growc.programs import Deferred, Expr, Pick, Source, Take


class ExpertSlimming(OnMixtures, Slims, Measures, HasControls):
    """Keep every expert and the most sensitive of its intermediate units (SlimMoE, arXiv 2506.18349).

    An expert keeps the same units of gate, up and down, and of their biases; every expert has a choice of its own, and
    all keep as many: round(share * width), one at least. Shared experts whose width the same config key sets are
    slimmed alike; the router stays. The paper slims in several stages and distils in between: here these are several
    grow stages, with plain training between them. Its abstract says no more than that units are pruned by how
    sensitive the model is to them: |w g|, summed over the weights into and out of a unit, is a reconstruction.
    """

    op: ClassVar = "expert_slimming"
    paper: ClassVar = Paper("2506.18349", "SlimMoE", 2025)

    share: float = Field(gt=0, le=1, description="share of the intermediate units of every expert that stays")
    choose: BySensitivity = Field(default=BySensitivity(), description="which units stay")

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        if releasing(model.config):
            yield Problem(
                "GROW342",
                "the siblings of the source are being released, and slimming would stop that half way",
                "finish with `- op: release_siblings` first",
            )
        for site in self.sites(model):
            if problem := next(self._problems_at(site, model), None):
                yield problem
                return

    def _problems_at(self, site: MoeSite, model: ModelGraph) -> Iterator[Problem]:
        if not site.units:
            yield Problem(
                "GROW384",
                f"the intermediate units of {site.experts} could not be found",
                "slim another model, or prune whole experts with expert_pruning",
            )
            return
        field = _field(site, model)
        other = next(_others(field, model), None) if field else None
        if field is None or other:
            what = "is not one key of the config" if field is None else f"is `{field}`, which sets that of {other} too"
            yield Problem(
                "GROW384",
                f"the width of the experts of {site.block} {what}",
                "prune whole experts with expert_pruning",
            )

    @override
    def sites(self, model: ModelGraph) -> tuple[MoeSite, ...]:
        return tuple(replace(site, shared=_shared(site, model)) for site in super().sites(model))

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.NOT

    @property
    @override
    def measure(self) -> Measure | None:
        return self.choose

    @override
    def control(self, name: str) -> Operator | None:
        if name == "random_allocation":
            return self.model_copy(update={"choose": BySensitivity(score="random")})
        return None

    @override
    def units(self, site: MoeSite, scores: tuple[float, ...]) -> KeptUnits:
        return tuple(best_units(row, self._kept(site, len(row))) for row in by_expert(site, scores))

    def _kept(self, site: MoeSite, width: int) -> int:
        """How many of `width` units stay: shared experts are as wide as several others, and keep what these do."""
        return max(1, round(self.share * site.width)) * (width // site.width)

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        assert model.expert_field is not None
        slim: dict[int, dict[str, int]] = {}
        for site in self.sites(model):
            field = _field(site, model)
            assert field is not None
            slim[site.layer] = {field: self._kept(site, site.width)}
        return config_with(model, model.expert_field, slim, groups_of(model.config))

    @override
    def weight(self, tensor: Match) -> Expr:
        source = Source(tensor.name)
        match tensor:
            case Expert(site=site, units=units) if units is not None:
                kept = self._kept(site, site.width)
                chosen = Deferred(f"{site.name}/units", site.num_experts * kept)
                return Pick(source, chosen, kept, units.dim, units.times, units.interleaved)
            case SharedExpert():
                return self._shared(tensor)
            case _:
                return source

    def _shared(self, tensor: SharedExpert) -> Expr:
        """The tensor of a shared expert, whose units may stay all."""
        source, site = Source(tensor.name), tensor.site
        for ffn in site.shared:
            kept = self._kept(site, ffn.width)
            chosen = Deferred(f"{ffn.name}/units", kept)
            if tensor.name in ffn.into:
                return Take(source, chosen)
            if tensor.name == ffn.back:
                return Pick(source, chosen, kept, dim=0, times=1, interleaved=False)
        return source

    @override
    def gradient(self, tensor: Match) -> Expr:
        return self.weight(tensor)

    @override
    def moments(self, tensor: Match) -> Moments:
        return Moments(self.weight(tensor), self.weight(tensor), keep_step=True)


def _field(site: MoeSite, model: ModelGraph) -> str | None:
    """The one config key that sets how many units the experts of a layer have."""
    fields = {field for unit in site.units for field in model.fields_of(unit.tensor, unit.dim + 1)}
    return next(iter(fields)) if len(fields) == 1 else None


def _shared(site: MoeSite, model: ModelGraph) -> tuple[FfnSite, ...]:
    """The shared experts of a layer whose width is set with that of the others."""
    fields = {(_field(site, model),)}
    alike = (f for f in model.ffn if f.layer == site.layer and not f.transposed)
    inside = (ffn for ffn in alike if site.width and ffn.width % site.width == 0)
    return tuple(ffn for ffn in inside if model.fields_of(ffn.back, 1)[:1] in fields)


def _others(field: str, model: ModelGraph) -> Iterator[str]:
    """Tensors that a config key sets a length of beside the experts, the shared ones among them."""
    known = {(unit.tensor, unit.dim + 1) for site in model.moe for unit in site.units}
    for ffn in (ffn for site in model.moe for ffn in _shared(site, model)):
        known |= {(ffn.back, 1), *((name, 0) for name in ffn.into)}
    for name, info in model.tensors.items():
        for dim in range(len(info.shape)):
            if (name, dim) not in known and field in model.fields_of(name, dim):
                yield name


EXAMPLES = {
    "measured": Example({"share": 0.5}, Preserves.NOT),
    "measured, one layer": Example({"share": 0.25, "choose": {"score": "weight_norm"}, "layers": [1]}, Preserves.NOT),
}
