"""`--set`: paths, values, and that everything else stays as it was."""

from __future__ import annotations

from typing import Any

import pytest

from growc.diagnostics import Span
from growc.spec.nodes import Plain
from tests.spec.conftest import Load
from tests.spec.examples import FULL, SMALL


def _at(values: Any, path: tuple[str | int, ...]) -> Plain:
    for step in path:
        values = values[step]
    return values


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("stages[1].grow[0].factor=4", ("stages", 1, "grow", 0, "factor"), 4),
        ("stages[wider].grow[0].factor=4", ("stages", 1, "grow", 0, "factor"), 4),
        ("training.optimizer={name: sgd, lr: 3e-4}", ("training", "optimizer", "lr"), 3e-4),
        ("training.seed=0x10", ("training", "seed"), 16),
        ("name=on", ("name",), "on"),
        ("name='3'", ("name",), "3"),
        ("name=a=b", ("name",), "a=b"),
        ("name= spaced ", ("name",), "spaced"),
        ("invariants.loss.max_increase=0.5", ("invariants", "loss", "max_increase"), 0.5),
        ("data.parts[b]=0.5", ("data", "parts", "b"), 0.5),
        ("model.config.num_hidden_layers=2", ("model", "config", "num_hidden_layers"), 2),
        ("baselines=[fixed_source]", ("baselines", 0), "fixed_source"),
        ("parallel.fsdp=8e0", ("parallel", "fsdp"), 8.0),
    ],
)
def test_one_value_is_set(load_text: Load, override: str, path: tuple[str | int, ...], value: Plain) -> None:
    loaded = load_text(SMALL, [override])
    assert _at(loaded.values, path) == value


def test_everything_else_stays(load_text: Load) -> None:
    before, after = load_text(FULL), load_text(FULL, ["stages[upcycle].grow[0].factor=4"])
    changed = {path for path in before.spans if _at(before.values, path) != _at(after.values, path)}
    assert changed == {(), ("stages",), *[("stages", 1, "grow", 0, "factor")[:n] for n in range(2, 6)]}
    assert {path: span for path, span in before.spans.items() if path not in changed} == {
        path: span for path, span in after.spans.items() if path not in changed
    }
    assert after.span("stages", 1, "grow", 0, "factor") == Span("--set", 1, 32, 1)


def test_later_ones_win_and_have_their_own_line(load_text: Load) -> None:
    loaded = load_text(SMALL, ["training.seed=1", "training.seed=2"])
    assert loaded.spec.training.seed == 2
    assert loaded.span("training", "seed") == Span("--set", 2, 15, 1)


def test_an_aliased_value_is_set_in_one_place_only(load_text: Load) -> None:
    text = SMALL.replace("{steps: 10, data: a}", "&t {steps: 10, data: a}").replace("{steps: 10, data: b}", "*t")
    loaded = load_text(text, ["stages[last].train.steps=5"])
    steps = [stage.train.steps for stage in loaded.spec.stages if stage.train]
    assert steps == [10, 5]


def test_a_value_is_removed_with_null(load_text: Load) -> None:
    loaded = load_text(SMALL, ["model.config=null", "model.hub=h"])
    assert loaded.spec.model.source == "hub"
