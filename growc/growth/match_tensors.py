"""What every tensor of a grown model is to the operator that makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from growc.anatomy.grown_format import ATTENTION_EXPERTS, SHARED_EXPERT, modules_of
from growc.anatomy.layer_order import Order, comes_again
from growc.anatomy.matches import (
    Added,
    Adjugate,
    AttentionExpert,
    BlockEnd,
    Expert,
    JoinedExpert,
    Kept,
    LayerPart,
    Match,
    NewExpert,
    NewRouter,
    NewSelectionBias,
    NewSharedExpert,
    PerExpert,
    Projection,
    RouterPart,
    RouterRows,
    SelectionBias,
    SharedExpert,
)
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import AttentionSite, FfnSite, MoeSite
from growc.model.layers import in_layer, layer_of

DOWN = "down_proj"
"""What the map back to the residual stream is called in `growc.nn.adjugates`."""


@dataclass(frozen=True)
class Growth:
    """What a growth changes, as far as its tensors can tell.

    `sites` are those of `source` that grow. Where dense networks become or join experts, they are those of `other`
    (mostly the source), and `order` says where their `up` maps stand in an expert's tensor. `parents` is how many
    states are mixed.
    """

    source: ModelGraph
    grown: ModelGraph
    sites: tuple[MoeSite | FfnSite, ...]
    other: ModelGraph
    order: tuple[int, ...]
    parents: int

    @property
    def attention(self) -> dict[int, tuple[AttentionSite, ...]]:
        """The attentions of the source, by layer."""
        found: dict[int, tuple[AttentionSite, ...]] = {}
        for site in self.source.attention:
            found[site.layer] = (*found.get(site.layer, ()), site)
        return found


def match_tensors(growth: Growth) -> Iterator[Match]:
    """One match for every tensor of the grown model, in its order."""
    source, grown = growth.source, growth.grown
    after = {site.layer: site for site in grown.moe}
    mixtures = [site for site in growth.sites if isinstance(site, MoeSite)]
    networks = {site.layer: site for site in growth.sites if isinstance(site, FfnSite)}
    joining = {} if growth.other is source else {site.layer: site for site in growth.other.ffn}
    attention = growth.attention
    projections = {f"{path}.{kind}" for s in source.attention for path in s.projections for kind in ("weight", "bias")}
    for name, tensor in grown.tensors.items():
        common = (name, tensor.shape, source, growth.parents)
        if name in source.tensors:
            found = (_of_mixture(common, site, attention.get(site.layer, ()), joining, growth) for site in mixtures)
            kept = Projection(*common) if name in projections else Kept(*common)
            yield next((match for match in found if match is not None), kept)
        else:
            yield _made(common, growth, after, networks, attention)


Common = tuple[str, tuple[int, ...], ModelGraph, int]


def match_layers(
    source: ModelGraph, grown: ModelGraph, order: Order, closing: Mapping[str, float], parents: int
) -> Iterator[Match]:
    """The same where the layers of `grown` are those of `source` in an `order`; `closing` are the tensors that close
    layers of the source, with the values at which they do, where it matters.
    """
    path = source.blocks.path
    for name, tensor in grown.tensors.items():
        common, layer = (name, tensor.shape, source, parents), layer_of(path, name)
        if layer is None:
            yield Kept(*common)
            continue
        part = (*common, in_layer(path, name, order[layer]), comes_again(order, layer))
        closed_at = closing.get(part[4])
        yield LayerPart(*part) if closed_at is None else BlockEnd(*part, closed_at)


def _of_mixture(
    common: Common,
    site: MoeSite,
    attention: tuple[AttentionSite, ...],
    joining: dict[int, FfnSite],
    growth: Growth,
) -> Match | None:
    """A tensor that the source has, if it belongs to the mixture `site` there."""
    name = common[0]
    if name in site.expert_tensors:
        if site.layer in joining:
            return JoinedExpert(*common, site, joining[site.layer], growth.order)
        return Expert(*common, site)
    if name in site.router_rows:
        return RouterRows(*common, site, attention)
    if name == site.selection_bias:
        return SelectionBias(*common, site)
    if name in site.per_expert:
        return PerExpert(*common, site)
    if name.rpartition(".")[0] == site.router:
        return RouterPart(*common, site)
    blocks = [f"{ffn.block}." for ffn in growth.source.ffn if ffn.layer == site.layer]
    return SharedExpert(*common, site) if name.startswith(tuple(blocks)) else None


def _made(
    common: Common,
    growth: Growth,
    after: dict[int, MoeSite],
    networks: dict[int, FfnSite],
    attention: dict[int, tuple[AttentionSite, ...]],
) -> Match:
    """A tensor that the source does not have."""
    name, grown = common[0], growth.grown
    for site in (after[each.layer] for each in growth.sites if each.layer in after):
        if name in site.expert_tensors and site.layer in networks:
            return NewExpert(*common, site, networks[site.layer], growth.order)
        if name == site.selection_bias:
            return NewSelectionBias(*common, site)
        if name in site.router_rows or name.rpartition(".")[0] == site.router:
            return NewRouter(*common, site, attention.get(site.layer, ()))
        if name in site.adjugates:
            return Adjugate(*common, DOWN in name.split("."))
        if name.startswith(f"{site.block}.{SHARED_EXPERT}."):
            return NewSharedExpert(*common, name.replace(f".{SHARED_EXPERT}.", ".", 1))
    for layer in range(grown.layers):
        for path, change in modules_of(grown.config, layer).items():
            inside = f"{grown.blocks.path}.{layer}.{path}"
            if change["kind"] == ATTENTION_EXPERTS and name.startswith(f"{inside}.experts."):
                number, _, rest = name.removeprefix(f"{inside}.experts.").partition(".")
                return AttentionExpert(*common, int(number), f"{inside}.{rest}")
    return Added(*common)
