"""Expert pruning: a mixture of experts becomes one with fewer experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import config_with, groups_of
from growc.anatomy.matches import Match, OfMixture
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import VECTORS, Replicas
from growc.anatomy.sites import FfnSite, MoeSite, ResolvedMoe
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import ChangesExperts, HasControls, Measures, SkipsExperts
from growc.operators.measures import Measure
from growc.operators.on_mixtures import OnMixtures
from growc.operators.operator import Operator
from growc.operators.selection import ByName, ByReconstruction, ByScore, Choice, lowest, survivors
from growc.programs import Deferred, Expr, Source, Take


class ExpertPruning(OnMixtures, ChangesExperts, Measures, SkipsExperts, HasControls):
    """Drop whole experts of every layer, those without which its output changes least (arXiv 2402.14800).

    Survivors keep their weights, router rows, selection bias and moments, and the top-K stays: the router's own rule
    chooses among fewer. Where experts are routed in groups, every group loses as many. `skipping` also measures the
    paper's dynamic skipping, which changes no weight and no config: a top-2 layer leaves a token's second expert out
    where its gate is under beta times the first one's, with beta the layer's median of that ratio on calibration data.
    That the share of a skipped expert goes to the first one, where gates add up, is from memory; so is what becomes of
    families whose gates do not (the first keeps its own).
    """

    op: ClassVar = "expert_pruning"
    paper: ClassVar = Paper("2402.14800", "Not All Experts are Equal: Expert Pruning and Skipping", 2024)

    keep: int | None = Field(default=None, ge=1, description="experts that stay in every layer; give this or drop")
    drop: int | None = Field(
        default=None, ge=0, description="experts that go from every layer; 0 with skipping measures that alone"
    )
    choose: Choice = Field(default=ByReconstruction(), description="which experts stay")
    skipping: Literal["off", "measure"] = Field(
        default="off",
        description="measure: report, for the pruned model, each layer's beta, the share of expert calls that dynamic "
        "skipping would leave out, and the validation loss with it; the model stays as it is",
    )
    skipping_batches: int = Field(
        default=10, ge=1, le=10_000, description="batches of calibration data from which beta is taken"
    )

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        given = [name for name in ("keep", "drop") if getattr(self, name) is not None]
        if isinstance(self.choose, ByName):
            if given:
                help = f"leave {given[0]} out: the experts that stay are written out"
                yield Problem("GROW380", f"{given[0]} and choose both say how many experts stay", help, (given[0],))
                return
        elif len(given) != 1:
            what = "keep and drop both say" if given else "neither keep nor drop says"
            yield Problem("GROW380", f"{what} how many experts stay", "give one of them", tuple(given[1:]))
            return
        place = (given[0],) if given else ("choose", "kept")
        for site in self.sites(model):
            if problem := next(self._problems_at(site, place), None):
                yield problem
                return

    def _problems_at(self, site: MoeSite, place: tuple[str, ...]) -> Iterator[Problem]:
        if site.siblings:
            yield Problem(
                "GROW382",
                f"{site.block} routes among siblings, and a group that lost some would choose otherwise",
                "write `- op: release_siblings` or `- op: merge_duplicates` before it",
            )
        if isinstance(self.choose, ByName):
            kept = self.choose.kept
            for position, expert in enumerate(kept):
                if expert >= site.num_experts or expert in kept[:position]:
                    why = "is named twice" if expert in kept[:position] else f"is none of the {site.num_experts}"
                    help = f"name experts from 0 to {site.num_experts - 1}, each once"
                    yield Problem("GROW381", f"expert {expert} {why} of {site.block}", help, (*place, position))
                    return
        if isinstance(self.choose, ByScore) and self.choose.over != "all" and not site.units:
            yield Problem(
                "GROW331",
                f"which tensors of {site.block} lead into its intermediate units, and which back, could not be found",
                "score the experts over: all",
                ("choose", "over"),
            )
        left, groups = self._left(site), site.routing_groups
        if not site.top_k <= left <= site.num_experts:
            yield Problem(
                "GROW380",
                f"{site.block} has {site.num_experts} experts and every token gets {site.top_k}, so {left} cannot stay",
                f"let {site.top_k} to {site.num_experts} experts stay",
                place,
            )
            return
        if groups > 1:
            yield from self._group_problems(site, left, place)
        if self.skipping == "measure" and (site.top_k != 2 or site.dense_dispatch):
            yield Problem(
                "GROW383",
                f"skipping leaves out the second of two experts, and every token gets {site.top_k} of {site.block}",
                "leave skipping out for this model",
                ("skipping",),
            )

    def _group_problems(self, site: MoeSite, left: int, place: tuple[str, ...]) -> Iterator[Problem]:
        groups, size = site.routing_groups, site.num_experts // site.routing_groups
        named = isinstance(self.choose, ByName)
        kept = self.allocate(site) if named else ()
        uneven = left % groups or (named and len({sum(kept[i : i + size]) for i in range(0, len(kept), size)}) > 1)
        least = max(2, -(-site.top_k // site.active_groups))
        if uneven:
            yield Problem(
                "GROW307",
                f"the {groups} routing groups of {site.block} would differ in size",
                f"let as many experts stay of every {size} in a row, {groups} or a multiple of it in all",
                place,
            )
        elif left // groups < least:
            yield Problem(
                "GROW380",
                f"{left} experts leave {left // groups} in each of the {groups} routing groups of {site.block}, whose "
                f"router needs {least}",
                f"let {least * groups} or more stay",
                place,
            )

    def _left(self, site: MoeSite) -> int:
        """How many experts of a layer stay."""
        match self.choose, self.keep, self.drop:
            case ByName(kept=kept), _, _:
                return len(kept)
            case _, int(), _:
                return self.keep
            case _:
                assert self.drop is not None
                return site.num_experts - self.drop

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        nothing = all(self._left(site) == site.num_experts for site in self.sites(model))
        return Preserves.EXACTLY if nothing else Preserves.NOT

    @property
    @override
    def measure(self) -> Measure | None:
        return None if isinstance(self.choose, ByName) or self.drop == 0 else self.choose

    @override
    def control(self, name: str) -> Operator | None:
        if name == "random_allocation" and self.measure is not None:
            return self.model_copy(update={"choose": ByScore(by="score", score="random")})
        return None

    @override
    def siblings(self, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas]) -> dict[int, Replicas]:
        return {layer: groups for layer, groups in before.items() if layer not in replicas}

    @override
    def allocate(self, site: MoeSite | FfnSite, scores: tuple[float, ...] | None = None, seed: str = "") -> Replicas:
        assert isinstance(site, MoeSite)
        experts = site.num_experts
        if isinstance(self.choose, ByName):
            return tuple(int(expert in self.choose.kept) for expert in range(experts))
        known = scores or (1.0,) * experts
        return survivors(experts, lowest(known, experts - self._left(site), site.routing_groups))

    @property
    @override
    def skipping_over(self) -> int:
        return self.skipping_batches if self.skipping == "measure" else 0

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        assert model.expert_field is not None
        counts = {layer: {model.expert_field: sum(kept)} for layer, kept in replicas.items()}
        return config_with(model, model.expert_field, counts, groups_of(model.config))

    @override
    def weight(self, tensor: Match) -> Expr:
        if not isinstance(tensor, OfMixture) or self._left(tensor.site) == tensor.site.num_experts:
            return Source(tensor.name)
        if self.measure is None:
            return Take(Source(tensor.name), VECTORS["order"](self.allocate(tensor.site)))
        return Take(Source(tensor.name), Deferred(f"{tensor.site.name}/order", self._left(tensor.site)))

    @override
    def gradient(self, tensor: Match) -> Expr:
        return self.weight(tensor)

    @override
    def moments(self, tensor: Match) -> Moments:
        return Moments(self.weight(tensor), self.weight(tensor), keep_step=True)


EXAMPLES = {
    "explicit": Example({"choose": {"by": "explicit", "kept": [1, 2, 5, 6]}}, Preserves.NOT),
    "measured": Example({"keep": 6}, Preserves.NOT),
    "measured, one layer": Example({"drop": 4, "choose": {"by": "score"}, "layers": [1]}, Preserves.NOT),
}
