"""JUnit XML: a test case per spec and invariant, and a failure per error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import click
from typing_extensions import override

from growc.cli.views import View
from growc.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from growc.plan.plan import InvariantRecord, Plan


class Shown(View):
    """A suite; invariants that are still to be measured count as skipped."""

    @override
    def failed(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.findings((), diagnostics, ())

    @override
    def findings(
        self,
        specs: Sequence[str],
        diagnostics: Sequence[Diagnostic],
        invariants: Sequence[tuple[str, InvariantRecord]],
    ) -> None:
        cases = [*map(_case_of, diagnostics), *(_held(spec, invariant) for spec, invariant in invariants)]
        failed = {d.span.file for d in diagnostics if d.span}
        cases += [ET.Element("testcase", classname=spec, name="spec") for spec in specs if spec not in failed]
        self._print(cases)

    @override
    def plan(self, plan: Plan) -> None:
        self.findings((plan.spec_path,), plan.findings(), [(plan.spec_path, i) for i in plan.invariants])

    def _print(self, cases: list[ET.Element]) -> None:
        failures = sum(case.find("failure") is not None for case in cases)
        skipped = sum(case.find("skipped") is not None for case in cases)
        counts = {"tests": len(cases), "failures": failures, "skipped": skipped}
        suite = ET.Element("testsuite", {"name": "growc"} | {key: str(n) for key, n in counts.items()})
        suite.extend(cases)
        ET.indent(suite)
        click.echo(ET.tostring(suite, encoding="unicode", xml_declaration=True))


def _case_of(diagnostic: Diagnostic) -> ET.Element:
    span = diagnostic.span
    case = ET.Element("testcase", classname=span.file if span else "growc", name=diagnostic.code)
    kind = "failure" if diagnostic.severity is Severity.ERROR else "system-out"
    found = ET.SubElement(case, kind)
    found.text = str(diagnostic)
    return case


def _held(spec: str, invariant: InvariantRecord) -> ET.Element:
    case = ET.Element("testcase", classname=spec, name=f"{invariant.name} at {invariant.stage}")
    if invariant.status == "to_measure":
        ET.SubElement(case, "skipped", message="settled by measuring")
    return case
