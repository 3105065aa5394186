"""Grove MoE: groups of experts get a small adjugate expert each, computed once for every group that a token hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import ADJUGATE_WIDTH, ADJUGATES, with_modules
from growc.anatomy.matches import Adjugate, Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import MoeSite, ResolvedMoe
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import Closes
from growc.operators.on_mixtures import OnMixtures
from growc.programs import Expr, Init, Source


class Grove(OnMixtures, Closes):
    """Every `group_size` neighbouring experts share an adjugate expert A_j beside them; all else stays as it is.

    y = sum_{i in S} w_i E_i(x) + scale * sum_{j hit by S} (sum_{i in S, i in group j} w_i) A_j(x), where S are the
    token's experts and w their gates. An adjugate runs once per token however many of its experts were chosen: tokens
    whose experts are of few groups cost less. Plans count the most: one adjugate for each of a token's experts.

    Down projections of adjugates start at zero, so that nothing changes; until their first step, the projections into
    an adjugate's units have no gradient. Adjugates are gated as the experts are.

    From the published model's code: groups of neighbours, one computation per group, scale 0.05. From what others say
    of the paper: the bound of the scale by groups / experts, and the zero down projections. From memory: the standard
    deviation of 0.02.
    """

    op: ClassVar = "grove"
    paper: ClassVar = Paper("2508.07785", "Grove MoE", 2025)

    group_size: int = Field(default=2, ge=1, description="neighbouring experts that share an adjugate")
    width: int = Field(
        default=128,
        ge=8,
        multiple_of=8,
        description="intermediate units of an adjugate; kernels for experts want eights",
    )
    scale: float = Field(default=0.05, gt=0, description="factor on what adjugates add; at most 1 / group_size")
    std: float = Field(
        default=0.02, gt=0, le=100, description="standard deviation of what leads into an adjugate's units"
    )

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        if self.scale > 1 / self.group_size:
            message = f"adjugates of groups of {self.group_size} are scaled by at most {1 / self.group_size:g}"
            yield Problem("GROW361", message, "the published model has 0.05", ("scale",))
        for site in self.sites(model):
            if site.dense_dispatch:
                message = f"{site.block} sends every token to every expert"
                yield Problem("GROW362", message, "choose a family that routes by top-K")
                return
            if site.num_experts % self.group_size:
                message = f"the {site.num_experts} experts of {site.block} do not divide into {self.group_size}s"
                yield Problem("GROW360", message, "choose a divisor of the number of experts", ("group_size",))
                return

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.EXACTLY

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        added = {site.layer: self._change(site) for site in self.sites(model)}
        return with_modules({**model.config, ADJUGATE_WIDTH: self.width}, added)

    def _change(self, site: MoeSite) -> dict[str, dict[str, Any]]:
        inside = site.block.rpartition(f".{site.layer}.")[2]
        experts = site.experts.removeprefix(f"{site.block}.")
        entry = {"kind": ADJUGATES, "experts": experts, "group_size": self.group_size, "scale": self.scale}
        return {inside: entry}

    @override
    def weight(self, tensor: Match) -> Expr:
        if not isinstance(tensor, Adjugate):
            return Source(tensor.name)
        if self.closed(tensor):
            return Init(tensor.shape, "normal", self.std, tensor.name)
        return Init(tensor.shape, "zeros", 0.0, tensor.name)

    @override
    def gradient(self, tensor: Match) -> Expr:
        """What the down projections will get is not known from the source."""
        return Init(tensor.shape, "zeros", 0.0, tensor.name) if isinstance(tensor, Adjugate) else Source(tensor.name)

    @override
    def moments(self, tensor: Match) -> Moments:
        if isinstance(tensor, Adjugate):
            return Moments(None, None, keep_step=False)
        return Moments(Source(tensor.name), Source(tensor.name), keep_step=True)

    @override
    def closed(self, tensor: Match) -> bool:
        return isinstance(tensor, Adjugate) and not tensor.down


EXAMPLES = {
    "plain": Example({"width": 8}, Preserves.EXACTLY),
    "wide": Example({"width": 16, "group_size": 4, "scale": 0.2, "std": 0.1}, Preserves.EXACTLY),
    "layer": Example({"width": 8, "layers": [1]}, Preserves.EXACTLY),
}
