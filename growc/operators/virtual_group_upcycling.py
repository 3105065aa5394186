"""Virtual-group upcycling: a dense network is split into fine experts that are chosen in whole groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.matches import Match, NewExpert, NewRouter
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import FfnSite
from growc.operators.as_experts import as_experts
from growc.operators.claims import Paper, Preserves, Problem
from growc.operators.dense_to_moe import DenseToMoe
from growc.operators.example import Example
from growc.programs import Divide, Expr, Take


class VirtualGroupUpcycling(DenseToMoe):
    """The units of a dense network are split into `granularity` shards G, and each shard is copied experts / G times.

    Expert j holds shard j mod G. The rows of the router are drawn for groups of G experts in a row and repeated, so
    that top-K, with K a multiple of G, picks whole groups, each of which is the dense network times its gate. That gate
    is 1/G of the group's part, or with `gates: softmax` near K/(E G) of it, so weights are scaled by c = G or E G / K
    (E the number of experts). Where the scale goes: `exact` puts sqrt(c) on up and down of gated experts, which are
    linear in both, and c on down else; `paper` spreads it as the published code does, c^(1/3) on each matrix, which is
    exact for squared ReLU alone; `none` leaves it out. Biases of the way back get the gates' sum back, and no more.

    From the paper and its published code, which leaves that bias unscaled and asks for K = 1 or a multiple of G.
    """

    op: ClassVar = "virtual_group_upcycling"
    paper: ClassVar = Paper("2410.07524", "Upcycling Large Language Models into Mixture of Experts", 2024)

    experts: int = Field(default=64, ge=2, le=4096, description="experts of every mixture, all shards and copies")
    top_k: int = Field(default=8, ge=1, description="experts that a token gets, a multiple of granularity")
    granularity: int = Field(default=8, ge=1, description="into how many shards G the units are split")
    scaling: Literal["exact", "paper", "none"] = Field(default="exact", description="what makes up for small gates")

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        for field in ("experts", "top_k"):
            if getattr(self, field) % self.granularity:
                message = f"{field} {getattr(self, field)} is no multiple of the granularity {self.granularity}"
                yield Problem("GROW355", message, "top-K must pick whole groups of shards", (field,))
                return
        width = self.networks(model)[0].width
        if width % self.granularity:
            message = f"{width} intermediate units do not split into {self.granularity} shards"
            yield Problem("GROW355", message, "choose a divisor of the width", ("granularity",))

    @override
    def width(self, site: FfnSite) -> int:
        return site.width // self.granularity

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        gated = all(len(site.up) == 2 for site in self.networks(model))
        exact = self.scaling == "exact" or (self.scaling == "paper" and self.granularity == 1 and not gated)
        return Preserves.EXACTLY if exact and self.gates == "renormalised" else Preserves.NEARLY

    @override
    def siblings(self, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas]) -> dict[int, Replicas]:
        """None: neighbours are different shards."""
        return {layer: groups for layer, groups in before.items() if layer not in replicas}

    @property
    def factor(self) -> float:
        """c, by which the experts' outputs are too small."""
        return self.granularity * self._sum

    @property
    def _sum(self) -> float:
        """1 / the sum of a token's gates, near even routing."""
        return 1.0 if self.gates == "renormalised" else self.experts / self.top_k

    def _scales(self, tensor: NewExpert) -> tuple[float, ...]:
        """The factors on the maps in one expert tensor, gate before up."""
        units = tensor.units
        gated, down = len(tensor.ffn.up) == 2, units is None or units.down
        if self.scaling == "none":
            return ()
        if units is None:
            return (self._sum,)
        if self.scaling == "paper":
            return (self.factor ** (1 / 3),) * (1 if down else len(tensor.ffn.up))
        if gated:
            return (self.factor**0.5,) if down else (1.0, self.factor**0.5)
        return (self.factor,) if down else (1.0,)

    def _shards(self, tensor: NewExpert, scales: tuple[float, ...]) -> Expr:
        G = self.granularity
        return Take(as_experts(tensor, G, scales), tuple(j % G for j in range(self.experts)))

    @override
    def expert(self, tensor: NewExpert) -> Expr:
        return self._shards(tensor, self._scales(tensor))

    @override
    def routed(self, tensor: NewRouter) -> Expr:
        if len(tensor.shape) == 1:
            return super().routed(tensor)
        groups = self.router.rows((self.experts // self.granularity, *tensor.shape[1:]), tensor.name)
        return Take(groups, tuple(j // self.granularity for j in range(self.experts)))

    @override
    def gradient(self, tensor: Match) -> Expr:
        if not isinstance(tensor, NewExpert):
            return super().gradient(tensor)
        # Copies of a shard share its tokens; where a weight is s times as large, its gradient is 1/s of what it was.
        inverse = tuple(1 / scale for scale in self._scales(tensor))
        share = self.experts // self.granularity if tensor.units else self.experts
        return Divide(self._shards(tensor, inverse), (float(share),) * self.experts)


EXAMPLES = {
    "exact": Example(
        {"experts": 8, "granularity": 4, "top_k": 4, "optimizer_state": "gradient"}, Preserves.EXACTLY, source="dense"
    ),
    "two-groups": Example({"experts": 8, "granularity": 2, "top_k": 4}, Preserves.EXACTLY, source="dense"),
    "softmax": Example(
        {"experts": 8, "granularity": 2, "top_k": 2, "gates": "softmax"}, Preserves.NEARLY, source="dense"
    ),
    "paper": Example(
        {"experts": 8, "granularity": 2, "top_k": 2, "scaling": "paper", "gates": "softmax"},
        Preserves.NEARLY,
        source="dense",
    ),
}
