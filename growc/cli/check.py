"""What `check` and `plan` do, in rooms below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from growc.cli import answers
from growc.cli.options import UNLIKE
from growc.spec import load

if TYPE_CHECKING:
    from growc.plan.plan import Plan


def checked(
    path: Path, overrides: Sequence[str], allow_code: bool, measure: bool, allow_unlike: bool
) -> answers.Answer:
    """The diagnostics and invariants of one spec; with `measure`, with what its source's weights say.

    Where nothing has changed since an earlier call, torch is not imported.
    """
    loaded = load(path, overrides, allow_code=allow_code)
    options = (*overrides, *([UNLIKE] if allow_unlike else []))
    key = None if measure or allow_code else answers.key_of(path, options, loaded)
    if (known := answers.recall(key)) is not None:
        return known
    from growc.checks import Context, run_checks
    from growc.checks.findings import Findings
    from growc.growth.open import open_spec

    spec = open_spec(path, overrides, allow_code=allow_code)
    context = Context(spec.loaded, spec.source, spec.graph)
    findings = Findings(spec.of_sources(allow_unlike=allow_unlike)) + run_checks(context)
    if measure:
        from growc.run.measure import measure as measured

        findings = findings.settled_by(measured(context))
    elif key is not None and answers.key_of(path, options, spec.loaded) == key:  # nothing changed meanwhile
        answers.remember(key, (findings.diagnostics, findings.invariants))
    return findings.diagnostics, findings.invariants


def planned(path: Path, overrides: Sequence[str], allow_code: bool, allow_unlike: bool) -> Plan:
    """The plan of one spec."""
    load(path, overrides, allow_code=allow_code)  # a mistake in its text is told before torch is imported
    from growc.growth.open import open_spec
    from growc.plan.build import build_plan

    return build_plan(open_spec(path, overrides, allow_code=allow_code), allow_unlike=allow_unlike)
