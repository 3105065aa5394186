"""What all operators that make experts of dense feed-forward networks have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from growc.anatomy.matches import Kept, Match, NewExpert, NewRouter, NewSelectionBias
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import VECTORS, Replicas
from growc.anatomy.sites import FfnSite, Gates, MoeRequest, MoeSite, ResolvedMoe, SiteKind
from growc.operators.as_experts import as_experts
from growc.operators.claims import Moments, Preserves, Problem
from growc.operators.facets import ChangesExperts, MakesMixtures
from growc.operators.operator import Operator
from growc.programs import Divide, Expr, Init, Source, Take, squared


class FreshRouter(BaseModel):
    """A router drawn from scratch."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    distribution: Literal["normal", "uniform"] = Field(
        default="normal", description="distribution of the weights; mean 0"
    )
    std: float = Field(default=0.02, gt=0, le=100, description="standard deviation of the router's weights")

    def rows(self, shape: tuple[int, ...], seed: str) -> Init:
        """Rows of a router's weight."""
        scale = (
            self.std * 3**0.5 if self.distribution == "uniform" else self.std
        )  # a uniform distribution's is its half width
        return Init(shape, self.distribution, scale, seed)


class FromDense(Operator, MakesMixtures, ChangesExperts):
    """Dense feed-forward networks become mixtures of experts; all else is carried over, and routers are made anew.

    The stock class that can hold the result is searched for (`growc.model.moe_class_search`); where there is none, a
    module of growc's does, and the plan says so. Experts start as `expert` says, and a selection bias as 0.
    """

    site = SiteKind.FFN

    experts: int = Field(default=8, ge=2, le=4096, description="experts of every mixture")
    top_k: int = Field(default=2, ge=1, description="experts that a token gets")
    layers: Literal["all", "alternate"] | Annotated[list[int], Field(min_length=1)] = Field(
        default="all",
        description="decoder layers that become mixtures, counted from 0; all: all dense ones; alternate: every second "
        "of these, from the second on",
    )
    gates: Gates = Field(
        default="renormalised",
        description="renormalised: the gates of a token's experts sum to 1; softmax: they are their shares of all "
        "experts' scores, so that the mixture of copies is the dense network times their sum, about top_k / experts",
    )
    optimizer_state: Literal["reset", "reset_new", "gradient"] = Field(
        default="reset",
        description="reset: none is kept, for any tensor (as sparse upcycling did); reset_new: all but that of experts "
        "and routers; gradient: experts start with their share of the dense network's",
    )

    @override
    def wants(self, model: ModelGraph) -> MoeRequest | None:
        layers = tuple(site.layer for site in self.networks(model))
        return MoeRequest(layers, self.experts, self.top_k, self.width(self.networks(model)[0]), self.gates)

    def width(self, site: FfnSite) -> int:
        """The intermediate units of an expert."""
        return site.width

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        dense = {site.layer: site for site in _dense(model)}
        if not dense:
            why = f": {model.near_miss}" if model.near_miss else ""
            message = f"{model.model_type} has no dense feed-forward network that growc can find{why}"
            yield Problem("GROW350", message, "choose a dense source; `expert_upcycling` grows mixtures of experts")
            return
        asked = [] if isinstance(self.layers, str) else self.layers
        for position, layer in enumerate(asked):
            if layer not in dense:
                known = f"dense layers: {', '.join(map(str, dense))}"
                yield Problem(
                    "GROW351", f"layer {layer} has no dense feed-forward network", known, ("layers", position)
                )
                return
            if layer in asked[:position]:
                yield Problem("GROW351", f"layer {layer} is given twice", "give it once", ("layers", position))
                return
        if not self.networks(model):
            yield Problem("GROW351", "every second dense layer is none, of one", "write layers: all", ("layers",))
            return
        if self.top_k > self.experts:
            message = f"every token gets {self.top_k} experts, and there are {self.experts}"
            yield Problem("GROW352", message, "let top_k be at most the number of experts", ("top_k",))
            return
        if len({site.width for site in self.networks(model)}) > 1:
            message = "the dense networks of these layers differ in width"
            yield Problem("GROW353", message, "grow layers of one width at a time", ("layers",))
            return
        yield from self.own_problems(model)

    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:  # noqa: ARG002, for those that have some
        """What else is wrong."""
        yield from ()

    @override
    def sites(self, model: ModelGraph) -> tuple[MoeSite | FfnSite, ...]:
        return self.networks(model)

    def networks(self, model: ModelGraph) -> tuple[FfnSite, ...]:
        """The feed-forward networks that become mixtures."""
        dense = _dense(model)
        match self.layers:
            case "all":
                return dense
            case "alternate":
                return dense[1::2]
            case list():
                return tuple(site for site in dense if site.layer in self.layers)

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        """Of copies, whatever the router: exactly where their gates sum to 1."""
        return Preserves.EXACTLY if self.gates == "renormalised" else Preserves.NEARLY

    @override
    def allocate(self, site: MoeSite | FfnSite, scores: tuple[float, ...] | None = None, seed: str = "") -> Replicas:
        return (self.experts,)

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        assert moe is not None
        return dict(moe.config)

    @override
    def weight(self, tensor: Match) -> Expr:
        match tensor:
            case NewExpert():
                return self.expert(tensor)
            case NewRouter() if tensor.has_rows:
                return self.routed(tensor)
            case NewSelectionBias():
                return Init(tensor.shape, "zeros", 0.0, tensor.name)
            case Kept():
                return Source(tensor.name)
            case _:
                return self.added(tensor)

    def expert(self, tensor: NewExpert) -> Expr:
        """An expert tensor over those of the dense network: copies, if an operator says nothing else."""
        return self.copies(tensor)

    def added(self, tensor: Match) -> Expr:
        """A tensor that is neither the source's nor of the mixture's router and experts."""
        raise NotImplementedError(tensor.name)

    @abstractmethod
    def routed(self, tensor: NewRouter) -> Expr:
        """The router's weight, or a bias of its logits."""

    def copies(self, tensor: NewExpert) -> Expr:
        """The dense network in every slot."""
        return Take(as_experts(tensor), VECTORS["order"]((self.experts,)))

    @override
    def gradient(self, tensor: Match) -> Expr:
        match tensor:
            case Kept():
                return Source(tensor.name)
            case NewExpert():
                # The experts share the tokens evenly, before the router has learnt anything.
                return Divide(self.copies(tensor), VECTORS["replicas"]((self.experts,)))
            case _:
                return Init(tensor.shape, "zeros", 0.0, tensor.name)

    @override
    def moments(self, tensor: Match) -> Moments:
        if isinstance(tensor, Kept) and self.optimizer_state != "reset":
            return Moments(Source(tensor.name), Source(tensor.name), keep_step=True)
        if isinstance(tensor, NewExpert) and self.optimizer_state == "gradient":
            gradient = self.gradient(tensor)
            return Moments(gradient, squared(gradient), keep_step=True)
        return Moments(None, None, keep_step=False)


class DenseToMoe(FromDense):
    """The same with routers drawn from scratch."""

    router: FreshRouter = Field(default=FreshRouter(), description="how the router starts")

    @override
    def routed(self, tensor: NewRouter) -> Expr:
        if len(tensor.shape) == 1:
            return Init(tensor.shape, "zeros", 0.0, tensor.name)
        return self.router.rows(tensor.shape, tensor.name)


def _dense(model: ModelGraph) -> tuple[FfnSite, ...]:
    """The feed-forward networks of layers without experts."""
    mixed = {site.layer for site in model.moe}
    return tuple(site for site in model.ffn if site.layer not in mixed)
