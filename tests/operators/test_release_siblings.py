"""Releasing siblings: exact where it starts, free where it ends, and foretold by a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.anatomy.grown_format import GROWN, opened_to, without_siblings
from growc.checks.twin import LENGTH, grow_twin, tokens
from growc.engine.schedules.sibling_release import Release
from growc.growth.graph import GrowNode
from growc.growth.open import open_spec
from growc.model import inspect
from growc.model.drawn import build, load, logits
from growc.nn.exclusive import exclusive_routers
from growc.nn.released import as_released
from growc.operators import operator
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

GROUPED = ["mixtral", "deepseek_v3_groups", "glm4_moe", "llama4_text", "gpt_oss"]


@pytest.mark.parametrize("family", GROUPED)
def test_a_dry_run_computes_what_the_released_model_will(family: str) -> None:
    """The routers run free without a weight or a config being touched; afterwards they are what they were."""
    up = operator("expert_upcycling").model_validate({"routing": "exclusive", "router": {"init": "split", "std": 0.5}})
    twin = grow_twin(inspect(FAMILIES[family], LENGTH), [up], 0)
    model, graph = twin.grown, twin.steps[-1].rewrite.grown
    assert graph.expert_field is not None
    free = build(inspect(without_siblings(graph.config, graph.expert_field), LENGTH).config)
    load(free, graph, {name: tensor.detach() for name, tensor in model.state_dict().items()})
    ids = tokens(model, seed=1)
    with torch.no_grad():
        before, after = logits(model, ids), logits(free, ids)
        with as_released(model, graph.moe) as seen:
            torch.testing.assert_close(logits(model, ids), after, rtol=0, atol=0)
        assert torch.equal(logits(model, ids), before)
    assert torch.equal(before, after) == all(site.top_k == 1 for site in graph.moe)
    for site in graph.moe:
        assert 0 <= seen[site.layer].rate <= (site.top_k - 1) / site.top_k
        assert (seen[site.layer].rate > 0) == (site.top_k > 1)


@pytest.mark.parametrize("family", GROUPED)
def test_losers_are_held_back_less_and_less(family: str) -> None:
    up = operator("expert_upcycling").model_validate({"routing": "exclusive", "router": {"init": "split", "std": 0.5}})
    twin = grow_twin(inspect(FAMILIES[family], LENGTH), [up], 0)
    model, graph = twin.grown, twin.steps[-1].rewrite.grown
    ids = tokens(model, seed=1)
    with torch.no_grad():
        exclusive = logits(model, ids)
        with as_released(model, graph.moe):
            free = logits(model, ids)
        for how_far, expected in ((0.0, exclusive), (1e-300, exclusive), (1.0, free)):
            for router in exclusive_routers(model).values():
                router.open = how_far
            torch.testing.assert_close(logits(model, ids), expected, rtol=0, atol=1e-9)


def test_a_release_never_goes_back() -> None:
    """The next stage may start from the state before an anneal, which is not all the way open."""
    graph = inspect(FAMILIES["glm4_moe"], LENGTH)
    up, release_all = (
        operator("expert_upcycling").model_validate(EXACT),
        operator("release_siblings").model_validate({"over": 1.0}),
    )
    model = grow_twin(graph, [up, release_all], 0).grown
    release = Release(model, 10)
    seen = list[float]()
    for done in (0, 4, 8):
        release.at(done)
        seen.append(next(iter(exclusive_routers(model).values())).open)
    following = Release(model, 10)
    for done in (0, 7, 9, 10):
        following.at(done)
        seen.append(next(iter(exclusive_routers(model).values())).open)
        assert {entry["open"] for entry in getattr(model.config, GROWN)["layers"].values()} == {seen[-1]}
    assert seen == [0.0, 0.4, 0.8, 0.8, 0.8, 0.9, 1.0]


RELEASED: list[dict[str, Any]] = [
    {"name": "pretrain", "train": {"steps": 6, "data": "pretrain"}},
    {
        "name": "upcycle",
        "grow": [{"op": "expert_upcycling", "routing": "exclusive"}],
    },
    {"name": "open", "grow": [{"op": "release_siblings", "over": 0.5}]},
    {"name": "cpt", "train": {"steps": 8, "data": "cpt"}},
    {"name": "free", "grow": [{"op": "release_siblings"}]},
    {"name": "end", "train": {"steps": 2, "data": "cpt"}},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an annealed release."""
    folder = tmp_path_factory.mktemp("release")
    tiny.run(tiny.spec(folder, stages=RELEASED), folder / "run")
    return folder / "run"


@pytest.mark.slow
def test_an_annealed_release_begins_and_ends_without_a_jump(run: Path) -> None:
    stages = tiny.summary(run)["stages"]
    for name in ("open", "free"):
        assert stages[name]["val_loss_after"] == pytest.approx(stages[name]["val_loss_before"], abs=1e-9)
    dry = json.loads((run / "stages/open/result.json").read_text())["dry_run"]
    assert set(dry["collisions"]) == {"1", "2"} or len(dry["collisions"]) >= 1
    assert all(0 < rate <= 0.5 for rate in dry["collisions"].values())
    assert stages["open"]["dry_run"]["val_loss"] != stages["open"]["val_loss_before"]


@pytest.mark.slow
def test_checkpoints_compute_what_training_computed(run: Path) -> None:
    """A model half released says so in its config; released, it is a stock model."""
    config = json.loads((run / "stages/cpt/checkpoint/config.json").read_text())
    assert {entry["open"] for entry in config[GROWN]["layers"].values()} == {1.0}
    model = AutoModelForCausalLM.from_pretrained(run / "stages/cpt/checkpoint")
    assert {router.open for router in exclusive_routers(model).values()} == {1.0}
    end = json.loads((run / "stages/end/checkpoint/config.json").read_text())
    assert end["model_type"] == "glm4_moe"
    assert GROWN not in end


@pytest.mark.slow
def test_a_killed_release_goes_on_where_it_was(run: Path, tmp_path: Path) -> None:
    spec = tiny.spec(tmp_path, stages=RELEASED)
    again = ("training.checkpoint_every=1",)
    child = tiny.start(spec, tmp_path / "run", 1, *again)
    tiny.kill_when(child, lambda: len(tiny.rows(tmp_path / "run", "cpt")) >= 2)
    tiny.run(spec, tmp_path / "run", 1, *again)
    assert tiny.rows(tmp_path / "run", "cpt") == tiny.rows(run, "cpt")
    assert tiny.rows(tmp_path / "run", "end") == tiny.rows(run, "end")


def test_growth_does_not_stop_a_release_half_way(tmp_path: Path) -> None:
    stages = [*RELEASED[:3], {"name": "more", "grow": [{"op": "expert_upcycling", **EXACT}]}]
    with pytest.raises(Exception, match="GROW342"):
        open_spec(tiny.spec(tmp_path, stages=stages))
    node = open_spec(tiny.spec(tmp_path, stages=RELEASED)).graph.node("open")
    assert isinstance(node, GrowNode)
    assert opened_to(node.after.config, 0.5)[GROWN] != node.after.config[GROWN]
