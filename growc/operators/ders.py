"""DeRS upcycling: experts are the dense network, shared and trained, plus deltas of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from growc.anatomy.grown_format import DELTAS, EXPERTS, RENORMALISED, TOP_K, shares_weights, with_modules
from growc.anatomy.matches import Match, NewExpert
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import FfnSite, MoeRequest, ResolvedMoe
from growc.operators.claims import Paper, Preserves, Problem
from growc.operators.dense_to_moe import DenseToMoe
from growc.operators.example import Example
from growc.operators.facets import Closes
from growc.operators.sharing import sharing
from growc.programs import Expr, Init


class Sparse(BaseModel):
    """Deltas with a fixed random set of free entries, which start at 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    form: Literal["sparse"] = "sparse"
    every: int = Field(
        default=10,
        ge=1,
        le=256,
        description="entries of a matrix for each free one of an expert: 10 frees 10 % of them",
    )

    def added(self, tensor: Match) -> Expr:
        """The places of the free entries."""
        return Init(tensor.shape, "below", float(self.every), tensor.name)

    def expert(self, tensor: Match) -> Expr:
        """The values at these places."""
        return Init(tensor.shape, "zeros", 0.0, tensor.name)

    def closed(self, tensor: Match) -> bool:  # noqa: ARG002, nothing stands behind a zero
        """Whether the tensor has no gradient at first."""
        return False

    def parameters(self) -> dict[str, int]:
        """What `growc.nn.deltas` is told."""
        return {"every": self.every}


class LowRank(BaseModel):
    """Deltas that are a product of two narrow matrices, of which the outer one starts at 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    form: Literal["low_rank"] = "low_rank"
    rank: int = Field(default=4, ge=1, description="rank of an expert's deltas")
    std: float = Field(default=0.02, gt=0, le=100, description="standard deviation of the inner matrices")

    def added(self, tensor: Match) -> Expr:
        """There is nothing but the two matrices."""
        raise AssertionError(tensor.name)

    def expert(self, tensor: Match) -> Expr:
        """One of the two matrices."""
        if self.closed(tensor):
            return Init(tensor.shape, "normal", self.std, tensor.name)
        return Init(tensor.shape, "zeros", 0.0, tensor.name)

    def closed(self, tensor: Match) -> bool:
        """Whether the tensor has no gradient at first: the inner matrices, behind outer ones of 0."""
        return tensor.name.endswith("_inner")

    def parameters(self) -> dict[str, int]:
        """What `growc.nn.deltas` is told."""
        return {"rank": self.rank}


class Ders(DenseToMoe, Closes):
    """Every chosen feed-forward network becomes the base W of experts W_i = W + F(D_i), with a router drawn anew.

    The base is trained on, shared by all experts; D_i are theirs alone: the values of a sparse matrix at fixed random
    places, or the factors of one of low rank. F(D_i) is 0 at first, so the function stays what it was where the gates
    sum to 1. Of N experts with matrices of d x h, a matrix trains d h (1 + N / every) or d h + N rank (d + h) numbers,
    instead of N d h. Matrices of all experts are composed in every forward pass, in memory as large as they.

    From the paper: both forms, the shared base, what starts at 0. Of the free places, one lies in each row of `every`
    entries (those left over at the end are not free), where the paper draws from the whole matrix; stored as one byte.
    From memory: standard deviations. Not part of growc: the compression of trained experts, which loses bits. `growc
    pack` stores the copies that any operator made as deltas against each other, without loss.
    """

    op: ClassVar = "ders"
    paper: ClassVar = Paper("2503.01359", "DeRS", 2025)

    deltas: Annotated[Sparse | LowRank, Field(discriminator="form")] = Field(
        default=Sparse(), description="what experts differ in: {form: sparse, every: 10} or {form: low_rank, rank: 4}"
    )

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        if shares_weights(model.config):
            yield sharing(model)
        if self.optimizer_state == "gradient":
            help = "use optimizer_state: reset_new, which keeps that of all other tensors"
            yield Problem("GROW364", "deltas are no share of the dense network", help, ("optimizer_state",))

    @override
    def wants(self, model: ModelGraph) -> MoeRequest | None:
        """No stock class has experts with a base: modules of growc's in the places where mixtures would stand."""
        request = super().wants(model)
        return replace(request, stock=False) if request else None

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        sizes = {EXPERTS: self.experts, TOP_K: self.top_k, RENORMALISED: self.gates == "renormalised"}
        order = self.map_order(model, moe)
        changed = {site.layer: self._change(site, order) for site in self.networks(model)}
        return with_modules({**model.config, **sizes}, changed)

    def _change(self, site: FfnSite, order: tuple[int, ...]) -> dict[str, dict[str, Any]]:
        inside = site.block.rpartition(f".{site.layer}.")[2]
        up = [site.up[place].removeprefix(f"{site.block}.") for place in order]
        names = {"up": up, "down": site.down.removeprefix(f"{site.block}.")}
        return {inside: {"kind": DELTAS, **names, **self.deltas.parameters()}}

    @override
    def expert(self, tensor: Match) -> Expr:
        return self.deltas.expert(tensor)

    @override
    def added(self, tensor: Match) -> Expr:
        return self.deltas.added(tensor)

    @override
    def gradient(self, tensor: Match) -> Expr:
        """What deltas will get is not known from the dense network's gradient alone; the base gets what it got."""
        if isinstance(tensor, NewExpert):
            return Init(tensor.shape, "zeros", 0.0, tensor.name)
        return super().gradient(tensor)

    @override
    def closed(self, tensor: Match) -> bool:
        return isinstance(tensor, NewExpert) and self.deltas.closed(tensor)


EXAMPLES = {
    "plain": Example({"experts": 4, "optimizer_state": "reset_new"}, Preserves.EXACTLY, source="dense"),
    "low_rank": Example({"experts": 4, "deltas": {"form": "low_rank", "rank": 2}}, Preserves.EXACTLY, source="dense"),
    "alternate": Example(
        {"experts": 4, "layers": "alternate", "deltas": {"form": "sparse", "every": 100}},
        Preserves.EXACTLY,
        source="dense",
    ),
    "softmax": Example({"experts": 4, "gates": "softmax"}, Preserves.NEARLY, source="dense"),
}
