"""What free top-K over copies computes, told before anything runs (the K_eff law, see `growc.nn.duplicates`)."""

from __future__ import annotations

from growc.anatomy.grown_format import routes_exclusively
from growc.anatomy.replicas import Replicas
from growc.growth.graph import GrowNode
from growc.operators.facets import free_top_k_of, replicas_of


def k_eff_bounds(replicas: Replicas, top_k: int) -> tuple[int, int]:
    """The fewest and the most different experts that a token can meet when replicas tie and top-K is plain."""

    def taken(order: list[int]) -> int:
        slots, experts = 0, 0
        for size in order:
            if slots >= top_k:
                break
            slots, experts = slots + size, experts + 1
        return experts

    return taken(sorted(replicas, reverse=True)), taken(sorted(replicas))


def k_eff(node: GrowNode) -> str:
    """One sentence on what plain duplication does to the top-K of a grow stage; empty where there is none to say.

    The order of the experts does not matter for the bounds, so greedy allocations have them before they are measured.
    """
    first = node.rewrites[0]
    law = free_top_k_of(first.operator)
    if len(node.rewrites) > 1 or routes_exclusively(first.source.config) or law is None or not law.sizes_known:
        return ""
    bounds = {k_eff_bounds(replicas_of(first.operator, site), site.top_k) for site in first.mixtures}
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    top = max(site.top_k for site in first.mixtures)
    if low == top:
        return f"K_eff {top}: no token can meet two copies of one expert"
    met = str(low) if low == high else f"{low} to {high}"
    experts = "1 distinct expert" if high == 1 else f"{met} distinct experts"
    if routes_exclusively(first.grown.config):
        but = f"; exclusive routing keeps {top}"
    else:
        but = f"; {law.apart} sets the copies apart" if law.apart else ""
    will = "would reach" if but else "will reach"
    return f"K_eff {met}: plain top-{top} over copies {will} {experts} per token instead of {top}{but}"
