"""No model of the plan has more parameters than the spec allows."""

from __future__ import annotations

from growc.checks.findings import Context, Findings, strictest
from growc.diagnostics import Diagnostic
from growc.diagnostics.invariant import Invariant


def check(context: Context) -> Findings:
    """Compare the model after every grow stage (or the source) with the limit. Errors: GROW404."""
    diagnostics: dict[tuple[int, float], Diagnostic] = {}
    invariants: list[Invariant] = []
    graph = context.graph
    for node in list(graph.grow_nodes()) or [node for node in graph.nodes if node.start.node is None]:
        bound = strictest(node, lambda invariants: invariants.total_params and invariants.total_params.max)
        if bound is None:
            continue
        limit, loaded = bound
        total = node.after.cost.total_params
        held = total <= limit
        detail = f"{total / limit:.1%} of the limit"
        status = "held" if held else "broken"
        invariants.append(Invariant("total_params", node.name, status, float(total), float(limit), detail))
        if not held and (total, limit) not in diagnostics:  # arms that differ in their seed break it alike
            diagnostics[total, limit] = Diagnostic(
                "GROW404",
                f"the model has {total:,} parameters after {node.name}, more than {limit:,}",
                "lower the factor, grow fewer layers, or raise the limit",
                loaded.span("invariants", "total_params", "max"),
            )
    return Findings(tuple(diagnostics.values()), tuple(invariants))
