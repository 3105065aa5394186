"""`growc grow` refuses what `growc check` refuses, and its card says what is proved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from growc.anatomy.matches import Match
from growc.checks import loss
from growc.diagnostics import GrowcError, Severity
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.programs import Expr, Source, Take
from tests.checkpoint.folders import Place, place
from tests.command_line import growc

WEIGHT = ExpertUpcycling.weight


def _router_left_alone(self: ExpertUpcycling, tensor: Match) -> Expr:
    """What a router in an unknown place came to: it does not grow."""
    return Source(tensor.name) if tensor.name.endswith("gate.weight") else WEIGHT(self, tensor)


def _wrong_rows(self: ExpertUpcycling, tensor: Match) -> Expr:
    """The right sizes, and rows of the wrong experts."""
    program = WEIGHT(self, tensor)
    if tensor.name.endswith("gate.weight") and isinstance(program, Take) and isinstance(program.index, tuple):
        return Take(program.x, program.index[::-1])  # pyright: ignore[reportArgumentType]
    return program


def _codes(there: Place) -> set[str]:
    with pytest.raises(GrowcError) as caught:
        there.grow()
    assert not there.grown.exists()
    return {found.code for found in caught.value.diagnostics}


@pytest.mark.parametrize(("wrong", "code"), [(_router_left_alone, "GROW402"), (_wrong_rows, "GROW405")])
@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3"])
def test_a_wrong_program_is_refused_before_a_byte_is_written(
    family: str, wrong: Any, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = place(tmp_path, family, {})
    monkeypatch.setattr("growc.checks.loss.keep", lambda *given: given[-1]())  # the cache knows the right operator
    monkeypatch.setattr(ExpertUpcycling, "weight", wrong)
    assert code in _codes(there)


def test_a_broken_invariant_of_the_spec_refuses_the_growth(tmp_path: Path) -> None:
    there = place(tmp_path, "mixtral", {})
    text = there.spec.read_text().replace('"stages"', '"invariants": {"total_params": {"max": 1000}}, "stages"')
    there.spec.write_text(text)
    shown = growc("check", there.spec)
    assert shown.exit_code == 1
    assert _codes(there) == set(re.findall("GROW[0-9]{3}", shown.output))


def test_the_card_says_that_the_claim_was_proved(tmp_path: Path) -> None:
    there = place(tmp_path, "mixtral", {})
    assert there.grow() == []
    assert "This claim was proved on a small model" in (there.grown / "README.md").read_text()


def test_a_proof_that_raises_is_a_warning_and_the_card_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = place(tmp_path, "mixtral", {})

    def raises(*_: object) -> None:
        raise RuntimeError("expected scalar type Double but found Float")

    monkeypatch.setattr(loss, "prove", raises)
    monkeypatch.setattr("growc.checks.loss.keep", lambda *given: given[-1]())
    (found,) = there.grow()
    assert (found.code, found.severity) == ("GROW406", Severity.WARNING)
    assert "unproved: RuntimeError: expected scalar type Double but found Float" in found.message
    assert "This claim is not proved" in (there.grown / "README.md").read_text()
    shown = growc("check", "--no-cache", there.spec)
    assert shown.exit_code == 0
    assert "GROW406" in shown.output
