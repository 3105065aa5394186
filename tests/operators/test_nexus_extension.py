"""Extension of Nexus models: one expert more, found by its domain, and all that routes to the others as it was."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from growc.anatomy.model_graph import ModelGraph
from growc.checks.twin import LENGTH, Twin, grow_twin
from growc.diagnostics import GrowcError
from growc.growth.open import open_spec
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import operator
from growc.operators.ancestry import Ancestry
from growc.operators.claims import Preserves
from growc.operators.means import domain
from growc.operators.nexus_extension import NexusExtension
from growc.programs import Deferred, of_parent
from tests.families import FAMILIES
from tests.run import tiny

pytestmark = pytest.mark.share(3)

NEXUS = {"projection_width": 8, "router": {"std": 0.3}}
EXTENSION = NexusExtension()
EXPERTS = 3
FAMILY = pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "qwen3, alternate"])
"""Alternate: a layer without experts stays beside one with some."""


def layers(family: str) -> dict[str, Any]:
    return {"layers": "alternate"} if family.endswith("alternate") else {}


@cache
def dense(family: str) -> ModelGraph:
    return inspect(FAMILIES[family.partition(",")[0]], LENGTH)


@cache
def mixture(family: str) -> ModelGraph:
    nexus = operator("nexus").model_validate({**NEXUS, **layers(family)})
    return rewrite(nexus, dense(family), seed="0", sequence_length=LENGTH, parents=EXPERTS + 1).grown


@cache
def twin(family: str) -> Twin:
    return grow_twin(mixture(family), [EXTENSION], 0, 3)


def planned(family: str) -> Rewrite:
    return rewrite(EXTENSION, mixture(family), seed="0", sequence_length=LENGTH, parents=3)


@FAMILY
def test_a_mixture_and_a_dense_model_are_read_and_the_seed_is_dropped(family: str) -> None:
    step = planned(family)
    assert step.other == dense(family)
    assert EXTENSION.drops(step.source) == {of_parent(2, name) for name in step.other.tensors}
    assert [site.num_experts for site in step.grown.moe] == [EXPERTS + 1] * len(mixture(family).moe)
    assert step.deferred_vectors == {Deferred(domain(1), 32)}
    assert step.preserves is Preserves.NOT


@FAMILY
def test_rows_of_the_others_stay_and_the_new_one_is_the_projection_of_its_domain(family: str) -> None:
    grown = twin(family)
    before, after = grown.source.state_dict(), grown.grown.state_dict()
    for site in grown.steps[0].rewrite.grown.moe:
        domains, gate_up, down = (after[f"{site.router}.{name}"] for name in ("weight", "gate_up", "down"))
        assert torch.equal(domains[:EXPERTS], before[f"{site.router}.weight"])
        assert torch.equal(gate_up, before[f"{site.router}.gate_up"])
        assert torch.equal(down, before[f"{site.router}.down"])
        x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        gate, up = (gate_up @ domains[-1]).chunk(2)
        with torch.no_grad():
            old, new = (model.get_submodule(site.router)(x)[0] for model in (grown.source, grown.grown))
        torch.testing.assert_close(new[:, :EXPERTS], old, rtol=0, atol=1e-12)
        torch.testing.assert_close(new[:, EXPERTS], x @ (down @ (F.silu(gate) * up)), rtol=0, atol=1e-12)
        stay = new[:, EXPERTS] < old.amax(dim=1)
        assert torch.equal(new.argmax(dim=1)[stay], old.argmax(dim=1)[stay])


@FAMILY
def test_experts_stay_and_the_new_one_is_the_branchs_network(family: str) -> None:
    grown = twin(family)
    before, after = grown.source.state_dict(), grown.grown.state_dict()
    branch, step = grown.others[0], grown.steps[0].rewrite
    alone = operator("sparse_upcycling").model_validate({"experts": 2, "top_k": 1, **layers(family)})
    upcycled = rewrite(alone, step.other, seed="0", sequence_length=LENGTH)
    stacks = zip(step.grown.moe, upcycled.grown.moe, strict=True)
    for ours, theirs in ((o, t) for a, b in stacks for o, t in zip(a.expert_tensors, b.expert_tensors, strict=True)):
        assert torch.equal(after[ours][:EXPERTS], before[ours])
        made = evaluate(upcycled.programs[theirs], torch.tensor([0]), InMemory(branch.state_dict()), torch.float64)
        assert torch.equal(after[ours][EXPERTS], made[0]), ours


@FAMILY
def test_of_all_else_the_branch_counts_as_one_of_n_and_one(family: str) -> None:
    grown = twin(family)
    before, branch, after = (m.state_dict() for m in (grown.source, grown.others[0], grown.grown))
    step = grown.steps[0].rewrite
    own = tuple(f"{path}." for site in step.grown.moe for path in (site.router, site.experts))
    merged = [name for name in step.grown.tensors if not name.startswith(own) and ".shared_expert." not in name]
    assert len(merged) > 8
    for name in merged:
        torch.testing.assert_close(after[name], (EXPERTS * before[name] + branch[name]) / (EXPERTS + 1))
    for name in (name for name in step.grown.tensors if ".shared_expert." in name):
        assert torch.equal(after[name], before[name])
    assert not any(moments.keep_step for moments in step.moments.values())


@FAMILY
def test_it_is_extended_again(family: str) -> None:
    again = grow_twin(twin(family).steps[0].rewrite.grown, [EXTENSION], 0, 3)
    assert [site.num_experts for site in again.steps[0].rewrite.grown.moe] == [EXPERTS + 2] * len(mixture(family).moe)


@pytest.mark.parametrize(
    ("family", "parts", "codes"),
    [
        ("llama", ("mixed", "new", "seed"), []),
        ("llama", ("mixed", None, "seed"), ["GROW392"]),
        ("llama", ("mixed", "new"), ["GROW391"]),
        ("dense", ("mixed", "new", "seed"), ["GROW393"]),
        ("mixtral", ("mixed", "new", "seed"), ["GROW393"]),
        ("exclusive", ("mixed", "new", "seed"), ["GROW393"]),
    ],
)
def test_what_cannot_be_is_said(family: str, parts: tuple[str | None, ...], codes: list[str]) -> None:
    match family:
        case "dense":
            graph = inspect(FAMILIES["llama"], LENGTH)
        case "exclusive":
            grows = operator("expert_upcycling").model_validate({"routing": "exclusive", "router": {"init": "copy"}})
            graph = rewrite(grows, mixture("llama"), seed="0", sequence_length=LENGTH).grown
        case "mixtral":
            graph = inspect(FAMILIES[family], LENGTH)
        case _:
            graph = mixture(family)
    pasts = [Ancestry(f"state {number}", part) for number, part in enumerate(parts)]
    problems = list(EXTENSION.problems(graph)) or list(EXTENSION.problems_together([graph] * len(parts), pasts))
    assert [problem.code for problem in problems] == codes


@pytest.mark.parametrize(
    ("mixture", "branch", "seed", "code"),
    [
        ("mix", "new", "source", None),
        ("mix", "new", "sources.other", "GROW394"),
        ("mix", "new", "first", "GROW394"),
        ("mix", "second", "source", "GROW392"),
        ("extended", "newer", "source", None),
        ("extended", "new", "source", "GROW392"),
    ],
)
def test_domains_are_new_and_of_one_seed(
    tmp_path: Path, mixture: str, branch: str, seed: str, code: str | None
) -> None:
    """What the spec knows of the model's past: the seed of its domains, and the parts whose domains are taken."""
    parts = ("first", "second", "new", "newer")
    stages: list[dict[str, Any]] = [
        *({"name": part, "from": "source", "train": {"steps": 2, "data": part}} for part in parts),
        {"name": "mix", "from": ["source", "first", "second"], "grow": [{"op": "nexus"}]},
        {"name": "extended", "from": ["mix", "new", "source"], "grow": [{"op": "nexus_extension"}]},
        {"name": "on", "from": mixture, "train": {"steps": 2, "data": "first"}},
        {"name": "last", "from": ["on", branch, seed], "grow": [{"op": "nexus_extension"}]},
    ]
    others = {"sources": {"other": {"config": FAMILIES["llama"]}}} if seed == "sources.other" else {}
    path = tiny.spec(tmp_path, "llama", training=tiny.PLAIN, stages=stages, **others)
    tiny.with_parts(path, dict.fromkeys(parts, 0.25))
    with pytest.raises(GrowcError, match=code) if code else nullcontext():
        open_spec(path)


def test_a_branch_of_another_architecture_is_refused(tmp_path: Path) -> None:
    parts = ("first", "second", "new")
    wide: dict[str, Any] = FAMILIES["qwen3"] | {"intermediate_size": 64}
    stages: list[dict[str, Any]] = [
        *({"name": part, "from": "source", "train": {"steps": 2, "data": part}} for part in parts[:2]),
        {"name": "mix", "from": ["source", *parts[:2]], "grow": [{"op": "nexus"}]},
        {"name": "new", "from": "sources.other", "train": {"steps": 2, "data": "new"}},
        {"name": "extend", "from": ["mix", "new", "source"], "grow": [{"op": "nexus_extension"}]},
    ]
    for config, code in ((FAMILIES["qwen3"], None), (wide, "GROW390")):
        path = tiny.spec(tmp_path, "qwen3", training=tiny.PLAIN, stages=stages, sources={"other": {"config": config}})
        tiny.with_parts(path, dict.fromkeys(parts, 0.3))
        if code is None:
            assert [site.num_experts for site in open_spec(path).graph.target.moe] == [3, 3]
            continue
        with pytest.raises(GrowcError) as raised:
            open_spec(path)
        assert [found.code for found in raised.value.diagnostics] == [code]
