"""Merging of siblings: the way back from a growth that copied experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import config_with, groups_of
from growc.anatomy.matches import Expert, Match, OfMixture, SelectionBias
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import MoeSite, ResolvedMoe
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import ChangesExperts
from growc.operators.on_mixtures import OnMixtures
from growc.programs import Expr, Merge, Scale, Source, Take


class MergeDuplicates(OnMixtures, ChangesExperts):
    """Merge every group of siblings into one expert: weights and router rows are their mean, gradients their sum.

    While siblings are what the growth made of them, this gives back its source bit for bit: the mean is computed as the
    first plus what the others have over it. So do moments, where `optimizer_state` is that of the growth: with copy and
    reset_copies always, with gradient and consistent where groups have 1, 2, 4, 8, ... siblings, since other quotients
    are rounded (there they come back up to the last bits). The selection bias is that of the first sibling.
    """

    op: ClassVar = "merge_duplicates"
    paper: ClassVar = Paper("2604.19835", "Expert Upcycling", 2026)

    factor: int | None = Field(
        default=None,
        ge=2,
        le=256,
        description="size of every group, for a model that does not say who its siblings are",
    )
    replicas: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="the sizes of all groups in place of factor, the same for every layer"
    )
    top_k: Literal["fixed", "scale"] = Field(
        default="fixed", description="scale: the top-K is divided by factor again, which undoes a growth that scaled it"
    )
    optimizer_state: Literal["gradient", "consistent", "copy", "reset_copies", "reset"] = Field(
        default="gradient",
        description="that of the growth which is undone. gradient: first moments are summed, second ones summed times "
        "the size of the group; consistent: both summed; copy: both averaged; reset_copies: the first sibling's; "
        "reset: none are kept, for any tensor",
    )

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        told = [name for name in ("factor", "replicas") if getattr(self, name) is not None]
        if len(told) == 2:
            yield Problem("GROW323", "factor and replicas both say who siblings are", "give one of them", ("replicas",))
            return
        if self.top_k == "scale" and not self.factor:
            yield Problem("GROW323", "`top_k: scale` divides the top-K by factor", "give factor", ("top_k",))
            return
        for site in self.sites(model):
            if problem := next(self._problems_at(site, model, told), None):
                yield problem
                return

    def _problems_at(self, site: MoeSite, model: ModelGraph, told: list[str]) -> Iterator[Problem]:
        if site.siblings and told:
            yield Problem(
                "GROW323",
                f"{site.block} routes exclusively, so the model knows its siblings",
                f"leave {told[0]} out",
                (told[0],),
            )
        if not site.siblings and not told:
            yield Problem(
                "GROW323",
                f"nothing says which experts of {site.block} are siblings",
                "give factor, the number of copies of every expert, or replicas, those of each",
            )
        groups = self._groups(site)
        place = (told[0],) if told else ()
        if not groups or sum(groups) != site.num_experts:
            total = f"groups of {sum(groups)} experts in all" if groups else f"groups of {self.factor}"
            yield Problem(
                "GROW324",
                f"{total} do not make up the {site.num_experts} experts of {site.block}",
                "let the sizes of the groups sum to the number of experts",
                place,
            )
            return
        if len(set(_split(groups, site))) != 1:
            yield Problem(
                "GROW324",
                f"the {site.routing_groups} routing groups of {site.block} would differ in size, or share siblings",
                f"let siblings stay within {site.num_experts // site.routing_groups} experts in a row",
                place,
            )
        yield from self._top_k_problems(site, model, len(groups))

    def _top_k_problems(self, site: MoeSite, model: ModelGraph, left: int) -> Iterator[Problem]:
        if self.top_k == "fixed":
            if site.top_k > left:
                message = f"every token gets {site.top_k} experts of {site.block}, and {left} would be left"
                yield Problem("GROW325", message, "undo a scaled top-K with top_k: scale", ("top_k",))
            return
        assert self.factor is not None
        rule, units = site.repetition, {unit.tensor for unit in site.units}
        if site.top_k % self.factor:
            message = f"the top-{site.top_k} of {site.block} does not divide by {self.factor}"
            yield Problem("GROW325", message, "leave top_k at fixed", ("top_k",))
        elif model.top_k_field is None or rule is None or not (rule.gates_add_up or units == set(site.expert_tensors)):
            message = f"what a smaller top-K of {site.router} does could not be found"
            yield Problem("GROW322", message, "leave top_k at fixed for this model", ("top_k",))

    def _groups(self, site: MoeSite) -> Replicas:
        """Sizes of the groups of siblings of one layer in slot order; none where factor does not divide."""
        if site.siblings:
            return site.siblings
        if self.replicas is not None:
            return tuple(self.replicas)
        if self.factor is None or site.num_experts % self.factor:
            return ()
        return (self.factor,) * (site.num_experts // self.factor)

    @override
    def sites(self, model: ModelGraph) -> tuple[MoeSite, ...]:
        told = self.factor is not None or self.replicas is not None or not groups_of(model.config)
        return tuple(s for s in model.moe if (told or s.siblings if self.layers == "all" else s.layer in self.layers))

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        """Exactly while siblings are equal, which only their weights can tell."""
        return Preserves.NEARLY

    @override
    def siblings(self, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas]) -> dict[int, Replicas]:
        return {layer: groups for layer, groups in before.items() if layer not in replicas}

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        assert model.expert_field is not None
        merged = self.sites(model)
        changed: dict[int, dict[str, int]] = {
            site.layer: {model.expert_field: len(self._groups(site))} for site in merged
        }
        if self.top_k == "scale":
            assert model.top_k_field is not None
            assert self.factor is not None
            for site in merged:
                changed[site.layer][model.top_k_field] = site.top_k // self.factor
        kept = {layer: groups for layer, groups in groups_of(model.config).items() if layer not in changed}
        return config_with(model, model.expert_field, changed, kept)

    @override
    def weight(self, tensor: Match) -> Expr:
        if not isinstance(tensor, OfMixture):
            return Source(tensor.name)
        whole = self._first(tensor) if isinstance(tensor, SelectionBias) else self._merged(tensor, "mean")
        return Scale(whole, float(self.factor or 1)) if self._was_divided(tensor) else whole

    @override
    def gradient(self, tensor: Match) -> Expr:
        if not isinstance(tensor, OfMixture):
            return Source(tensor.name)
        # Of a tensor that is scaled up again, every copy has the whole gradient.
        return self._merged(tensor, "mean" if self._was_divided(tensor) else "sum")

    @override
    def moments(self, tensor: Match) -> Moments:
        if self.optimizer_state == "reset":
            return Moments(None, None, keep_step=False)
        if not isinstance(tensor, OfMixture):
            return Moments(Source(tensor.name), Source(tensor.name), keep_step=True)
        match self.optimizer_state:
            case "copy":
                first = second = self._merged(tensor, "mean")
            case "reset_copies":
                first = second = self._first(tensor)
            case "consistent":
                first = second = self._merged(tensor, "sum")
            case "gradient":
                first = second = self.gradient(tensor)
                if not self._was_divided(tensor):
                    second = Scale(second, tuple(float(size) for size in self._groups(tensor.site)))
        return Moments(first, second, keep_step=True)

    def _merged(self, tensor: OfMixture, by: Literal["mean", "sum"]) -> Expr:
        return Merge(Source(tensor.name), self._groups(tensor.site), by)

    def _first(self, tensor: OfMixture) -> Expr:
        groups = self._groups(tensor.site)
        return Take(Source(tensor.name), tuple(sum(groups[:i]) for i in range(len(groups))))

    def _was_divided(self, tensor: OfMixture) -> bool:
        """Whether a growth that scaled the top-K divided this tensor; see `ExpertUpcycling`."""
        rule = tensor.site.repetition
        if self.top_k == "fixed" or rule is None:
            return False
        match tensor:
            case Expert(units=units):
                return units is not None and units.down and not rule.gates_add_up
            case SelectionBias():
                return rule.scores_shrink
            case _:
                return False


def _split(groups: Replicas, site: MoeSite) -> Iterator[tuple[int, int]]:
    """Number and whole size of the groups of siblings in every routing group: those that begin there."""
    size, start = site.num_experts // site.routing_groups, 0
    begun: dict[int, list[int]] = {part: [] for part in range(site.routing_groups)}
    for group in groups:
        begun[start // size].append(group)
        start += group
    yield from ((len(part), sum(part)) for part in begun.values())


GROWN = {
    "op": "expert_upcycling",
    "routing": "exclusive",
    "router": {"init": "copy"},
    "allocation": {"rule": "explicit", "replicas": [4, 1, 2, 1, 1, 3, 3, 1]},
}
"""How the sources of the examples grew."""

EXAMPLES = {
    "siblings": Example({}, Preserves.NEARLY, grown_by=(GROWN,)),
    "siblings, copied state": Example({"optimizer_state": "copy"}, Preserves.NEARLY, grown_by=(GROWN,)),
}
