"""No model of the plan has more parameters than the spec allows."""

from __future__ import annotations

from growc.checks.findings import Context, Findings, Invariant
from growc.diagnostics import Diagnostic


def check(context: Context) -> Findings:
    """Compare the model after every grow stage (or the source) with the limit. Errors: GROW404."""
    bound = context.loaded.spec.invariants.total_params
    if bound is None:
        return Findings()
    diagnostics: list[Diagnostic] = []
    invariants: list[Invariant] = []
    for node in list(context.graph.grow_nodes()) or context.graph.nodes[:1]:
        total = node.after.cost.total_params
        held = total <= bound.max
        detail = f"{total / bound.max:.1%} of the limit"
        status = "held" if held else "broken"
        invariants.append(Invariant("total_params", node.name, status, float(total), float(bound.max), detail))
        if not held:
            diagnostics.append(
                Diagnostic(
                    "GROW404",
                    f"the model has {total:,} parameters after {node.name}, more than {bound.max:,}",
                    "lower the factor, grow fewer layers, or raise the limit",
                    context.loaded.span("invariants", "total_params", "max"),
                )
            )
    return Findings(tuple(diagnostics), tuple(invariants))
