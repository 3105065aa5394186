"""The twins of full-size models: small, and routed as the large ones are."""

from __future__ import annotations

import pytest

from growc.checks.loss import prove
from growc.checks.twin import LENGTH, twin_of
from growc.growth.rewrite import rewrite
from growc.model import inspect
from growc.model.shrink import shrink
from growc.operators.claims import Preserves
from growc.operators.expert_upcycling import ExpertUpcycling
from tests.families import FAMILIES, MOE_FAMILIES
from tests.full_size import FULL_SIZE
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(3)

WITH_EXPERTS = [name for name, config in FULL_SIZE.items() if "num_experts_per_tok" in config]
KEPT = ("num_experts_per_tok", "n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor", "n_shared_experts")


def _slow_but(fast: str) -> list[object]:
    return [name if name == fast else pytest.param(name, marks=pytest.mark.slow) for name in WITH_EXPERTS]


@pytest.mark.nightly(2)
@pytest.mark.parametrize("name", _slow_but("qwen3-30b-a3b"))
@pytest.mark.parametrize("routing", ["exclusive", "free"])
def test_the_twin_of_a_full_size_model_is_small_and_bears_out_the_claim(name: str, routing: str) -> None:
    source = inspect(FULL_SIZE[name], LENGTH)
    operator = ExpertUpcycling.model_validate({**EXACT, "routing": routing})
    planned = rewrite(operator, source, seed="0", sequence_length=LENGTH)
    twin = twin_of([planned], seed=0)
    proof = prove(twin, planned.preserves)
    assert proof.holds, proof
    assert (proof.claim is Preserves.EXACTLY) == (routing == "exclusive")
    small = twin.steps[0].rewrite.source
    assert small.cost.total_params < 5e6
    assert small.moe[-1].num_experts == source.moe[0].num_experts
    assert small.moe[-1].top_k == source.moe[0].top_k
    assert small.moe[-1].routing_groups == source.moe[0].routing_groups
    for key in KEPT:
        assert small.config.get(key) == source.config.get(key)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_a_shrunk_model_can_be_shrunk_again(family: str) -> None:
    graph = inspect(FAMILIES[family], LENGTH)
    once = inspect(shrink(graph, graph.layers), LENGTH)
    assert inspect(shrink(once, once.layers), LENGTH).cost.total_params == once.cost.total_params


@pytest.mark.slow
def test_one_late_layer_has_a_stand_in_at_the_front() -> None:
    source = inspect(FULL_SIZE["qwen3-30b-a3b"], LENGTH)
    planned = rewrite(
        ExpertUpcycling.model_validate({**EXACT, "layers": [40]}), source, seed="0", sequence_length=LENGTH
    )
    twin = twin_of([planned], seed=0)
    assert twin.steps[0].rewrite.grown.layers == 1
    assert prove(twin, planned.preserves).holds
