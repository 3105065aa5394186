"""What growth in depth must hold to."""

from __future__ import annotations

from pathlib import Path

import torch

from growc.anatomy.matches import LayerPart
from growc.checks.twin import tokens
from growc.model.drawn import logits
from growc.operators.facets import ReordersLayers
from tests.battery.case import Case
from tests.battery.gradients import gradients
from tests.battery.properties import of


def moves_layers(case: Case) -> bool:
    """Those whose grown model has the layers of its source in another order."""
    return isinstance(case.operator, ReordersLayers)


def closes(case: Case) -> bool:
    """Those whose new layers start closed."""
    return isinstance(case.operator, ReordersLayers) and case.operator.closes


@of(moves_layers)
def every_layer_is_of_the_kind_that_it_comes_from(case: Case, _: Path) -> None:
    assert isinstance(case.operator, ReordersLayers)
    before, after = case.planned.source.blocks, case.planned.grown.blocks
    assert after.kinds == tuple(before.kinds[layer] for layer in case.operator.layer_order(case.planned.source))


@of(closes)
def the_layers_of_the_source_keep_their_gradients(case: Case, _: Path) -> None:
    ids = tokens(case.twin.source, seed=2)
    before, after = gradients(case.twin.source, ids), gradients(case.twin.grown, ids)
    matches = case.step.rewrite.matches
    old = {n: m.origin if isinstance(m, LayerPart) else n for n, m in matches.items() if not getattr(m, "again", False)}
    assert set(old.values()) >= before.keys()
    for name in old.keys() & after.keys():
        scale = float(before[old[name]].abs().max())
        torch.testing.assert_close(after[name], before[old[name]], rtol=0, atol=1e-9 * scale)


@of(closes)
def what_was_closed_opens_by_as_much_as_it_moves(case: Case, _: Path) -> None:
    """Ten times smaller steps of Adam move logits by a tenth: a norm behind a closed map would make them jump."""
    new = [name for name, match in case.step.rewrite.matches.items() if getattr(match, "again", False)]
    small, smaller = (_moved_by_a_step(case, new, rate) for rate in (1e-4, 1e-5))
    assert 5 < small / smaller < 20


def _moved_by_a_step(case: Case, names: list[str], rate: float) -> float:
    """How far the logits of half of the tokens move when the tensors called `names` make the first step of Adam.

    Of half of them: where a router is near a choice between experts a token jumps.
    """
    model, ids = case.twin.grown, tokens(case.twin.source, seed=2)
    found = gradients(model, ids)
    kept = {name: model.get_parameter(name).detach().clone() for name in names if name in found}
    with torch.no_grad():
        before = logits(model, ids)
        for name in kept:
            model.get_parameter(name).sub_(rate * found[name].sign())
        after = logits(model, ids)
        for name, values in kept.items():
            model.get_parameter(name).copy_(values)
    return float((after - before).norm(dim=-1).median())
