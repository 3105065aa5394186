"""Model soup: one model of the mean weights of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.matches import Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import ResolvedMoe, SiteKind
from growc.operators.ancestry import Ancestry
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import Mixes
from growc.operators.operator import Operator
from growc.programs import Expr, Mean, Source, of_parent


class ModelSoup(Operator, Mixes):
    """Average several models of one architecture, tensor by tensor: a mean of weights, not of predictions.

    The models must come from one state, as branches of it that were trained on their own data do: weights of models
    that were trained apart do not average. The uniform soup of the paper counts all alike; with `weights` they count
    as given (the paper from memory). Equal models give their bits back. Moments, if kept, are averaged alike, and their
    step is the lowest.
    """

    op: ClassVar = "model_soup"
    site: ClassVar = SiteKind.BLOCK
    paper: ClassVar = Paper("2203.05482", "Model soups", 2022)

    weights: Literal["uniform"] | Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2)] = Field(
        default="uniform", description="how much each state of `from` counts, in order; they are made to sum to 1"
    )
    optimizer_state: Literal["reset", "mean"] = Field(
        default="reset", description="reset: none is kept; mean: moments are averaged like the weights"
    )

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        yield from ()

    @override
    def problems_together(self, models: Sequence[ModelGraph], pasts: Sequence[Ancestry]) -> Iterator[Problem]:
        if self.weights == "uniform":
            return
        if len(self.weights) != len(models):
            message = f"`weights` has {len(self.weights)}, and the states to average are {len(models)}"
            yield Problem("GROW391", message, "give one for each state in `from`, or uniform", ("weights",))
        elif not sum(self.weights):
            yield Problem("GROW391", "no state counts", "let one of the weights be above 0", ("weights",))

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.NOT

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        return dict(model.config)

    @override
    def weight(self, tensor: Match) -> Expr:
        given = [1.0] * tensor.parents if self.weights == "uniform" else self.weights
        sources = tuple(Source(of_parent(parent, tensor.name)) for parent in range(tensor.parents))
        return Mean(sources, tuple(weight / sum(given) for weight in given))

    @override
    def gradient(self, tensor: Match) -> Expr:
        return self.weight(tensor)

    @override
    def moments(self, tensor: Match) -> Moments:
        if self.optimizer_state == "reset":
            return Moments(None, None, keep_step=False)
        mean = self.weight(tensor)
        return Moments(mean, mean, keep_step=True)


EXAMPLES = {
    "of dense models": Example({}, Preserves.NOT, source="dense", parents=3),
    "of mixture models": Example({}, Preserves.NOT, source="mixture", parents=3),
    "weighted": Example({"weights": [1, 2, 0.5], "optimizer_state": "mean"}, Preserves.NOT, source="dense", parents=3),
}
