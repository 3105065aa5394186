"""Nexus: branches of one dense model become experts beside a shared one, found by the domains of their data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import DOMAIN_ROUTER, inside_layer, modules_of, with_modules
from growc.anatomy.matches import Match, NewRouter, NewSharedExpert
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import FfnSite, Gates, MoeRequest, ResolvedMoe
from growc.operators.ancestry import Ancestry
from growc.operators.branches import BranchExperts
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import Measures
from growc.operators.means import Domains, domain
from growc.operators.measures import Measure
from growc.programs import Deferred, Expr, Made, Source


class Nexus(BranchExperts, Measures):
    """Branches of a dense seed, each trained on data of its own, become routed experts; the seed's networks are shared.

    The first state in `from` is the seed. Its feed-forward network becomes an expert that every token gets; expert i is
    the network of branch i. The router's row of expert i is e_i = P(d_i): d_i embeds the domain of branch i and stays
    fixed, and P, one in each layer, is a SwiGLU network of two layers that is drawn from scratch and trained. A token x
    gets y = S(x) + sum over its top_k experts of softmax(x . e_i) E_i(x). All other parameters are the unweighted mean
    over the seed and the branches. What comes out is to be trained on, and `nexus_extension` adds further branches.

    d_i is the mean, over `batches` of the part of the data that branch i was trained on, of the seed's last hidden
    state: what enters its head. Here growc departs from the paper, whose embeddings come from a sentence encoder.

    From notes on the paper, not its text: the shared expert, P and its kind, the softmax, top-1. Reconstructed: d_i,
    the width of P and how it is drawn (as `router` says), one P for each layer, that gates are the softmax over all
    experts as it is, and that the seed counts in the mean as branches do.
    """

    op: ClassVar = "nexus"
    paper: ClassVar = Paper("2408.15901", "Nexus", 2024)

    experts: int = Field(
        default=0, ge=0, le=4096, description="one for each state that `from` lists after the seed: leave it out"
    )
    top_k: int = Field(default=1, ge=1, description="routed experts that a token gets, beside the shared one")
    gates: Gates = Field(
        default="softmax",
        description="softmax: the gates of a token's experts are their shares of all experts' scores; renormalised: "
        "they sum to 1, so that with top_k 1 they are 1 and the router learns from nothing but its balance",
    )
    projection_width: int = Field(
        default=128, ge=1, le=65_536, description="units of the projection from domains to rows of the router"
    )
    batches: int = Field(
        default=8, ge=1, le=10_000, description="calibration batches of the data of each branch, for its domain"
    )

    @property
    @override
    def measure(self) -> Measure:
        return Domains(self.batches, seed=0)

    @override
    def mixing(self, parents: int) -> Self:
        return self if self.experts else self.model_copy(update={"experts": parents - 1})

    @override
    def problems_together(self, models: Sequence[ModelGraph], pasts: Sequence[Ancestry]) -> Iterator[Problem]:
        if self.experts != len(models) - 1 or self.experts < 2:
            message = f"`experts` is {self.experts}, and the branches beside the seed are {len(models) - 1}"
            help = "leave experts out, and list the seed and at least two branches: every branch gives one"
            yield Problem("GROW391", message, help, ("experts",))
            return
        yield from distinct_domains([past.part for past in pasts[1:]])

    @override
    def wants(self, model: ModelGraph) -> MoeRequest | None:
        """Modules of growc's, with a shared expert in each mixture and another router."""
        request = super().wants(model)
        return replace(request, stock=False) if request else None

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        assert moe is not None
        return with_modules(moe.config, {site.layer: self._change(site, moe) for site in self.networks(model)})

    def _change(self, site: FfnSite, moe: ResolvedMoe) -> dict[str, Mapping[str, Any]]:
        block, gate = (inside_layer(path, site.layer) for path in (site.block, moe.routers[site.layer]))
        mixture = modules_of(moe.config, site.layer)[block]
        return {block: {**mixture, "shared": True}, gate: {"kind": DOMAIN_ROUTER, "width": self.projection_width}}

    @override
    def branches(self, tensor: Match) -> range:
        return range(1, tensor.parents)

    @override
    def routed(self, tensor: NewRouter) -> Expr:
        domains = tuple(Deferred(domain(parent), tensor.shape[1]) for parent in self.branches(tensor))
        return Made("stacked", (), (), tensor.shape, vectors=domains)

    @override
    def added(self, tensor: Match) -> Expr:
        if isinstance(tensor, NewSharedExpert):
            return Source(tensor.origin)
        return self.router.rows(tensor.shape, tensor.name)

    @override
    def gradient(self, tensor: Match) -> Expr:
        return Source(tensor.origin) if isinstance(tensor, NewSharedExpert) else super().gradient(tensor)

    @override
    def moments(self, tensor: Match) -> Moments:
        if isinstance(tensor, NewSharedExpert) and self.optimizer_state != "reset":
            return Moments(Source(tensor.origin), Source(tensor.origin), keep_step=True)
        return super().moments(tensor)


def distinct_domains(parts: Sequence[str | None], taken: Sequence[str | None] = ()) -> Iterator[Problem]:
    """What keeps the domains of branches that were trained on these parts of the data from being told apart.

    `taken` are the parts of branches that are experts already.
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        message = "a branch was not trained in this spec, so that nothing says what its domain is"
        yield Problem("GROW392", message, "train it in a stage, on a part of the data of its own")
    elif twice := next((part for part in known if (*known, *taken).count(part) > 1), None):
        message = f"two branches were trained on the part {twice} of the data: they have one domain, and tie"
        yield Problem("GROW392", message, "train every branch on a part of its own")


EXAMPLES = {
    "plain": Example({}, Preserves.NOT, source="dense", parents=4),
    "top-2": Example(
        {"top_k": 2, "gates": "renormalised", "optimizer_state": "gradient"}, Preserves.NOT, source="dense", parents=4
    ),
    "alternate": Example(
        {"layers": "alternate", "projection_width": 8, "optimizer_state": "reset_new"},
        Preserves.NOT,
        source="dense",
        parents=4,
    ),
}
