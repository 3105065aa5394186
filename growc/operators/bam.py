"""BAM: branches of one dense model become one, their feed-forward networks and their attentions both experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import ATTENTION_EXPERTS, with_modules
from growc.anatomy.matches import AttentionExpert, Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import AttentionSite, Gates, ResolvedMoe
from growc.operators.branches import BranchExperts
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.example import Example
from growc.programs import Expr, Source, of_parent


class Bam(BranchExperts):
    """Branches of one dense model, each trained on its own data, become one: networks and attentions become experts.

    In the layers that are asked for, expert i is the feed-forward network of branch i, and attention expert i its
    attention. A token gets the top_k networks of one router, and all attentions by the gates of another:
    sum_i g_i(x) MHA_i(x), where g is a softmax over a linear map of what enters the attention. All other parameters are
    the unweighted mean over the branches, and both routers are drawn from scratch. The seed itself may be a branch
    (`from: [source, math, code]`), as in the paper.
    With `kv: own`, attention costs as many times more, and so does the cache of keys and values; with `kv: shared`,
    keys and values are computed once, by the mean of the branches' maps.

    From notes on the paper, not its text; reconstructed: the routers' standard deviation, and that the optimizer starts
    afresh; and what becomes of models that are not like the paper's, which computes attention and network side by side,
    from one input: attentions stay where the model has its own (side by side in Cohere's), and norms of queries and
    keys go with the maps before them. With `optimizer_state: gradient` an expert of either kind keeps the moments of
    its branch, and what is shared their mean.
    """

    op: ClassVar = "bam"
    paper: ClassVar = Paper("2408.08274", "BAM", 2024)

    top_k: int = Field(default=1, ge=1, description="feed-forward experts that a token gets")
    gates: Gates = Field(
        default="softmax",
        description="of feed-forward experts; softmax: a token's share of all experts' scores, as in the paper; "
        "renormalised: they sum to 1, so that with top_k 1 their router learns from losses of its own alone",
    )
    kv: Literal["own", "shared"] = Field(
        default="own",
        description="own: every attention expert has maps to keys and values; shared: their mean serves all of them",
    )

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        for network in self.networks(model):
            if len(found := _attention(model, network.layer)) != 1 or not _apart(model, found[0]):
                message = (
                    f"layer {network.layer} has no attention with one map each for queries, keys, values and outputs"
                )
                yield Problem("GROW395", message, "`branch_train_mix` makes experts of feed-forward networks alone")
                return

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        changed = {n.layer: self._change(*_attention(model, n.layer)) for n in self.networks(model)}
        return with_modules(super().config(model, replicas, moe), changed)

    def _change(self, attention: AttentionSite) -> dict[str, dict[str, Any]]:
        module = _module(attention.query[0])
        shared = [path.removeprefix(f"{module}.") for path in attention.key_value] if self.kv == "shared" else []
        inside = module.rpartition(f".{attention.layer}.")[2]
        return {inside: {"kind": ATTENTION_EXPERTS, "experts": self.experts, "shared": shared}}

    @override
    def added(self, tensor: Match) -> Expr:
        branch = _of_branch(tensor)
        return Source(branch) if branch else self.router.rows(tensor.shape, tensor.name)

    @override
    def gradient(self, tensor: Match) -> Expr:
        branch = _of_branch(tensor)
        return Source(branch) if branch else super().gradient(tensor)

    @override
    def moments(self, tensor: Match) -> Moments:
        branch = _of_branch(tensor)
        if branch and self.optimizer_state == "gradient":
            return Moments(Source(branch), Source(branch), keep_step=True)
        return super().moments(tensor)


def _of_branch(tensor: Match) -> str | None:
    """What a tensor of an attention expert is called in programs, where it comes from; None for all others."""
    return of_parent(tensor.expert, tensor.origin) if isinstance(tensor, AttentionExpert) else None


def _attention(model: ModelGraph, layer: int) -> list[AttentionSite]:
    return [site for site in model.attention if site.layer == layer]


def _apart(model: ModelGraph, attention: AttentionSite) -> bool:
    """Whether queries, keys, values and outputs are made by a linear map each, just as wide, all in one module."""
    maps = (attention.query, attention.key, attention.value)
    if attention.output is None or any(len(paths) != 1 for paths in maps) or len(set(attention.projections)) != 4:
        return False
    keys = attention.kv_heads
    widths = (attention.heads * attention.qk_width, keys * attention.qk_width, keys * attention.v_width)
    rows = tuple(model.tensors[f"{path}.weight"].shape[0] for (path,) in maps)
    return rows == widths and len({_module(path) for path in (*attention.projections, *attention.key_value)}) == 1


def _module(path: str) -> str:
    """The module that a module is a part of."""
    return path.rpartition(".")[0]


EXAMPLES = {
    "plain": Example({}, Preserves.NOT, source="dense", parents=3),
    "shared": Example(
        {"kv": "shared", "gates": "renormalised", "top_k": 2, "optimizer_state": "gradient"},
        Preserves.NOT,
        source="dense",
        parents=3,
    ),
}
