"""The sweep of all families through the engine: what is right is told so, and what is not is told to be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.engine_families import judge
from benchmarks.engine_families.page import page


@pytest.mark.slow
@pytest.mark.process
def test_a_mixture_is_right_in_every_run(tmp_path: Path) -> None:
    found = judge.judge("mixtral", tmp_path)
    assert found["mixture"]
    assert found["verdicts"] == dict.fromkeys(map(str, judge.RUNS), "right")


@pytest.mark.slow
@pytest.mark.process
def test_other_weights_than_the_plain_model_has_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(*given: Any) -> Any:
        model = judge_model(*given)
        with torch.no_grad():
            next(model.parameters()).mul_(1.001)
        return model

    judge_model = judge.laid_out
    monkeypatch.setattr(judge, "laid_out", spoilt)
    monkeypatch.setattr(judge, "RUNS", judge.RUNS[:1])
    (told,) = judge.judge("llama", tmp_path)["verdicts"].values()
    assert told.startswith("WRONG: ")


def test_a_gradient_is_far_by_its_own_size_but_for_noise() -> None:
    wanted = {"large": torch.tensor([100.0, 1.0]), "small": torch.tensor([2.0]), "none": torch.tensor([1e-9])}
    found = {"large": torch.tensor([100.0, 1.0]), "small": torch.tensor([2.1]), "none": torch.tensor([2e-9])}
    gap, name = judge.farthest(found, wanted)
    assert name == "small"
    assert gap == pytest.approx(0.05)
    assert judge.farthest({}, wanted) == (1.0, "small")
    assert judge.farthest(found | {"small": torch.tensor([float("nan")])}, wanted)[1] == "small"


def test_the_gravest_of_the_ranks_is_told() -> None:
    gone = "TRACEBACK: RuntimeError: [/gloo] Connection closed by peer"
    assert judge.worst(["right", "right"]) == "right"
    assert judge.worst([gone, "refused GROW622: x"]) == "refused GROW622: x"
    assert judge.worst(["refused GROW622: x", "TRACEBACK: KeyError: x", gone]) == "TRACEBACK: KeyError: x"


def test_the_page_counts_and_explains() -> None:
    one, two = (str(run) for run in judge.RUNS[:2])
    results = [
        {"family": "ctrl", "mixture": False, "verdicts": {one: "right", two: "refused GROW627: its layers"}},
        {"family": "mixtral", "mixture": True, "verdicts": {one: "right", two: "right"}},
        {"family": "xmod", "unbuilt": "ValueError: no language"},
    ]
    text = "\n".join(page(results))
    assert "3 families, 2 of which could be built small, 1 of these mixtures." in text
    assert f"| {two} | 1 | 1 |" in text
    assert f"| ctrl | {two} | refused GROW627: its layers |" in text
    assert "- `xmod`: ValueError: no language" in text
