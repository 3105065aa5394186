"""Sweeps: every point is the spec with its values set, and nothing else of it moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from growc.spec.nodes import Scalar
from growc.spec.sweep import clean, label
from tests.spec.conftest import Findings, Load
from tests.spec.examples import SMALL, SWEPT


def test_points_are_all_combinations_in_the_order_of_the_axes(load_text: Load) -> None:
    loaded = load_text(SWEPT)
    assert [axis.name for axis in loaded.axes] == ["seed", "factor", "arm"]
    assert [axis.is_seed for axis in loaded.axes] == [True, False, False]
    points = [at.point for at in loaded.points]
    assert points[:3] == [
        (("seed", "0"), ("factor", "2"), ("arm", "free")),
        (("seed", "0"), ("factor", "2"), ("arm", "short")),
        (("seed", "0"), ("factor", "3"), ("arm", "free")),
    ]
    assert len(set(points)) == 8


def test_a_point_is_the_spec_that_set_would_make(load_text: Load) -> None:
    point = load_text(SWEPT).points[-1].loaded
    same = load_text(
        SMALL,
        [
            "training.seed=1",
            "stages[wider].grow[0].factor=3",
            "stages[wider].grow[0].routing=exclusive",
            "stages[last].train.steps=5",
        ],
    )
    assert point.spec == same.spec
    assert point.values == same.values
    assert not point.spec.sweep
    assert point.span("training", "seed").line == SWEPT.split("\n").index("  training.seed: [0, 1]") + 1


def test_one_arm_of_a_sweep_by_set(load_text: Load) -> None:
    assert load_text(SWEPT, ["sweep={}"]).points[0].point == ()
    some = load_text(SWEPT, ['sweep["training.seed"]=[7]', "sweep.arm={free: {}}"]).points
    assert [at.point for at in some] == [
        (("seed", "7"), ("factor", "2"), ("arm", "free")),
        (("seed", "7"), ("factor", "3"), ("arm", "free")),
    ]
    assert {at.loaded.spec.training.seed for at in some} == {7}


def test_a_spec_that_is_wrong_without_its_sweep_is_told_once(findings: Findings) -> None:
    (found,) = findings(SWEPT.replace("batch_tokens: 128", "batch_tokens: 100"))
    assert found.code == "GROW132"
    assert "(at" not in found.message


def test_a_fault_names_its_points(findings: Findings) -> None:
    (found,) = findings(SWEPT.replace("factor: [2, 3]", "factor: [2, 0]"))
    assert found.message.endswith("(at seed=0,factor=0,arm=free and 3 more points)")


def test_labels_of_values(load_text: Load) -> None:
    text = SMALL + 'sweep: {"stages[1].grow[0].allocation": [{rule: greedy, cap: 3}, {rule: uniform}]}\n'
    axis = load_text(text).axes[0]
    assert [choice.label for choice in axis.choices] == ["rule-greedy-cap-3", "rule-uniform"]
    values = load_text(SMALL + 'sweep: {"stages[0].train.validate_every": [null, 3], training.seed: [10]}\n').axes
    assert [choice.label for axis in values for choice in axis.choices] == ["null", "3", "10"]


@given(st.text(max_size=100) | st.floats() | st.booleans())
def test_labels_can_be_folders(value: str | float | bool) -> None:
    shown = label(Scalar(value, span=None))  # pyright: ignore[reportArgumentType]
    assert 0 < len(shown) <= 64
    assert shown == clean(shown)
    assert not set(shown) & set("/\\ =,")
