"""Units are matched by what they do: a model whose units were shuffled is put in order again."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from growc.anatomy.sites import FfnSite
from growc.checks.twin import LENGTH
from growc.measures.matching import unit_orders
from growc.model import inspect
from growc.model.drawn import draw
from tests.families import FAMILIES

pytestmark = pytest.mark.usefixtures("alone")


def _shuffled(model: PreTrainedModel, site: FfnSite, seed: int) -> torch.Tensor:
    """Shuffle the units of one network in place; unit i was unit `order[i]`."""
    order = torch.randperm(site.width, generator=torch.Generator().manual_seed(seed))
    state = model.state_dict()
    for path, dim in (*((path, 0) for path in site.up), (site.down, 1)):
        weight = state[f"{path}.weight"]
        weight.copy_(weight.index_select(1 - dim if site.transposed else dim, order))
        if dim == 0 and f"{path}.bias" in state:
            state[f"{path}.bias"].copy_(state[f"{path}.bias"][order])
    return order


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_shuffled_units_are_found_again(family: str) -> None:
    graph = inspect(FAMILIES[family], LENGTH)
    anchor, other, noisy = (draw(graph.config, 0) for _ in range(3))
    orders = {site.name: _shuffled(other, site, site.layer) for site in graph.ffn}
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter += 0.02 * parameter.std() * torch.randn_like(parameter)
    made = torch.Generator().manual_seed(1)
    batches = [torch.randint(256, (4, 65), generator=made) for _ in range(2)]
    found = unit_orders([anchor, other, noisy], graph.ffn, batches, torch.device("cpu"))
    for site in graph.ffn:
        of_other, of_noisy = found[site.layer]
        assert torch.equal(orders[site.name][torch.tensor(of_other)], torch.arange(site.width))
        assert of_noisy == tuple(range(site.width))


def test_every_order_is_a_permutation_however_unlike_the_models_are() -> None:
    graph = inspect(FAMILIES["llama"], LENGTH)
    batch = torch.randint(256, (2, 33), generator=torch.Generator().manual_seed(1))
    found = unit_orders([draw(graph.config, 0), draw(graph.config, 1)], graph.ffn, [batch], torch.device("cpu"))
    assert all(sorted(order) == list(range(48)) for (order,) in found.values())
