"""Every check: what holds, and what it says of what does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.checks import Context, Findings, loss, run_checks
from growc.diagnostics import Diagnostic, GrowcError, Severity, Span
from growc.diagnostics.invariant import ROUNDING, Invariant, bound
from growc.growth.graph import GrowNode
from growc.growth.rewrite import Rewrite
from growc.operators.claims import Preserves
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.programs import Expr, Source, Take
from tests.operators_cases import EXACT
from tests.small import context, spec

ROUTER = "model.layers.0.mlp.gate.weight"


def test_a_sound_spec_has_no_findings_and_an_invariant_of_each_kind(tmp_path: Path) -> None:
    findings = run_checks(context(spec(tmp_path)))
    assert findings.diagnostics == ()
    found = {i.name: i for i in findings.invariants}
    assert {name: i.status for name, i in found.items()} == {
        "active_flops": "held", "total_params": "held", "preservation": "held", "loss": "to_measure",
    }  # fmt: skip
    assert {i.stage for i in findings.invariants} == {"upcycle"}
    assert found["loss"].value is None
    assert found["loss"].limit == 1e-5
    assert found["preservation"].value == 1e-12, "a bound: rounding differs from machine to machine"


@given(st.floats(-1e-9, 1e-9))
def test_no_digit_of_rounding_is_told(value: float) -> None:
    for name, bounds in ROUNDING.items():
        told = bound(name, value)
        assert told in bounds
        assert abs(value) <= told
    exact, nearly = (loss.Proof(claim, abs(value), value, value) for claim in (Preserves.EXACTLY, Preserves.NEARLY))
    unlawful = loss.Proof(Preserves.NOT, 1.0, value, None)
    for proof in (exact, nearly, unlawful):
        assert str(proof).count("less than 1e-12") + str(proof).count("less than 1e-09") == 1
        assert re.findall("e-[0-9]+", str(proof)) in (["e-12"], ["e-09"])


@given(st.floats(min_value=2e-9, allow_infinity=False), st.booleans())
def test_what_is_more_than_rounding_is_told_in_digits(size: float, falls: bool) -> None:
    value = -size if falls else size
    assert bound("preservation", value) is None
    assert bound("preservation", 0.0, 1e-13) is None, "no bound lies within the limit"
    assert f"{value:+.1e}" in str(loss.Proof(Preserves.NOT, 1.0, value, None))


def test_what_a_spec_does_not_bound_is_not_listed(tmp_path: Path) -> None:
    findings = run_checks(context(spec(tmp_path, invariants={})))
    assert [i.name for i in findings.invariants] == ["preservation"]


def test_active_flops_count_the_router_and_against_the_source_of_the_chain(tmp_path: Path) -> None:
    twice = [{"name": f"s{i}", "grow": [{"op": "expert_upcycling", **EXACT}]} for i in range(2)]
    data = {"sequence_length": 16, "train": {"kind": "python_source"}}
    limits = {"active_flops": {"max_change": 0.03}}
    checked = context(spec(tmp_path, stages=twice, data=data, invariants=limits))
    findings = run_checks(checked)
    first, second = (i for i in findings.invariants if i.name == "active_flops")
    router = 2 * 2 * 8 * 32  # FLOPs of the routers of two layers with eight experts and 32 features
    before = checked.graph.source.cost.flops_per_token
    assert first.value == pytest.approx(router / before)
    assert second.value == pytest.approx(3 * router / before)
    assert (first.status, second.status) == ("held", "broken")
    assert "by the router, +0.00% by everything else" in second.detail
    (finding,) = findings.diagnostics
    assert finding.code == "GROW403"
    assert "s1 changes active FLOPs" in finding.message
    assert finding.span == checked.loaded.span("invariants", "active_flops", "max_change")


def test_too_many_parameters_are_told_at_the_limit(tmp_path: Path) -> None:
    checked = context(spec(tmp_path), "invariants.total_params.max=60000")
    findings = run_checks(checked)
    (finding,) = findings.diagnostics
    assert finding.code == "GROW404"
    total = checked.graph.target.cost.total_params
    assert f"{total:,} parameters after upcycle" in finding.message
    (invariant,) = (i for i in findings.invariants if i.name == "total_params")
    assert (invariant.status, invariant.value, invariant.limit) == ("broken", float(total), 60000.0)


def _without(name: str) -> Callable[[dict[str, Expr]], None]:
    return lambda programs: programs.__delitem__(name) if name in programs else None


def _with(**more: Expr) -> Callable[[dict[str, Expr]], None]:
    return lambda programs: programs.update({key.replace("__", "."): program for key, program in more.items()})


BROKEN: dict[str, tuple[Callable[[dict[str, Expr]], None], str, str]] = {
    "no program": (_without(ROUTER), "GROW401", f"says nothing about {ROUTER}"),
    "a program for nothing": (_with(phantom=Source(ROUTER)), "GROW401", "a program for phantom"),
    "no such source": (_with(model__norm__weight=Source("gone")), "GROW401", "makes model.norm.weight from gone"),
    "a source unread": (
        _with(lm_head__weight=Source("model.embed_tokens.weight")), "GROW401", "drops lm_head.weight",
    ),
    "another shape": (
        _with(model__norm__weight=Source("lm_head.weight")), "GROW402", "with shape [256, 32], the model has [32]",
    ),
    "a row that is not there": (
        _with(model__norm__weight=Take(Source("model.norm.weight"), (99,))), "GROW402", "lies outside the 32 rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_programs_that_do_not_fit_are_told_before_anything_else(fault: str, tmp_path: Path) -> None:
    edit, code, words = BROKEN[fault]
    checked = context(spec(tmp_path))
    (node,) = checked.graph.grow_nodes()
    programs = dict(node.rewrites[0].programs)
    edit(programs)
    findings = run_checks(_with_rewrites(checked, node, replace(node.rewrites[0], programs=programs)))
    found = next(d for d in findings.diagnostics if words in d.message)
    assert found.code == code
    assert found.span == checked.loaded.span("stages", 0, "grow", 0)
    assert findings.invariants == ()


def _with_rewrites(checked: Context, node: GrowNode, *rewrites: Rewrite) -> Context:
    return replace(checked, graph=replace(checked.graph, nodes=(replace(node, rewrites=rewrites),)))


def test_a_false_claim_is_refuted_on_the_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = context(spec(tmp_path), "stages[0].grow[0].routing=free")
    claim: Any = lambda *_: Preserves.EXACTLY  # noqa: E731
    monkeypatch.setattr(ExpertUpcycling, "preserves", claim)
    findings = run_checks(checked)
    (finding,) = findings.diagnostics
    assert finding.code == "GROW405"
    assert "claims to preserve the model exactly" in finding.message
    assert finding.span == checked.loaded.span("stages", 0, "grow")
    (invariant,) = (i for i in findings.invariants if i.name == "preservation")
    assert invariant.status == "broken"


def test_a_loss_off_the_keff_law_is_refuted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = context(spec(tmp_path), "stages[0].grow[0].routing=free", "stages[0].grow[0].router.init=split")
    monkeypatch.setattr(loss, "obeys_law", lambda _: True)
    (finding,) = run_checks(checked).diagnostics
    assert finding.code == "GROW405"
    assert "from what the K_eff law predicts" in finding.message


def test_noise_has_no_law_to_be_held_to(tmp_path: Path) -> None:
    free = ("stages[0].grow[0].routing=free", "stages[0].grow[0].router.init=split")
    findings = run_checks(context(spec(tmp_path), *free))
    assert findings.diagnostics == ()
    assert "preservation" not in {i.name for i in findings.invariants}


def test_a_model_without_a_twin_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise GrowcError([Diagnostic("GROW202", "no such width")])

    monkeypatch.setattr(loss, "twin_of", refuse)
    findings = run_checks(context(spec(tmp_path)))
    (finding,) = findings.diagnostics
    assert (finding.code, finding.severity) == ("GROW406", Severity.WARNING)
    assert "no such width" in finding.message


def test_several_operators_in_one_stage_are_proved_together(tmp_path: Path) -> None:
    chain = {
        "name": "upcycle",
        "grow": [
            {"op": "expert_upcycling", **EXACT, "layers": [1]},
            {"op": "expert_upcycling", **EXACT, "layers": [0, 1], "allocation": {"rule": "greedy"}},
        ],
    }
    findings = run_checks(context(spec(tmp_path, stages=[chain], invariants={})))
    assert findings.diagnostics == ()
    assert [i.status for i in findings.invariants] == ["held"]


def test_measured_invariants_take_the_place_of_those_to_measure() -> None:
    note = Diagnostic("GROW403", "measured", span=Span("a", 1, 1))
    planned = Findings((), (Invariant("loss", "a", "to_measure", None, 1.0), Invariant("loss", "b", "held", 0, 1)))
    measured = Findings((note,), (Invariant("loss", "a", "broken", 2.0, 1.0),))
    settled = planned.settled_by(measured)
    assert [i.status for i in settled.invariants] == ["broken", "held"]
    assert settled.diagnostics == (note,)


def test_stages_without_growth_are_bounded_too(tmp_path: Path) -> None:
    train = {"name": "pretrain", "train": {"steps": 1}}
    data = {"train": {"kind": "python_source"}}
    balance = {"balance": {"method": "none"}}
    path = spec(tmp_path, stages=[train], data=data, training=balance)
    findings = run_checks(context(path, "invariants.total_params.max=10"))
    assert [(i.name, i.stage, i.status) for i in findings.invariants] == [("total_params", "pretrain", "broken")]
