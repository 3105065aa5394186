"""Expert Upcycling: a mixture of experts becomes a larger one at (almost) the same active FLOPs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from growc.operators.allocation import Allocation, Explicit, Greedy, Uniform, allocate
from growc.operators.grown_config import grown_config
from growc.operators.operator import Growable, Moments, Operator, Paper, Preserves, Problem, Replicas, Role, Target
from growc.operators.siblings import VECTORS
from growc.operators.sites import MoeSite, SiteKind
from growc.programs import Add, Expr, Init, Late, Scale, Source, Std, Take, Vector, squared

_FORBID = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Router(BaseModel):
    """How the router's rows and selection bias of the copies start."""

    model_config = _FORBID
    init: Literal["copy", "split"] = Field(
        default="copy", description="copy: siblings share their row; split: siblings get r + v and r - v, v random"
    )
    std: float = Field(
        default=0.1, gt=0, description="split only: standard deviation of v in units of the router weight's own"
    )
    bias_noise: float = Field(
        default=0.0, ge=0, description="delta of the noise U(-delta, delta) on the bias of copies, in units of the bias"
    )


class StateScale(BaseModel):
    """Factors for `optimizer_state: scale`; the step count is kept."""

    model_config = _FORBID
    first: float = Field(default=0.5, ge=0, description="factor on Adam's first moment of the grown tensors")
    second: float = Field(default=0.5, ge=0, description="factor on Adam's second moment of the grown tensors")


class ExpertUpcycling(Operator):
    """Grow E experts to factor * E by replication, top-K unchanged (arXiv 2604.19835, Definition 3.1).

    Slot (i, c), c = 1..r_i, gets a copy of expert i and of its router row. With `routing: free` the router's ordinary
    top-K may pick several siblings at once, so the layer computes its source with fewer distinct experts. With
    `routing: exclusive` each group of siblings sends one winner into the top-K, and the grown layer computes exactly
    what its source did.
    """

    op: ClassVar = "expert_upcycling"
    site: ClassVar = SiteKind.MOE
    paper: ClassVar = Paper("2604.19835", "Expert Upcycling", 2026)

    factor: int = Field(default=2, ge=2, le=256, description="how many times more experts the grown layers have")
    routing: Literal["exclusive", "free"] = Field(
        default="exclusive",
        description="exclusive: one winner per group of siblings, exact; free: plain top-K, as published",
    )
    allocation: Allocation = Field(default=Uniform(), description="how many copies each expert gets")
    router: Router = Field(default=Router(), description="how the router's new rows start")
    layers: Literal["all"] | Annotated[list[int], Field(min_length=1)] = Field(
        default="all", description="decoder layers to grow, counted from 0"
    )
    optimizer_state: Literal["gradient", "copy", "reset", "reset_copies", "scale"] = Field(
        default="gradient",
        description="gradient: moments follow the gradient program; copy: as the weights; reset: none are kept, for "
        "any tensor; reset_copies: originals keep theirs; scale: copied times state_scale",
    )
    state_scale: StateScale = Field(default=StateScale(), description="factors for optimizer_state: scale")

    @override
    def problems(self, model: Growable) -> Iterator[Problem]:
        moe = {site.layer: site for site in model.moe}
        if not moe:
            yield Problem(
                "GROW301", f"{model.model_type} has no mixture-of-experts layer to grow", "choose a source with experts"
            )
            return
        if self.layers != "all":
            for position, layer in enumerate(self.layers):
                if layer not in moe:
                    known = ", ".join(map(str, moe))
                    yield Problem(
                        "GROW302",
                        f"layer {layer} has no experts",
                        f"layers with experts: {known}",
                        ("layers", position),
                    )
        if self.factor >= 2 and isinstance(self.allocation, Greedy) and self.allocation.cap < self.factor - 1:
            yield Problem(
                "GROW303",
                f"cap {self.allocation.cap} is too small: factor {self.factor} needs {self.factor - 1} copies per "
                "expert on average",
                f"set cap to {self.factor - 1} or more",
                ("allocation", "cap"),
            )
        exclusive_source = "growc" in model.config and "replicas" in str(model.config["growc"])
        if self.routing == "free" and exclusive_source:
            yield Problem(
                "GROW304",
                "the source routes exclusively and `routing: free` would break its groups of siblings",
                "grow it with routing: exclusive",
                ("routing",),
            )
        for site in self.sites(model):
            yield from self._problems_at(site)

    def _problems_at(self, site: MoeSite) -> Iterator[Problem]:
        if self.router.bias_noise and not site.selection_bias and len(site.router_rows) < 2:
            yield Problem(
                "GROW305",
                f"{site.router} has no bias to put bias_noise on",
                "leave bias_noise out, or break the symmetry with router: {init: split}",
                ("router", "bias_noise"),
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
    def sites(self, model: Growable) -> tuple[MoeSite, ...]:
        return tuple(s for s in model.moe if self.layers == "all" or s.layer in self.layers)

    @override
    def preserves(self, model: Growable) -> Preserves:
        noisy_logits = self.router.bias_noise > 0 and any(s.selection_bias is None for s in self.sites(model))
        exact = self.routing == "exclusive" and self.router.init == "copy" and not noisy_logits
        return Preserves.EXACTLY if exact else Preserves.NEARLY

    @property
    @override
    def measured(self) -> bool:
        return not isinstance(self.allocation, (Uniform, Explicit))

    @override
    def allocate(self, site: MoeSite, scores: tuple[float, ...] | None = None) -> Replicas:
        return allocate(self.allocation, scores or (1.0,) * site.num_experts, self.factor, site.routing_groups)

    @override
    def config(self, model: Growable, replicas: Mapping[int, Replicas]) -> dict[str, Any]:
        assert model.expert_field is not None
        return grown_config(model, model.expert_field, replicas, exclusive=self.routing == "exclusive")

    def _slots(self, site: MoeSite, vector: str) -> Vector:
        if self.measured:
            return Late(f"{site.name}/{vector}", self.factor * site.num_experts)
        return VECTORS[vector](self.allocate(site))

    @override
    def weight(self, target: Target) -> Expr:
        source = Source(target.name)
        if target.site is None:
            return source
        site, copied = target.site, Take(source, self._slots(target.site, "order"))
        slots = self.factor * site.num_experts
        takes_noise = target.role is Role.SELECTION_BIAS or (
            target.role is Role.ROUTER and len(target.shape) == 1 and site.selection_bias is None
        )
        if takes_noise and self.router.bias_noise:
            noise = Init((slots,), "uniform", self.router.bias_noise, target.name)
            return Add(copied, Scale(noise, self._slots(site, "copies")))
        if target.role is Role.ROUTER and len(target.shape) == 2 and self.router.init == "split":
            v = Scale(Init((slots, target.shape[1]), "normal", self.router.std, target.name), Std(source))
            return Add(copied, Scale(Take(v, self._slots(site, "pair")), self._slots(site, "sign")))
        return copied

    @override
    def gradient(self, target: Target) -> Expr:
        source = Source(target.name)
        if target.site is None:
            return source
        return Scale(Take(source, self._slots(target.site, "order")), self._slots(target.site, "share"))

    @override
    def moments(self, target: Target) -> Moments:
        source = Source(target.name)
        if self.optimizer_state == "reset":
            return Moments(None, None, keep_step=False)
        if target.site is None:
            return Moments(source, source, keep_step=True)
        copied = Take(source, self._slots(target.site, "order"))
        match self.optimizer_state:
            case "copy":
                first = second = copied
            case "reset_copies":
                first = second = Scale(copied, self._slots(target.site, "originals"))
            case "scale":
                first, second = Scale(copied, self.state_scale.first), Scale(copied, self.state_scale.second)
            case "gradient":
                first = self.gradient(target)
                second = squared(first)
        return Moments(first, second, keep_step=True)
