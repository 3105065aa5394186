"""What free top-K over copies computes, told before anything runs (the K_eff law, see `growc.nn.duplicates`)."""

from __future__ import annotations

from growc.growth.graph import GrowNode
from growc.operators.allocation import Proportional
from growc.operators.grown_config import GROWN
from growc.operators.operator import Replicas


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
    exclusive_source = "replicas" in str(first.source.config.get(GROWN, ""))
    measured = isinstance(getattr(first.operator, "allocation", None), Proportional)
    if len(node.rewrites) > 1 or exclusive_source or measured:
        return ""
    bounds = {k_eff_bounds(first.operator.allocate(site), site.top_k) for site in first.sites}
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    top = max(site.top_k for site in first.sites)
    if low == top:
        return f"K_eff {top}: no token can meet two copies of one expert"
    met = str(low) if low == high else f"{low} to {high}"
    experts = "expert" if high == 1 else "different experts"
    free = getattr(first.operator, "routing", "free") == "free"
    what = "this free" if free else "a free"
    kept = "" if free else f"; exclusive routing keeps {top}"
    return f"K_eff {met}: {what} top-{top} over copies meets {met} {experts} instead of {top}{kept}"
