"""Expert Upcycling: a mixture of experts becomes a larger one at (almost) the same active FLOPs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import grown_config, releasing, routes_exclusively
from growc.anatomy.matches import Expert, Match, OfMixture, SelectionBias
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import VECTORS, Replicas
from growc.anatomy.sites import FfnSite, MoeSite, ResolvedMoe
from growc.operators import experts, routers
from growc.operators.allocation import Allocation, Explicit, Greedy, Measured, Sampling, Uniform, allocate
from growc.operators.claims import FreeTopK, Moments, Paper, Preserves, Problem
from growc.operators.copies_rate import CopiesRate
from growc.operators.example import Example
from growc.operators.experts import Experts
from growc.operators.facets import Copies, HasControls, HasInitialisations, Measures, TakesLong
from growc.operators.initialisation import Slots
from growc.operators.on_mixtures import OnMixtures
from growc.operators.operator import Operator
from growc.operators.routers import Router
from growc.operators.state import STATES, OptimizerState, StateScale, moments
from growc.programs import Deferred, Divide, Expr, Scale, Source, Vector


class ExpertUpcycling(OnMixtures, Copies, Measures, HasControls, HasInitialisations, TakesLong):
    """Grow E experts to factor * E by replication, top-K unchanged (arXiv 2604.19835, Definition 3.1).

    Slot (i, c), c = 1..r_i, gets a copy of expert i and of its router row. With `routing: free` the router's ordinary
    top-K may pick several siblings at once, so the layer computes its source with fewer distinct experts. With
    `routing: exclusive` each group of siblings sends one winner into the top-K, and a layer of copies, router rows
    too, computes exactly what its source did. With `top_k: scale` the top-K grows with the experts, and all siblings
    are chosen together.
    """

    op: ClassVar = "expert_upcycling"
    paper: ClassVar = Paper("2604.19835", "Expert Upcycling", 2026)
    initialisations: ClassVar = {
        "experts": ("experts", experts.EXPERT_INITS),
        "router": ("routers", routers.ROUTER_INITS),
    }

    factor: int = Field(default=2, ge=2, le=256, description="how many times more experts the grown layers have")
    routing: Literal["exclusive", "free"] = Field(
        default="free",
        description="free: plain top-K, as published; exclusive: one winner per group of siblings, exact where experts "
        "and router are copies",
    )
    top_k: Literal["fixed", "scale"] = Field(
        default="fixed",
        description="scale: every token gets factor times as many experts, all siblings of what it got before; exact "
        "with routing: free and uniform allocation, and paid for in FLOPs (arXiv 2510.08008)",
    )
    allocation: Allocation = Field(default=Uniform(), description="how many copies each expert gets")
    experts: Experts = Field(default=experts.Copy(), description="how the copies' expert weights start")
    router: Router = Field(default=routers.Split(), description="how the router's new rows and biases start")
    optimizer_state: OptimizerState = Field(default="gradient", description=STATES)
    state_scale: StateScale = Field(default=StateScale(), description="factors for optimizer_state: scale")
    copies_lr: CopiesRate | None = Field(
        default=None, description="a learning rate of their own for the copies after the growth, for some steps"
    )

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        if isinstance(self.allocation, (Greedy, Sampling)) and self.allocation.cap < self.factor - 1:
            yield Problem(
                "GROW303",
                f"cap {self.allocation.cap} is too small: factor {self.factor} needs {self.factor - 1} copies per "
                "expert on average",
                f"set cap to {self.factor - 1} or more",
                ("allocation", "cap"),
            )
        if releasing(model.config):
            yield Problem(
                "GROW342",
                "the siblings of the source are being released, and growth would stop that half way",
                "finish with `- op: release_siblings` first",
            )
        if self.routing == "free" and routes_exclusively(model.config):
            yield Problem(
                "GROW304",
                "the source routes exclusively and `routing: free` would break its groups of siblings",
                "grow it with routing: exclusive",
                ("routing",),
            )
        apart = [site for site in self.sites(model) if not site.rule_adds_bias]
        if self.routing == "exclusive" and apart:
            yield Problem(
                "GROW344",
                f"{apart[0].selection_bias} is added to the scores outside of {apart[0].rule}, so that a losing "
                "sibling could still be chosen",
                "set routing: free",
                ("routing",),
            )
        if self.optimizer_state == "interpolate" and str(self.experts.init) != "interpolate":
            yield Problem(
                "GROW320",
                "optimizer_state: interpolate combines the moments of two experts, and a copy comes from one",
                "set experts: {init: interpolate}, or choose another optimizer_state",
                ("optimizer_state",),
            )
        if self.top_k == "scale":
            yield from self._scaling_problems(model)
        for site in self.sites(model):
            yield from self._problems_at(site)

    def _scaling_problems(self, model: ModelGraph) -> Iterator[Problem]:
        if self.routing == "exclusive":
            yield Problem(
                "GROW321",
                "exclusive routing chooses one of every group of siblings, and `top_k: scale` all of them",
                "set routing: free",
                ("top_k",),
            )
        if not isinstance(self.allocation, Uniform):
            yield Problem(
                "GROW321",
                f"`top_k: scale` chooses {self.factor} experts for one, so every expert needs as many copies",
                "set allocation: {rule: uniform}",
                ("top_k",),
            )
        for site in self.sites(model):
            rule = site.repetition
            scaled = {unit.tensor for unit in site.units} == set(site.expert_tensors)
            if model.top_k_field is None or rule is None or not (rule.gates_add_up or scaled):
                why = (
                    f"the number of experts that {site.router} chooses is set by no key of the config alone"
                    if model.top_k_field is None
                    else f"the gates of {site.router} could not be followed"
                    if rule is None
                    else f"gates of {site.router} do not add up, and {site.experts} cannot be scaled in their place"
                )
                yield Problem("GROW322", why, "leave top_k at fixed for this model", ("top_k",))
                return

    def _problems_at(self, site: MoeSite) -> Iterator[Problem]:
        yield from self.experts.problems(site)
        yield from self.router.problems(site)
        if isinstance(self.allocation, Measured) and self.allocation.over != "all" and not site.units:
            yield Problem(
                "GROW331",
                f"which tensors of {site.block} lead into its intermediate units, and which back, could not be found",
                "score the experts over: all",
                ("allocation", "over"),
            )
        if isinstance(self.allocation, Explicit):
            replicas, size = self.allocation.replicas, site.num_experts // site.routing_groups
            if len(replicas) != site.num_experts or sum(replicas) != self.factor * site.num_experts:
                yield Problem(
                    "GROW306",
                    f"{len(replicas)} replicas that sum to {sum(replicas)}, but {site.block} has {site.num_experts} "
                    f"experts and factor {self.factor} makes {self.factor * site.num_experts}",
                    "give one number per source expert, with the sum factor * experts",
                    ("allocation", "replicas"),
                )
            elif any(sum(replicas[i : i + size]) != self.factor * size for i in range(0, len(replicas), size)):
                yield Problem(
                    "GROW307",
                    f"the {site.routing_groups} routing groups of {site.block} would differ in size",
                    f"let the replicas of every {size} experts in a row sum to {self.factor * size}",
                    ("allocation", "replicas"),
                )

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        claim = self.experts.claim.worst(self.router.claim)
        if self.top_k == "scale":
            exact = not self.router.moves_bias and all(
                site.repetition is not None and site.repetition.same_choice for site in self.sites(model)
            )
            return claim if exact else claim.worst(Preserves.NEARLY)
        noisy_logits = self.router.moves_bias and any(s.selection_bias is None for s in self.sites(model))
        return claim.worst(Preserves.NEARLY) if self.routing == "free" or noisy_logits else claim

    @property
    @override
    def measure(self) -> Measured | None:
        return None if isinstance(self.allocation, (Uniform, Explicit)) else self.allocation

    @property
    @override
    def free_top_k(self) -> FreeTopK | None:
        if self.top_k == "scale":
            return None
        same = isinstance(self.experts, experts.Copy | experts.Shuffle)
        tied = isinstance(self.router, routers.Copy)
        return FreeTopK(
            alone=self.routing == "free" and same and tied and not self.router.bias_noise,
            apart="" if tied else f"router {self.router.init}",
            sizes_known=isinstance(self.measure, Greedy | None),
        )

    @property
    @override
    def rate_of_copies(self) -> CopiesRate | None:
        return self.copies_lr

    @override
    def control(self, name: str) -> Operator | None:
        # The moments that `interpolate` combines are those of experts that were combined.
        state = "reset_copies" if self.optimizer_state == "interpolate" else self.optimizer_state
        match name, self.measure:
            case "random_allocation", rule if rule is not None:
                return self.model_copy(update={"allocation": rule.model_copy(update={"score": "random"})})
            case "random_experts", _:
                return self.model_copy(update={"experts": experts.Random(init="random"), "optimizer_state": state})
            case "scaled_top_k", _:
                copies = {"allocation": Uniform(), "experts": experts.Copy(), "router": routers.Copy()}
                scaled = {"top_k": "scale", "routing": "free", "optimizer_state": state}
                return self.model_copy(update=copies | scaled)
            case _:
                return None

    @override
    def allocate(self, site: MoeSite | FfnSite, scores: tuple[float, ...] | None = None, seed: str = "") -> Replicas:
        assert isinstance(site, MoeSite)
        known = scores or (1.0,) * site.num_experts
        return allocate(self.allocation, known, self.factor, site.routing_groups, f"{seed}/{site.name}")

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        assert model.expert_field is not None
        sizes: dict[int, dict[str, int]] = {}
        if self.top_k == "scale":
            assert model.top_k_field is not None
            sizes = {site.layer: {model.top_k_field: self.factor * site.top_k} for site in self.sites(model)}
        return grown_config(model, model.expert_field, replicas, exclusive=self.routing == "exclusive", sizes=sizes)

    def _slots(self, tensor: OfMixture) -> Slots:
        site = tensor.site
        slots = self.factor * site.num_experts

        def vector(name: str) -> Vector:
            return (
                Deferred(f"{site.name}/{name}", slots)
                if self.measure is not None
                else VECTORS[name](self.allocate(site))
            )

        return Slots(tensor, slots, vector)

    @override
    def weight(self, tensor: Match) -> Expr:
        if not isinstance(tensor, OfMixture):
            return Source(tensor.name)
        slots = self._slots(tensor)
        start = self.experts.weight(slots) if isinstance(tensor, Expert) else self.router.program(slots)
        return Divide(start, slots.vector("replicas")) if self._divided(tensor) else start

    def _divided(self, tensor: OfMixture) -> bool:
        """Whether a tensor is divided by the number of siblings, all of which are chosen (see `Repetition`).

        Where the gates of siblings are each as large as their source's, what they weigh must be smaller; where scores
        shrink, so must the bias beside them.
        """
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

    @override
    def gradient(self, tensor: Match) -> Expr:
        if not isinstance(tensor, OfMixture):
            return Source(tensor.name)
        slots = self._slots(tensor)
        if not isinstance(tensor, Expert):
            return Divide(slots.copied, slots.vector("replicas"))
        gradient = self.experts.gradient(slots)
        if not self._divided(tensor):
            return gradient
        # A tensor that is divided gets the tokens of its source at their full weight; those before it get the share.
        match gradient:
            case Divide(x, by) if by == slots.vector("replicas"):
                return x
            case _:
                return Scale(gradient, float(self.factor))

    @override
    def seconds(self, tensor: Match) -> float:
        if not isinstance(tensor, OfMixture):
            return 0.0
        init = self.experts if isinstance(tensor, Expert) else self.router
        return init.seconds(self._slots(tensor))

    @override
    def moments(self, tensor: Match) -> Moments:
        if not isinstance(tensor, OfMixture):
            if self.optimizer_state == "reset":
                return Moments(None, None, keep_step=False)
            return Moments(Source(tensor.name), Source(tensor.name), keep_step=True)
        slots = self._slots(tensor)
        init = str((self.experts if isinstance(tensor, Expert) else self.router).init)
        weight = self.weight(tensor) if init == "interpolate" and len(tensor.shape) > 1 else slots.copied
        carried = self.experts.carried(slots) if isinstance(tensor, Expert) else slots.copied
        return moments(self.optimizer_state, slots, carried, weight, self.gradient(tensor), self.state_scale)


EXAMPLES = {
    "exact": Example({"routing": "exclusive", "router": {"init": "copy"}}, Preserves.EXACTLY),
    "exact, one layer": Example({"routing": "exclusive", "router": {"init": "copy"}, "layers": [1]}, Preserves.EXACTLY),
    "exact, grown before": Example(
        {"routing": "exclusive", "router": {"init": "copy"}},
        Preserves.EXACTLY,
        grown_by=({"op": "expert_upcycling", "routing": "exclusive", "layers": [1]},),
    ),
    "plain copies": Example({"router": {"init": "copy"}}, Preserves.NEARLY),
    "paper": Example({"allocation": {"rule": "greedy", "cap": 3}, "router": {"init": "split"}}, Preserves.NEARLY),
    "scaled top-k": Example({"top_k": "scale", "router": {"init": "copy"}}, Preserves.EXACTLY),
}
