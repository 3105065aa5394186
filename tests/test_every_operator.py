"""The battery: every operator, with every kind of setting, on every family that it takes.

One item for each case, with a subtest for each property that speaks of it. The float64 twins are the families' own
tiny models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest

from growc.checks.loss import prove
from growc.checks.twin import LENGTH, grow_twin
from growc.model import inspect
from growc.operators import OPERATORS, operator
from growc.operators.claims import Preserves
from tests.battery import depth, properties, width
from tests.battery.case import SEED, Case
from tests.battery.cases import AXES, CASES, OTHER_CASES, REFUSED, REFUSED_CASES, STARTS, possible, product_of_axes
from tests.battery.properties import PROPERTIES
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import BIASED_ROUTERS, EXACT


def _items(cases: Iterable[Case], *marks: pytest.MarkDecorator) -> list[object]:
    return [pytest.param(case, id=str(case), marks=[*marks]) for case in cases]


def _hold(case: Case, folder: Path, subtests: pytest.Subtests) -> None:
    case = replace(case)  # its models are freed with it
    for statement in PROPERTIES:
        if statement.applies(case):
            with subtests.test(statement.name):
                statement.check(case, folder)


@pytest.mark.share(16)
@pytest.mark.parametrize("case", _items(CASES))
def test_every_property_holds(case: Case, tmp_path: Path, subtests: pytest.Subtests) -> None:
    _hold(case, tmp_path, subtests)


@pytest.mark.full
@pytest.mark.parametrize("case", _items((*OTHER_CASES, *product_of_axes())))
def test_every_property_holds_in_the_full_product(case: Case, tmp_path: Path, subtests: pytest.Subtests) -> None:
    _hold(case, tmp_path, subtests)


@pytest.mark.parametrize("case", _items(REFUSED_CASES))
def test_what_an_operator_does_not_take_is_refused(case: Case) -> None:
    assert {problem.code for problem in case.problems()} == {REFUSED[case.op, case.name, case.family]}


def test_every_operator_and_every_property_has_cases() -> None:
    for what in (lambda case: (case.op, case.family), lambda case: (case.op, case.name)):
        assert {what(case) for case in (*CASES, *OTHER_CASES)} == {what(case) for case in CASES}
    assert {case.op for case in CASES} == OPERATORS.keys()
    for statement in PROPERTIES:
        assert any(statement.applies(case) for case in CASES), statement.name
    assert {statement.check.__module__ for statement in PROPERTIES} == {m.__name__ for m in (depth, properties, width)}
    assert min(sum(s.applies(case) for s in PROPERTIES) for case in CASES) >= 7


def _missing(cases: Iterable[Case]) -> set[frozenset[tuple[str, str]]]:
    """The pairs of values of two axes that no drawn case has."""
    seen = {frozenset(pair) for case in cases for pair in combinations(case.axes.items(), 2)}
    axes = ([(name, value) for value in values] for name, values in AXES.items())
    pairs = (pair for one, other in combinations(axes, 2) for pair in product(one, other))
    return {frozenset(pair) for pair in pairs if possible(dict(pair))} - seen


def test_every_pair_of_settings_of_upcycling_has_a_case() -> None:
    assert not _missing(CASES)


def test_a_pair_without_a_case_is_seen() -> None:
    drawn = [case for case in CASES if case.axes]
    for start in STARTS:
        left = [case for case in drawn if case.axes["start"] != start]
        assert frozenset({("start", start), ("factor", "2")}) in _missing(left)
    assert all(_missing([other for other in drawn if other is not case]) for case in drawn), "each is needed"


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_noise_is_refused_where_there_is_no_bias(family: str) -> None:
    noisy = operator("expert_upcycling").model_validate({"router": {"init": "copy", "bias_noise": 1e-3}})
    codes = {problem.code for problem in noisy.problems(inspect(FAMILIES[family], LENGTH))}
    assert codes == (set() if family in BIASED_ROUTERS else {"GROW305"})


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_growing_twice_is_exact_too(family: str) -> None:
    grows = operator("expert_upcycling")
    exclusive = [grows.model_validate(EXACT | {"layers": [1]}), grows.model_validate(EXACT)]
    grown = grow_twin(inspect(FAMILIES[family], LENGTH), exclusive, SEED)
    assert prove(grown, Preserves.EXACTLY).holds
    sites = grown.steps[-1].rewrite.grown.moe
    assert {site.layer: site.num_experts for site in sites} == {s.layer: 32 if s.layer == 1 else 16 for s in sites}


@pytest.mark.parametrize("family", MOE_FAMILIES)
@pytest.mark.parametrize("over", [0.0, 0.5])
def test_there_is_nothing_to_release_in_a_model_that_has_not_grown(family: str, over: float) -> None:
    release = operator("release_siblings").model_validate({"over": over})
    assert [problem.code for problem in release.problems(inspect(FAMILIES[family], LENGTH))] == ["GROW340"]
