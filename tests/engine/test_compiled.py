"""Compiled layers give the gradients of layers that are not, whatever is computed again, on one rank and on two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo import reset
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from growc.diagnostics import GrowcError
from growc.engine.balance import Load
from growc.engine.compiled import compile_layers, hold_compiler
from growc.engine.distribute import local
from growc.engine.layout import Layout
from growc.engine.losses import mean_loss
from growc.engine.recompute import recompute_layers
from growc.model import inspect
from tests.engine.models import LENGTH, OTHERS, built, compiles, grown, text
from tests.engine.ranks import on_ranks
from tests.families import FAMILIES

# torch's compiler hides warnings about itself only where they are no errors.
pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]

CONFIG = grown("glm4_moe")
"""A dense layer, and layers that route exclusively."""


def step(layout: Layout, config: dict[str, Any], how: Any, compiled: bool, precision: Any = "fp32") -> dict[str, Any]:
    """The loss, gradients of this rank, tokens that experts got, and pieces of code that were compiled."""
    model, graph = built(config, layout, precision), inspect(config, LENGTH)
    torch.manual_seed(1)
    reset()
    counters.clear()
    load = Load(model, graph.moe)
    recompute_layers(model, how)
    undo = compile_layers(model, graph) if compiled else None
    loss = mean_loss(model, text(2))
    loss.backward()
    counts = load.reduced()
    load.close()
    if undo is not None:
        undo()
    found = {name: local(p.grad).flatten().tolist() for name, p in model.named_parameters() if p.grad is not None}
    return {
        "loss": float(loss.detach()),
        "gradients": found,
        "counts": {str(layer): count.tolist() for layer, count in counts.items()},
        "pieces": counters["stats"]["unique_graphs"],
    }


def _alike(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert wanted["pieces"] == 0 < found["pieces"]
    assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-6)
    assert found["counts"] == wanted["counts"]
    assert found["gradients"].keys() == wanted["gradients"].keys()
    for name, gradient in wanted["gradients"].items():
        expected = torch.tensor(gradient)
        rounding = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(torch.tensor(found["gradients"][name]), expected, rtol=0, atol=rounding, msg=name)


Steps = dict[tuple[str, bool], dict[str, Any]]
"""What steps found, by what is computed again and whether layers were compiled."""


@pytest.fixture(scope="module")
def one_rank(alone: None) -> Steps:
    plan = [("none", False), ("none", True), ("selective", True), ("full", True)]
    return {(how, compiled): step(Layout(1, 1), CONFIG, how, compiled) for how, compiled in plan}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """Which exchange tokens, in a part of the layer that is not compiled."""
    plan = [("none", False), ("none", True), ("full", True)]
    return {
        (how, compiled): on_ranks(
            step, Layout(2, 2), tmp_path_factory.mktemp("ranks"), FAMILIES["qwen3_moe"], how, compiled
        )
        for how, compiled in plan
    }


@compiles
@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("how", ["none", "selective", "full"])
def test_gradients_are_the_same_on_one_rank(one_rank: Steps, how: str) -> None:
    _alike(one_rank[how, True], one_rank["none", False])


@compiles
@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("how", ["none", "full"])
def test_gradients_are_the_same_on_two_ranks(two_ranks: Steps, how: str) -> None:
    _alike(two_ranks[how, True], two_ranks["none", False])


@compiles
@pytest.mark.full
@pytest.mark.process
def test_layers_that_share_parameters_compile_too(alone: None) -> None:
    """FSDP2 leaves them to the root, so they keep their class."""
    found = step(Layout(1, 1), OTHERS["shared"], "none", compiled=True)
    _alike(found, step(Layout(1, 1), OTHERS["shared"], "none", compiled=False))


def test_what_was_compiled_can_be_taken_back(alone: None) -> None:
    model = built(CONFIG)
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    names = set(model.state_dict())
    undo = compile_layers(model, inspect(CONFIG, LENGTH))
    assert any(dict(module.__dict__) != before[name] for name, module in model.named_modules())
    assert set(model.state_dict()) == names
    undo()
    assert all(module.__dict__.keys() == before[name].keys() for name, module in model.named_modules())


@pytest.mark.process
def test_a_machine_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inductor.cpp, "cxx", (None, str(tmp_path / "no compiler")))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    reset()
    with pytest.raises(GrowcError, match="GROW608"):
        hold_compiler(torch.device("cpu"))
