"""What all operators that make experts of the feed-forward networks of several dense branches have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

from pydantic import Field
from typing_extensions import override

from growc.anatomy.model_graph import ModelGraph
from growc.operators.ancestry import Ancestry
from growc.operators.as_experts import as_experts
from growc.operators.claims import Moments, Preserves, Problem
from growc.operators.dense_to_moe import DenseToMoe
from growc.operators.target import Role, Target
from growc.programs import Concat, Expr, Init, Mean, Source, from_parent, of_parent


class BranchExperts(DenseToMoe):
    """Expert i is the feed-forward network of branch i; all else is made of that of all branches by `shared`."""

    mixes: ClassVar = True

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

    def shared(self, target: Target) -> Expr:
        """A tensor that all experts share: the unweighted mean over the branches, if an operator says nothing else."""
        return mean(target)

    @override
    def copies(self, target: Target) -> Expr:
        rows = tuple(self.branch(target, parent) for parent in self.branches(target))
        return Concat(rows, (1,) * len(rows))

    def branches(self, target: Target) -> range:
        """The numbers of the states that give an expert each: all of them, if an operator says nothing else."""
        return range(target.parents)

    def branch(self, target: Target, parent: int) -> Expr:
        """The one row of an expert tensor that holds the network of the branch numbered `parent`."""
        assert target.dense is not None
        assert target.site is not None
        whole = as_experts(target.name, target.shape, target.site, target.dense, target.order)
        return from_parent(parent, whole)

    @override
    def weight(self, target: Target) -> Expr:
        return self.shared(target) if target.role is Role.OTHER else super().weight(target)

    @override
    def gradient(self, target: Target) -> Expr:
        match target.role:
            case Role.OTHER:
                return self.shared(target)
            case Role.EXPERT:
                return self.copies(target)
            case _:
                return Init(target.shape, "zeros", 0.0, target.name)

    @override
    def moments(self, target: Target) -> Moments:
        if target.role is Role.OTHER and self.optimizer_state != "reset":
            return Moments(mean(target), mean(target), keep_step=True)
        if target.role is Role.EXPERT and self.optimizer_state == "gradient":
            return Moments(self.copies(target), self.copies(target), keep_step=True)
        return Moments(None, None, keep_step=False)


def mean(target: Target) -> Expr:
    """The unweighted mean of the tensor over all branches."""
    branches = tuple(Source(of_parent(parent, target.name)) for parent in range(target.parents))
    return Mean(branches, (1 / target.parents,) * target.parents)
