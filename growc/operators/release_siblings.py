"""Release: a model that routes exclusively among siblings becomes one with plain top-K."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import groups_of, half_open, releasing, without_siblings
from growc.anatomy.matches import Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import MoeSite, ResolvedMoe, SiteKind
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import LetsSiblingsCompete
from growc.operators.operator import Operator
from growc.programs import Expr, Source


class ReleaseSiblings(Operator, LetsSiblingsCompete):
    """Let siblings compete freely again: plain top-K in the place of one winner per group, no weight touched.

    At once (`over: 0`), the model changes by what siblings that both win push out: a dry run tells the share of such
    collisions, and the loss, before anything changes. Annealed (`over` > 0), losers get log(u) added to their scores
    while u goes from 0 (exclusive: nothing changes at first) to 1 (free) over that share of the next training stage; a
    release at once after it changes nothing any more and gives a stock model.
    """

    op: ClassVar = "release_siblings"
    site: ClassVar = SiteKind.MOE
    paper: ClassVar = Paper("2604.19835", "Expert Upcycling", 2026)

    over: float = Field(
        default=0.0, ge=0, le=1, description="share of the next training stage that the release takes; 0: at once"
    )

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        if not groups_of(model.config):
            yield Problem(
                "GROW340",
                f"no router of this {model.model_type} keeps siblings apart",
                "release a model that was grown with routing: exclusive",
            )
        elif self.over and releasing(model.config):
            yield Problem(
                "GROW341",
                "the siblings are being released already",
                "leave `over` out to finish the release",
                ("over",),
            )

    @override
    def sites(self, model: ModelGraph) -> tuple[MoeSite, ...]:
        return tuple(site for site in model.moe if site.layer in groups_of(model.config))

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.EXACTLY if self.over else Preserves.NEARLY

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        assert model.expert_field is not None
        if self.over:
            return half_open(model.config, self.over)
        return without_siblings(model.config, model.expert_field)

    @override
    def weight(self, tensor: Match) -> Expr:
        return Source(tensor.name)

    @override
    def gradient(self, tensor: Match) -> Expr:
        return Source(tensor.name)

    @override
    def moments(self, tensor: Match) -> Moments:
        return Moments(Source(tensor.name), Source(tensor.name), keep_step=True)


GROWN = {
    "op": "expert_upcycling",
    "routing": "exclusive",
    "router": {"init": "copy"},
    "allocation": {"rule": "explicit", "replicas": [4, 1, 2, 1, 1, 3, 3, 1]},
}
"""How the sources of the examples grew."""

EXAMPLES = {
    "at once": Example({}, Preserves.NEARLY, grown_by=(GROWN,)),
    "annealed": Example({"over": 0.5}, Preserves.EXACTLY, grown_by=(GROWN,)),
}
