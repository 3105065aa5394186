"""What `check` and `plan` do, in rooms below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from growc.spec import load

if TYPE_CHECKING:
    from growc.checks import Findings
    from growc.growth.open import Opened
    from growc.plan.plan import Plan


def opened(path: Path, overrides: Sequence[str], allow_code: bool) -> Opened:
    """Open a spec; a mistake in its text is told before torch is imported."""
    load(path, overrides, allow_code=allow_code)
    from growc.growth.open import open_spec

    return open_spec(path, overrides, allow_code=allow_code)


def checked(path: Path, overrides: Sequence[str], allow_code: bool, measure: bool) -> Findings:
    """The findings on one spec; with `measure`, with what its source's weights say."""
    spec = opened(path, overrides, allow_code)
    from growc.checks import Context, run_checks

    context = Context(spec.loaded, spec.source, spec.graph)
    findings = run_checks(context)
    if not measure:
        return findings
    from growc.run.measure import measure as measured

    return findings.settled_by(measured(context))


def planned(path: Path, overrides: Sequence[str], allow_code: bool) -> Plan:
    """The plan of one spec."""
    spec = opened(path, overrides, allow_code)
    from growc.plan.build import build_plan

    return build_plan(spec)
