"""Extension of a Nexus model: one more expert of one more branch, which the router finds by its domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import (
    DOMAIN_ROUTER,
    EXPERTS,
    GROWN,
    RENORMALISED,
    SHARED_EXPERT,
    TOP_K,
    WIDTH,
    grown_config,
    inside_layer,
    modules_of,
    routes_exclusively,
)
from growc.anatomy.matches import JoinedExpert, Match, RouterPart, RouterRows, SharedExpert
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import FfnSite, MoeSite, ResolvedMoe, SiteKind
from growc.operators.ancestry import Ancestry
from growc.operators.as_experts import as_experts
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import ChangesExperts, Drops, MakesMixtures, Measures, Mixes
from growc.operators.means import Domains, domain
from growc.operators.measures import Measure
from growc.operators.nexus import Nexus, distinct_domains
from growc.operators.operator import Operator
from growc.programs import Concat, Deferred, Expr, Init, Made, Mean, Source, from_parent, of_parent

MIXTURE, BRANCH, SEED = range(3)
"""The places of the states in `from`."""


class NexusExtension(Operator, Mixes, MakesMixtures, ChangesExperts, Measures, Drops):
    """A Nexus model of n experts gets expert n + 1: the network of one more branch, trained on data of its own.

    `from` lists three states: the Nexus model, the branch, and the dense seed by which domains are embedded; of the
    seed nothing else is taken. The router's new row is e_new = P(d_new) with the P that is there, and d_new is measured
    as `nexus` measures domains. P, the domains, the experts and the shared expert stay as they are; of all other
    parameters the branch's count 1 / (n + 1) and the model's n / (n + 1). The rows of the other experts stay what they
    were, but their gates are shares of one score more, and tokens whose score the new one exceeds go to it.

    From notes on the paper, not its text: that the router is not touched. From memory: the weight 1 / (n + 1), and that
    some training follows. Reconstructed: that n counts the routed experts, d_new, and that the optimizer starts afresh.
    """

    op: ClassVar = "nexus_extension"
    site: ClassVar = SiteKind.MOE
    paper: ClassVar = Paper("2408.15901", "Nexus", 2024)

    batches: int = Field(
        default=8, ge=1, le=10_000, description="calibration batches of the data of the branch, for its domain"
    )

    @property
    @override
    def measure(self) -> Measure:
        return Domains(self.batches, SEED)

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        kinds = {
            modules_of(model.config, site.layer).get(inside_layer(site.router, site.layer), {}).get("kind")
            for site in model.moe
        }
        if kinds != {DOMAIN_ROUTER}:
            message = f"{model.model_type} has no routers that find experts by their domains"
            yield Problem("GROW393", message, "list the state of a model that `nexus` made first")
        elif routes_exclusively(model.config):
            yield Problem("GROW393", "the model routes among siblings", "release or merge them first")

    @override
    def problems_together(self, models: Sequence[ModelGraph], pasts: Sequence[Ancestry]) -> Iterator[Problem]:
        if len(models) != len((MIXTURE, BRANCH, SEED)):
            message = f"there are {len(models)} states to extend a model with"
            yield Problem("GROW391", message, "list the Nexus model, the branch, and the seed of all branches")
            return
        before = pasts[MIXTURE].grown
        taken = [past.part for op, mixed in before for past in _branches(op, mixed)]
        yield from distinct_domains([pasts[BRANCH].part], taken)
        for seed in (mixed[0].state for op, mixed in before if op == Nexus.op):
            if seed != pasts[SEED].state:
                message = f"the domains of the model's experts were embedded by {seed}, and not by {pasts[SEED].state}"
                yield Problem("GROW394", message, f"list {seed} third")

    @override
    def others(self, model: ModelGraph) -> Mapping[str, Any]:
        sizes = (GROWN, EXPERTS, TOP_K, WIDTH, RENORMALISED)
        dense = {key: value for key, value in model.config.items() if key not in sizes}
        return dense | {"model_type": model.config[GROWN]["model_type"]}

    @override
    def sites(self, model: ModelGraph) -> tuple[MoeSite | FfnSite, ...]:
        return model.moe

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.NOT

    @override
    def drops(self, model: ModelGraph) -> frozenset[str]:
        """The seed gives no weights; it has the model's tensors but for routers and experts, and those it shares."""
        mixed = tuple(f"{path}." for site in model.moe for path in (site.router, site.experts))
        kept = (name.replace(f".{SHARED_EXPERT}.", ".") for name in model.tensors if not name.startswith(mixed))
        return frozenset(of_parent(SEED, name) for name in kept)

    @override
    def siblings(self, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas]) -> dict[int, Replicas]:
        """Branches of one seed, as `nexus` has them."""
        return {**before, **{layer: (len(made) + 1,) for layer, made in replicas.items()}}

    @override
    def map_order(self, model: ModelGraph, moe: ResolvedMoe | None) -> tuple[int, ...]:
        first = model.moe[0]
        maps = next(ffn.up for ffn in model.ffn if ffn.block == f"{first.block}.{SHARED_EXPERT}")
        names = [path.rpartition(".")[2] for path in maps]
        up: Sequence[str] = modules_of(model.config, first.layer)[inside_layer(first.block, first.layer)]["up"]
        return tuple(names.index(name) for name in up)

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        grown = {site.layer: (*self.allocate(site), 1) for site in model.moe}
        return grown_config(model, EXPERTS, grown, exclusive=False)

    @override
    def weight(self, tensor: Match) -> Expr:
        whole = Source(tensor.name)
        match tensor:
            case JoinedExpert(site=site):
                return Concat((whole, from_parent(BRANCH, as_experts(tensor))), (site.num_experts, 1))
            case RouterRows(site=site):
                key = Deferred(domain(BRANCH), tensor.shape[1])
                row = Made("stacked", (), (), (1, key.length), vectors=(key,))
                return Concat((whole, row), (site.num_experts, 1))
            case RouterPart() | SharedExpert():
                return whole
            case _:
                share = 1 / (tensor.source.moe[0].num_experts + 1)
                return Mean((whole, Source(of_parent(BRANCH, tensor.name))), (1 - share, share))

    @override
    def gradient(self, tensor: Match) -> Expr:
        return Init(tensor.shape, "zeros", 0.0, tensor.name) if isinstance(tensor, RouterRows) else self.weight(tensor)

    @override
    def moments(self, tensor: Match) -> Moments:
        return Moments(None, None, keep_step=False)


def _branches(op: str, mixed: Sequence[Ancestry]) -> Sequence[Ancestry]:
    """The branches that became experts when an operator grew these states."""
    match op:
        case Nexus.op:
            return mixed[1:]
        case NexusExtension.op:
            return mixed[BRANCH:SEED]
        case _:
            return ()


NEXUS = {"op": "nexus", "parents": 4, "projection_width": 8, "router": {"std": 0.3}}
"""How the mixtures of the examples were made."""

EXAMPLES = {
    "plain": Example({}, Preserves.NOT, source="dense", grown_by=(NEXUS,), parents=3),
    "beside a dense layer": Example(
        {}, Preserves.NOT, source="dense", grown_by=({**NEXUS, "layers": "alternate"},), parents=3
    ),
}
