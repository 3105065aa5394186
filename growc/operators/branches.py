"""What all operators that make experts of the feed-forward networks of several dense branches have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import Field
from typing_extensions import override

from growc.anatomy.matches import Kept, Match, NewExpert
from growc.anatomy.model_graph import ModelGraph
from growc.operators.ancestry import Ancestry
from growc.operators.as_experts import as_experts
from growc.operators.claims import Moments, Preserves, Problem
from growc.operators.dense_to_moe import DenseToMoe
from growc.operators.facets import Mixes
from growc.programs import Concat, Expr, Init, Mean, Source, from_parent, of_parent


class BranchExperts(DenseToMoe, Mixes):
    """Expert i is the feed-forward network of branch i; all else is made of that of all branches by `shared`."""

    experts: int = Field(default=0, ge=0, le=4096, description="one for each state that `from` lists: leave it out")

    @override
    def mixing(self, parents: int) -> Self:
        return self if self.experts else self.model_copy(update={"experts": parents})

    @override
    def problems_together(self, models: Sequence[ModelGraph], pasts: Sequence[Ancestry]) -> Iterator[Problem]:
        if self.experts != len(models):
            message = f"`experts` is {self.experts}, and the states to make them of are {len(models)}"
            yield Problem("GROW391", message, "leave experts out: every state gives one", ("experts",))

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.NOT

    def shared(self, tensor: Kept) -> Expr:
        """A tensor that all experts share: the unweighted mean over the branches, if an operator says nothing else."""
        return mean(tensor)

    @override
    def copies(self, tensor: NewExpert) -> Expr:
        rows = tuple(self.branch(tensor, parent) for parent in self.branches(tensor))
        return Concat(rows, (1,) * len(rows))

    def branches(self, tensor: Match) -> range:
        """The numbers of the states that give an expert each: all of them, if an operator says nothing else."""
        return range(tensor.parents)

    def branch(self, tensor: NewExpert, parent: int) -> Expr:
        """The one row of an expert tensor that holds the network of the branch numbered `parent`."""
        return from_parent(parent, as_experts(tensor))

    @override
    def weight(self, tensor: Match) -> Expr:
        return self.shared(tensor) if isinstance(tensor, Kept) else super().weight(tensor)

    @override
    def gradient(self, tensor: Match) -> Expr:
        match tensor:
            case Kept():
                return self.shared(tensor)
            case NewExpert():
                return self.copies(tensor)
            case _:
                return Init(tensor.shape, "zeros", 0.0, tensor.name)

    @override
    def moments(self, tensor: Match) -> Moments:
        if isinstance(tensor, Kept) and self.optimizer_state != "reset":
            return Moments(mean(tensor), mean(tensor), keep_step=True)
        if isinstance(tensor, NewExpert) and self.optimizer_state == "gradient":
            return Moments(self.copies(tensor), self.copies(tensor), keep_step=True)
        return Moments(None, None, keep_step=False)


def mean(tensor: Match) -> Expr:
    """The unweighted mean of the tensor over all branches."""
    branches = tuple(Source(of_parent(parent, tensor.name)) for parent in range(tensor.parents))
    return Mean(branches, (1 / tensor.parents,) * tensor.parents)
