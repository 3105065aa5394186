"""Expert pruning and slimming: the search, what a layer computes without some experts, and when nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import KeptUnits, order
from growc.anatomy.sites import Units
from growc.checks.twin import LENGTH, apply, grow_twin, tokens
from growc.growth.decision import Decision
from growc.growth.rewrite import rewrite
from growc.model import inspect
from growc.model.drawn import build, draw, load, logits
from growc.nn.pruned import without
from growc.nn.skipping import as_skipping, with_ratios
from growc.numerics.units import by_unit
from growc.operators import Operator, operator
from growc.operators.selection import Dropped, search
from growc.operators.sensitivity import widths
from tests.families import FAMILIES, MOE_FAMILIES

pytestmark = pytest.mark.share(3)

SHARED = ("deepseek_v3", "deepseek_v3_groups", "glm4_moe", "llama4_text")
"""The families whose shared experts are as wide as the others."""


def model_of(family: str, **changes: Any) -> ModelGraph:
    return inspect(FAMILIES[family] | changes, LENGTH)


def op(name: str, **settings: Any) -> Operator:
    return operator(name).model_validate(settings)


def codes(name: str, family: str = "mixtral", **settings: Any) -> list[tuple[str, tuple[str | int, ...]]]:
    return [(p.code, p.where) for p in op(name, **settings).problems(model_of(family))]


class Table:
    """Errors that every expert adds one by one, and a penalty for a pair."""

    def __init__(self, *alone: float, pair: Dropped = ()) -> None:
        self.alone, self.pair, self.asked = alone, pair, 0

    def __call__(self, sets: Sequence[Dropped]) -> list[float]:
        self.asked += len(sets)
        return [sum(self.alone[e] for e in s) + 100 * (bool(self.pair) and {*self.pair} <= {*s}) for s in sets]


def test_all_sets_are_tried_where_they_are_few() -> None:
    errors = Table(1, 1.1, 5, 4, pair=(0, 1))
    assert search(4, 2, 1, 6, errors) == ((0, 3), (5,))
    assert errors.asked == len(list(combinations(range(4), 2)))


def test_with_more_sets_experts_go_one_by_one() -> None:
    errors = Table(1, 1.1, 5, 4, pair=(0, 1))
    assert search(4, 2, 1, 5, errors) == ((0, 3), (1, 5))
    assert errors.asked == 4 + 3


@pytest.mark.parametrize("exhaustive", [0, 1000])
def test_every_routing_group_loses_as_many(exhaustive: int) -> None:
    dropped, _ = search(8, 4, 2, exhaustive, Table(0, 0, 0, 0, 9, 8, 7, 6))
    assert dropped == (0, 1, 6, 7)


def test_of_equal_errors_the_first_set_is_taken_whatever_rounding_says() -> None:
    assert search(3, 1, 1, 10, Table(0.5, 0.1 + 1e-8, 0.1))[0] == (1,)


@cache
def twin_and_decision(family: str) -> Any:
    return grow_twin(model_of(family), [op("expert_pruning", keep=4)], 0)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_a_masked_layer_computes_what_the_pruned_one_will(family: str) -> None:
    twin = twin_and_decision(family)
    ids = tokens(twin.source, seed=1)
    with torch.no_grad():
        after = logits(twin.grown, ids)
        stack = [
            without(
                twin.source.get_submodule(s.router), [e for e, r in enumerate(twin.steps[0].replicas[s.layer]) if not r]
            )
            for s in twin.steps[0].rewrite.mixtures
        ]
        for mask in stack:
            mask.__enter__()
        masked = logits(twin.source, ids)
        for mask in reversed(stack):
            mask.__exit__(None, None, None)
        whole = logits(twin.source, ids)
    torch.testing.assert_close(masked, after, rtol=0, atol=1e-9)
    assert float((whole - after).abs().max()) > 1e-3


RENORMALISED = ("mixtral", "qwen3_moe", "deepseek_v3", "glm4_moe", "llama4_text", "gpt_oss", "granitemoe")
"""The families whose gates depend on the chosen experts alone, and whose groups have no say."""


@pytest.mark.parametrize("family", RENORMALISED)
def test_pruning_experts_that_no_token_reaches_changes_nothing(family: str) -> None:
    graph = model_of(family)
    source = draw(graph.config, 0)
    ids = tokens(source, seed=2, sequences=1, length=2)
    reached = _reached(source, graph, ids)
    layer = graph.moe[-1].layer
    pruning = op("expert_pruning", choose={"by": "explicit", "kept": sorted(reached[layer])}, layers=[layer])
    assert 2 <= len(reached[layer]) + 1 < 8
    assert not list(pruning.problems(graph))
    planned = rewrite(pruning, graph, seed="0", sequence_length=LENGTH)
    assert not planned.deferred_vectors
    pruned = build(planned.grown.config)
    load(pruned, planned.grown, apply(planned.programs, {n: t.detach() for n, t in source.state_dict().items()}))
    with torch.no_grad():
        torch.testing.assert_close(logits(pruned, ids), logits(source, ids), rtol=0, atol=1e-9)


def _reached(model: Any, graph: ModelGraph, ids: Tensor) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    hooks = []
    for site in graph.moe:

        def see(_: Any, __: Any, routed: Any, layer: int = site.layer) -> None:
            chosen = [out for out in routed if not out.is_floating_point()]
            gates = chosen[0].flatten() if chosen else (routed[0].view(-1, 8) > 0).nonzero()[:, 1]
            found[layer] = {*gates.tolist()}

        hooks.append(model.get_submodule(site.router).register_forward_hook(see))
    with torch.no_grad():
        logits(model, ids)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_slimming_units_without_a_way_back_changes_nothing(family: str) -> None:
    """Those of shared experts, too: deepseek, glm and llama 4 set their width with that of the others."""
    graph = model_of(family)
    source = draw(graph.config, 0)
    tensors = {name: t.detach().clone() for name, t in source.state_dict().items()}
    planned = rewrite(op("expert_slimming", share=0.5), graph, seed="0", sequence_length=LENGTH)
    assert any(site.shared for site in planned.mixtures) == (family in SHARED)
    generator = torch.Generator().manual_seed(3)
    units: dict[int, KeptUnits] = {}
    for site in planned.mixtures:
        drawn = [torch.randperm(width, generator=generator)[: width // 2] for width in widths(site)]
        kept = units[site.layer] = tuple(tuple(sorted(row.tolist())) for row in drawn)
        down = next(u for u in site.units if u.down)
        for expert, row in enumerate(tensors[down.tensor]):
            row.index_fill_(down.dim, _others(site.width, kept[expert]), 0)
        for ffn, stay in zip(site.shared, kept[site.num_experts :], strict=True):
            tensors[ffn.back].index_fill_(1, _others(ffn.width, stay), 0)
    load(source, graph, {name: tensors[name] for name in graph.tensors})
    bound = Decision("", {site.layer: (1,) * 8 for site in graph.moe}, {}, units).bound(planned)
    slim = build(bound.grown.config)
    load(slim, bound.grown, apply(bound.programs, tensors))
    ids = tokens(source, seed=4)
    with torch.no_grad():
        torch.testing.assert_close(logits(slim, ids), logits(source, ids), rtol=0, atol=1e-9)
    assert bound.grown.cost.total_params < graph.cost.total_params


def _others(width: int, kept: Sequence[int]) -> Tensor:
    return torch.tensor([unit for unit in range(width) if unit not in kept])


def test_sums_over_units_find_gate_and_up_together() -> None:
    values = torch.arange(12.0).view(1, 6, 2)
    apart = by_unit(values, Units("x", 0, 2, interleaved=False, down=False))
    mixed = by_unit(values, Units("x", 0, 2, interleaved=True, down=False))
    assert apart.tolist() == [[0 + 1 + 6 + 7, 2 + 3 + 8 + 9, 4 + 5 + 10 + 11]]
    assert mixed.tolist() == [[0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9 + 10 + 11]]


def test_the_pruned_model_is_a_stock_model_of_fewer_experts() -> None:
    twin = twin_and_decision("mixtral")
    grown = twin.steps[0].rewrite.grown
    assert grown.config["model_type"] == "mixtral"
    assert grown.config["num_local_experts"] == 4
    for site in twin.steps[0].rewrite.mixtures:
        kept = list(order(twin.steps[0].replicas[site.layer]))
        for name in (*site.expert_tensors, *site.router_rows):
            assert torch.equal(twin.grown.state_dict()[name], twin.source.state_dict()[name][kept])


def test_moments_of_survivors_are_kept() -> None:
    planned = rewrite(op("expert_pruning", keep=4), model_of("mixtral"), seed="0", sequence_length=LENGTH)
    for name, moments in planned.moments.items():
        assert moments.keep_step
        assert moments.first == moments.second == planned.programs[name]


@pytest.mark.parametrize("family", ["mixtral", "olmoe", "deepseek_v3", "phimoe", "gpt_oss"])
def test_skipping_everything_leaves_one_expert_and_skipping_nothing_changes_nothing(family: str) -> None:
    graph = model_of(family)
    model = draw(graph.config, 0)
    ids = tokens(model, seed=5)
    with torch.no_grad(), with_ratios(model, graph.moe) as ratios:
        whole = logits(model, ids)
    assert all(0 <= float(r) <= 1 for site in graph.moe for r in torch.cat(ratios[site.layer]))
    with torch.no_grad(), as_skipping(model, dict.fromkeys(graph.moe, 0.0)) as none:
        assert torch.equal(logits(model, ids), whole)
    assert not any(seen.skipped for seen in none.values())
    with torch.no_grad(), as_skipping(model, dict.fromkeys(graph.moe, 1.5)) as every:
        assert not torch.equal(logits(model, ids), whole)
    assert all(seen.skipped * 2 == seen.calls == 2 * ids.numel() for seen in every.values())


def test_a_skipped_mixtral_is_its_top_1_self() -> None:
    """Gates are renormalised over what is chosen, so the first expert alone has gate 1."""
    graph, alone = model_of("mixtral"), model_of("mixtral", num_experts_per_tok=1)
    model, other = draw(graph.config, 0), build(alone.config)
    load(other, alone, {n: t.detach() for n, t in model.state_dict().items()})
    ids = tokens(model, seed=6)
    with torch.no_grad(), as_skipping(model, dict.fromkeys(graph.moe, 1.5)):
        torch.testing.assert_close(logits(model, ids), logits(other, ids), rtol=0, atol=1e-9)


EXPLICIT: dict[str, Any] = {"by": "explicit", "kept": [0, 1, 2]}

MISUSES: dict[str, tuple[dict[str, Any], str, tuple[str | int, ...]]] = {
    "nothing said": ({}, "GROW380", ()),
    "said twice": ({"keep": 4, "drop": 4}, "GROW380", ("drop",)),
    "said and named": ({"keep": 3, "choose": EXPLICIT}, "GROW380", ("keep",)),
    "too few": ({"keep": 1}, "GROW380", ("keep",)),
    "too many": ({"keep": 9}, "GROW380", ("keep",)),
    "too many to drop": ({"drop": 9}, "GROW380", ("drop",)),
    "no such expert": ({"choose": {"by": "explicit", "kept": [0, 8]}}, "GROW381", ("choose", "kept", 1)),
    "twice": ({"choose": {"by": "explicit", "kept": [0, 1, 1]}}, "GROW381", ("choose", "kept", 2)),
    "one named": ({"choose": {"by": "explicit", "kept": [0]}}, "GROW380", ("choose", "kept")),
    "dense layer": ({"keep": 4, "layers": [7]}, "GROW302", ("layers", 0)),
}


@pytest.mark.parametrize("case", MISUSES)
def test_misuses_of_pruning_are_told(case: str) -> None:
    settings, code, where = MISUSES[case]
    assert codes("expert_pruning", **settings) == [(code, where)]


def test_groups_must_stay_equal_and_large_enough() -> None:
    grouped = "deepseek_v3_groups"
    assert codes("expert_pruning", grouped, keep=4) == []
    assert codes("expert_pruning", grouped, keep=5) == [("GROW307", ("keep",))]
    assert codes("expert_pruning", grouped, keep=2) == [("GROW380", ("keep",))]
    uneven = {"by": "explicit", "kept": [0, 1, 2, 4]}
    assert codes("expert_pruning", grouped, choose=uneven) == [("GROW307", ("choose", "kept"))]
    assert codes("expert_pruning", grouped, choose={"by": "explicit", "kept": [0, 1, 6, 7]}) == []


def test_what_cannot_be_pruned_skipped_or_slimmed_is_refused() -> None:
    assert codes("expert_pruning", "llama", keep=4) == [("GROW301", ())]
    assert codes("expert_slimming", "llama", share=0.5) == [("GROW301", ())]
    assert codes("expert_pruning", "llama4_text", keep=4, skipping="measure") == [("GROW383", ("skipping",))]
    tiny = rewrite(op("expert_slimming", share=0.001), model_of("mixtral"), seed="0", sequence_length=LENGTH)
    assert {site.width for site in tiny.grown.moe} == {1}
    assert codes("expert_slimming", share=0.5, layers=[9]) == [("GROW302", ("layers", 0))]
    exclusive = op("expert_upcycling", routing="exclusive", router={"init": "copy"})
    grown = rewrite(exclusive, model_of("mixtral"), seed="0", sequence_length=LENGTH).grown
    assert [p.code for p in op("expert_pruning", keep=8).problems(grown)] == ["GROW382"]
    assert not list(op("expert_slimming", share=0.5).problems(grown))
