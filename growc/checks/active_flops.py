"""Growth leaves the work per token as it was: forward FLOPs at `sequence_length`, router included."""

from __future__ import annotations

from growc.checks.findings import Context, Findings, Invariant
from growc.diagnostics import Diagnostic


def check(context: Context) -> Findings:
    """Compare the model after every grow stage with the one that the plan starts from. Errors: GROW403."""
    bound = context.loaded.spec.invariants.active_flops
    if bound is None:
        return Findings()
    source = context.graph.source.cost
    diagnostics: list[Diagnostic] = []
    invariants: list[Invariant] = []
    for node in context.graph.grow_nodes():
        grown = node.after.cost
        change = grown.flops_per_token / source.flops_per_token - 1
        by_router = (grown.router_flops_per_token - source.router_flops_per_token) / source.flops_per_token
        held = abs(change) <= bound.max_change
        by_others = round(change - by_router, 9) + 0.0  # no minus before a zero
        detail = f"{by_router:+.2%} by the router, {by_others:+.2%} by all else"
        status = "held" if held else "broken"
        invariants.append(Invariant("active_flops", node.name, status, change, bound.max_change, detail))
        if not held:
            diagnostics.append(
                Diagnostic(
                    "GROW403",
                    f"{node.name} changes active FLOPs per token by {change:+.2%}, more than "
                    f"{bound.max_change:.2%} ({detail})",
                    "lower the factor, or allow it with a larger max_change",
                    context.loaded.span("invariants", "active_flops", "max_change"),
                )
            )
    return Findings(tuple(diagnostics), tuple(invariants))
