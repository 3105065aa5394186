"""The table of checks."""

from __future__ import annotations

from growc.checks import active_flops, coverage, loss, remarks, shapes, total_params
from growc.checks.findings import Context, Findings

STRUCTURE = (coverage.check, shapes.check)
INVARIANTS = (remarks.check, active_flops.check, total_params.check, loss.check)


def run_checks(context: Context) -> Findings:
    """Everything that can be said without weights or an accelerator, in seconds.

    Programs that do not fit their models are reported alone: there is no twin to grow by them.
    """
    structure = sum((check(context) for check in STRUCTURE), Findings())
    if structure.diagnostics:
        return structure
    return sum((check(context) for check in INVARIANTS), structure)
