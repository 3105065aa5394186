"""Plans and run folders are told apart by versions of what growc computes, which change with that and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import growc
from growc.anatomy.matches import Match
from growc.files.versions import MEANING, SAYS_ONLY
from growc.operators import OPERATORS, operator
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.programs import Expr, Scale
from tests.battery.golden import changed, recorded

AGAIN = "raise its version, or one of MEANING, and run `python -m tests.battery.golden`"


@pytest.mark.parametrize("op", OPERATORS)
def test_what_an_operator_makes_changes_with_a_version_only(op: str) -> None:
    record = recorded()
    assert (record["meaning"], record["operators"][op]["version"]) == (MEANING, operator(op).version), "record it anew"
    assert not changed(op), f"{op} makes something else: {AGAIN}"


def test_another_weight_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = ExpertUpcycling.weight

    def other(self: ExpertUpcycling, tensor: Match) -> Expr:
        return Scale(weight(self, tensor), 1 + 1e-6)

    monkeypatch.setattr(ExpertUpcycling, "weight", other)
    assert changed("expert_upcycling")


def test_every_package_has_a_version_or_computes_nothing() -> None:
    assert growc.__file__ is not None
    packages = {path.parent.name for path in Path(growc.__file__).parent.glob("*/__init__.py")}
    assert packages == MEANING.keys() | set(SAYS_ONLY)
