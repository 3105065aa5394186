"""What operators on mixtures of experts have in common: which layers they change, and what keeps them from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import shares_weights
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import MoeSite, SiteKind
from growc.operators.claims import Problem
from growc.operators.operator import Operator
from growc.operators.sharing import sharing


class OnMixtures(Operator):
    """An operator on the mixtures of all layers that have one, or of those that `layers` lists."""

    site: ClassVar = SiteKind.MOE

    layers: Literal["all"] | Annotated[list[int], Field(min_length=1)] = Field(
        default="all", description="decoder layers whose mixtures change, counted from 0; all: those with experts"
    )

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        if refused := _refusals(model, self.layers):
            yield from refused
        else:
            yield from self.own_problems(model)

    @abstractmethod
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        """Why the operator cannot grow `model`, whose `layers` have experts that stand for themselves."""

    @override
    def sites(self, model: ModelGraph) -> tuple[MoeSite, ...]:
        return tuple(site for site in model.moe if self.layers == "all" or site.layer in self.layers)


def _refusals(model: ModelGraph, layers: Literal["all"] | Sequence[int]) -> list[Problem]:
    """Why `layers` of `model`, decoder layers counted from 0, are not all layers whose experts stand for themselves."""
    moe = [site.layer for site in model.moe]
    if not moe:
        message = f"{model.model_type} has no mixture-of-experts layer"
        return [Problem("GROW301", message, "choose a source with experts")]
    if shares_weights(model.config):
        return [sharing(model)]
    found = list[Problem]()
    grows = [site for site in model.moe if layers == "all" or site.layer in layers]
    if strange := next((site for site in grows if site.unknown), None):
        message = f"{strange.unknown[0]} grows with the number of experts in a way that growc does not know"
        help = "its entries would not belong to the experts any more: this layer cannot be grown"
        found.append(Problem("GROW343", message, help))
    for position, layer in enumerate(() if layers == "all" else layers):
        where = ("layers", position)
        if layer not in moe:
            known = f"layers with experts: {', '.join(map(str, moe))}"
            found.append(Problem("GROW302", f"layer {layer} has no experts", known, where))
        elif layers != "all" and layer in layers[:position]:
            found.append(Problem("GROW302", f"layer {layer} is given twice", "give it once", where))
    return found
