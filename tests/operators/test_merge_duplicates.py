"""Growing and merging again gives back the source bit for bit: the model, its config and its moments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.checks.twin import LENGTH
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import Operator, operator
from growc.operators.claims import Moments, Preserves
from growc.programs import Expr, Merge, Source, describe, shape
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import EXACT, FIXED_TOP_K

pytestmark = pytest.mark.share(4)

UNEVEN: dict[str, Any] = {"allocation": {"rule": "explicit", "replicas": [4, 2, 1, 1, 1, 1, 4, 2]}}
"""Groups whose sizes are powers of two; each half adds up too, for families with two routing groups."""
ODD: dict[str, Any] = {"allocation": {"rule": "explicit", "replicas": [8, 1, 2, 4, 3, 6, 5, 3]}, "factor": 4}
Tensors = dict[str, Tensor]


def _merge(**settings: Any) -> Operator:
    return operator("merge_duplicates").model_validate(settings)


def _rewritten(op: Operator, graph: ModelGraph) -> Rewrite:
    assert not list(op.problems(graph)), list(op.problems(graph))
    return rewrite(op, graph, seed="0", sequence_length=LENGTH)


def _there_and_back(family: dict[str, Any], grow: dict[str, Any], merge: dict[str, Any]) -> tuple[Rewrite, Rewrite]:
    there = _rewritten(operator("expert_upcycling").model_validate(EXACT | grow), inspect(family, LENGTH))
    back = _rewritten(_merge(**merge), there.grown)
    assert back.grown.config == there.source.config
    assert back.grown.tensors == there.source.tensors
    return there, back


def _drawn(graph: ModelGraph, *, positive: bool = False) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in graph.tensors.items()}
    return {name: tensor**2 / 1e4 if positive else tensor for name, tensor in drawn.items()}


def _applied(programs: dict[str, Expr], tensors: Tensors) -> Tensors:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    rows = {name: torch.arange((*shape(program, shapes), 1)[0]) for name, program in programs.items()}
    return {n: evaluate(p, rows[n], InMemory(tensors), torch.float32) for n, p in programs.items()}


def _same_bits(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name].view(torch.int32), right[name].view(torch.int32)) for name in left
    )


def _of(moments: dict[str, Moments], which: str) -> dict[str, Expr]:
    programs = {name: getattr(entry, which) for name, entry in moments.items()}
    assert all(entry.keep_step for entry in moments.values())
    return programs


ROUNDED = 4 * 2.0**-24
"""How far numbers may come back that were divided by anything but a power of two, relative to themselves."""


def _close(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(
        torch.allclose(left[name], right[name], rtol=ROUNDED, atol=0) for name in left
    )


def _comes_back(there: Rewrite, back: Rewrite, *, rounded: bool = False) -> bool:
    """Whether weights and moments come back bit for bit; the moments up to rounding where they are `rounded`."""
    weights = _drawn(there.source)
    same = _same_bits(_applied(back.programs, _applied(there.programs, weights)), weights)
    for which, positive in (("first", False), ("second", True)):
        state = _drawn(there.source, positive=positive)
        found = _applied(_of(back.moments, which), _applied(_of(there.moments, which), state))
        same = same and (_close(found, state) if rounded else _same_bits(found, state))
    return same


@pytest.mark.parametrize("family", MOE_FAMILIES)
@pytest.mark.parametrize("grow", [{}, UNEVEN, {"routing": "free"}], ids=["uniform", "uneven", "free"])
def test_every_family_comes_back(family: str, grow: dict[str, Any]) -> None:
    told = {"factor": 2} if "routing" in grow else {}
    assert _comes_back(*_there_and_back(FAMILIES[family], grow, told))


@pytest.mark.parametrize("grow", [*({"factor": f} for f in (2, 3, 4, 5, 6, 8)), UNEVEN, ODD], ids=str)
@pytest.mark.parametrize("state", ["gradient", "consistent", "copy", "reset_copies"])
def test_every_state_comes_back_for_every_small_number_of_copies(grow: dict[str, Any], state: str) -> None:
    """Dividing rounds: fl(x / 3) is the same for several x, so no merge could tell them apart again."""
    settings = {"optimizer_state": state}
    rounded = state in ("gradient", "consistent") and (grow is ODD or grow.get("factor") in (3, 5, 6))
    assert _comes_back(*_there_and_back(FAMILIES["glm4_moe"], grow | settings, settings), rounded=rounded)


PLAIN_SIGMOIDS = FAMILIES["glm4_moe"] | {"norm_topk_prob": False}
SCALED = {name: FAMILIES[name] for name in MOE_FAMILIES if name not in FIXED_TOP_K} | {"sigmoids": PLAIN_SIGMOIDS}


@pytest.mark.parametrize("family", SCALED)
@pytest.mark.parametrize("factor", [2, 4])
def test_a_scaled_top_k_comes_back(family: str, factor: int) -> None:
    scaled: dict[str, Any] = {"top_k": "scale", "factor": factor}
    assert _comes_back(*_there_and_back(SCALED[family], scaled | {"routing": "free"}, scaled))


def test_single_layers_and_measured_groups_come_back() -> None:
    there, back = _there_and_back(FAMILIES["mixtral"], {"layers": [1]}, {})
    assert [site.layer for site in back.sites] == [1]
    assert _comes_back(there, back)
    twice = _rewritten(operator("expert_upcycling").model_validate({**EXACT, "factor": 3}), there.grown)
    assert _rewritten(_merge(), twice.grown).grown.moe[1].num_experts == 8, "siblings of siblings are siblings"
    measured = _rewritten(
        operator("expert_upcycling").model_validate({**EXACT, "allocation": {"rule": "greedy", "cap": 3}}), there.source
    )
    bound = measured.bound({0: (4, 4, 3, 1, 1, 1, 1, 1), 1: (1, 1, 1, 1, 1, 3, 4, 4)})
    settled = _rewritten(_merge(), bound.grown)
    assert settled.grown.config == there.source.config
    assert _comes_back(bound, settled, rounded=True)


def test_different_siblings_become_their_mean_and_their_gradients_a_sum() -> None:
    x = torch.randn(6, 3, dtype=torch.float64)
    mean, total = (evaluate(Merge(Source("x"), (3, 1, 2), by), torch.tensor([2, 0]), InMemory({"x": x}), x.dtype)
                   for by in ("mean", "sum"))  # fmt: skip
    torch.testing.assert_close(mean, torch.stack([x[4:].mean(dim=0), x[:3].mean(dim=0)]))
    torch.testing.assert_close(total, torch.stack([x[4:].sum(dim=0), x[:3].sum(dim=0)]))
    program = Merge(Source("x"), (3, 1, 2), "mean")
    assert shape(program, {"x": (6, 3)}) == (3, 3)
    assert describe(program) == "mean of siblings in x[3 groups]"
    with pytest.raises(ValueError, match="7 rows in all for 6"):
        shape(Merge(Source("x"), (3, 4), "sum"), {"x": (6, 3)})


@pytest.mark.parametrize(
    ("grow", "merge", "code"),
    [
        ({}, {"factor": 2}, "GROW323"),
        ({"routing": "free"}, {}, "GROW323"),
        ({"routing": "free"}, {"factor": 2, "replicas": [2] * 8}, "GROW323"),
        ({"routing": "free"}, {"top_k": "scale", "replicas": [2] * 8}, "GROW323"),
        ({"routing": "free"}, {"factor": 3}, "GROW324"),
        ({"routing": "free"}, {"replicas": [2] * 7}, "GROW324"),
        ({"routing": "free"}, {"factor": 16}, "GROW325"),
        ({"routing": "free"}, {"factor": 4, "top_k": "scale"}, "GROW325"),
        ({"routing": "free"}, {"factor": 2, "layers": [7]}, "GROW302"),
    ],
)
def test_what_cannot_be_merged_is_refused(grow: dict[str, Any], merge: dict[str, Any], code: str) -> None:
    there = _rewritten(operator("expert_upcycling").model_validate(EXACT | grow), inspect(FAMILIES["mixtral"], LENGTH))
    assert [problem.code for problem in _merge(**merge).problems(there.grown)] == [code]


def test_routing_groups_keep_their_siblings() -> None:
    grouped = inspect(FAMILIES["deepseek_v3_groups"], LENGTH)
    assert [p.code for p in _merge(replicas=[1, 1, 1, 2, 1, 1, 1]).problems(grouped)] == ["GROW324"]
    assert not list(_merge(replicas=[1, 1, 2, 1, 1, 2]).problems(grouped))


def test_it_claims_what_can_be_known_without_weights() -> None:
    there, back = _there_and_back(FAMILIES["mixtral"], {}, {})
    assert there.preserves is Preserves.EXACTLY
    assert back.preserves is Preserves.NEARLY
