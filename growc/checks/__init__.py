"""What must be true of a plan before anything runs: one file per check, and the float64 twin."""

from growc.checks.findings import Context, Findings
from growc.checks.run import run_checks

__all__ = ["Context", "Findings", "run_checks"]
