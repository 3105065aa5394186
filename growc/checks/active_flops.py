"""Growth leaves the work per token as it was: forward FLOPs at `sequence_length`, router included."""

from __future__ import annotations

from growc.checks.findings import Context, Findings, strictest
from growc.diagnostics import Diagnostic
from growc.diagnostics.invariant import Invariant
from growc.growth.graph import GrowNode


def check(context: Context) -> Findings:
    """Compare the model after every grow stage with the one that its arm starts from. Errors: GROW403."""
    diagnostics: dict[tuple[float, float], Diagnostic] = {}
    invariants: list[Invariant] = []
    for node in context.graph.grow_nodes():
        bound = strictest(node, lambda invariants: invariants.active_flops and invariants.active_flops.max_change)
        if bound is None:
            continue
        limit, loaded = bound
        source, grown = node.root.model.cost, node.after.cost
        change = grown.flops_per_token / source.flops_per_token - 1
        by_router = (grown.router_flops_per_token - source.router_flops_per_token) / source.flops_per_token
        held = abs(change) <= limit
        by_others = round(change - by_router, 9) + 0.0  # no minus before a zero
        detail = f"{by_router:+.2%} by the router, {by_others:+.2%} by everything else"
        invariants.append(Invariant("active_flops", node.name, "held" if held else "broken", change, limit, detail))
        if not held and (change, limit) not in diagnostics:  # arms that differ in their seed break it alike
            diagnostics[change, limit] = Diagnostic(
                "GROW403",
                f"{node.name} changes active FLOPs per token by {change:+.2%}, more than {limit:.2%} ({detail})",
                _remedy(node),
                loaded.span("invariants", "active_flops", "max_change"),
            )
    return Findings(tuple(diagnostics.values()), tuple(invariants))


def _remedy(node: GrowNode) -> str:
    before = {site.layer: site.top_k for site in node.before.moe}
    if any(site.top_k > before.get(site.layer, site.top_k) for site in node.after.moe):
        return "`top_k: scale` pays in FLOPs: leave top_k at fixed, or allow it with a larger max_change"
    return "lower the factor, or allow it with a larger max_change"
