"""Every router initialisation against its definition, row by row, for uneven replicas known early or late."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from growc.anatomy.replicas import order, turn
from growc.diagnostics import GrowcError
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.operators.routers import ROUTER_INITS
from growc.programs import shape
from tests.families import FAMILIES
from tests.operators_cases import EXACT

REPLICAS = (6, 1, 2, 3, 5, 4, 2, 1)
LAYER = 1
DRAW = {"copy_noise", "perturb_new_only", "orthogonal", "svd_perturb", "split"}
"""The initialisations whose rows are drawn."""

SOURCE = torch.tensor(order(REPLICAS))
COPY = torch.tensor(turn(REPLICAS)) > 0


def planned(
    router: dict[str, Any], family: str = "deepseek_v3", replicas: tuple[int, ...] | None = REPLICAS
) -> Rewrite:
    """Growth by three with given replicas, or with replicas that are settled late."""
    allocation = {"rule": "explicit", "replicas": list(replicas)} if replicas else {"rule": "greedy", "cap": 5}
    operator = ExpertUpcycling.model_validate({**EXACT, "factor": 3, "router": router, "allocation": allocation})
    assert not list(operator.problems(inspect(FAMILIES[family], 16)))
    return rewrite(operator, inspect(FAMILIES[family], 16), seed="0", sequence_length=16)


def grown(step: Rewrite, tensors: dict[str, Tensor] | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The router's tensors before and after, by the last part of their names, in float64."""
    site = next(site for site in step.mixtures if site.layer == LAYER)
    names = [*site.router_rows, *([site.selection_bias] if site.selection_bias else [])]
    draw = torch.Generator().manual_seed(0)
    before = {
        name: torch.randn(step.source.tensors[name].shape, generator=draw, dtype=torch.float64) + 0.3 for name in names
    } | (tensors or {})
    shapes = {name: tuple(tensor.shape) for name, tensor in before.items()}
    after = {
        name: evaluate(
            step.programs[name], torch.arange(shape(step.programs[name], shapes)[0]), InMemory(before), torch.float64
        )
        for name in names
    }
    return tuple({name.rpartition(".")[2]: t for name, t in found.items()} for found in (before, after))  # pyright: ignore[reportReturnType]


def rows(router: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The router's weight before and after."""
    before, after = grown(planned(router))
    return before["weight"], after["weight"]


@pytest.mark.parametrize("init", ROUTER_INITS)
def test_originals_stay_bit_for_bit_and_copies_of_one_expert_differ(init: str) -> None:
    before, after = grown(planned({"init": init}))
    for name, tensor in before.items():
        if init != "split":  # there the mean of a pair stays, not a row of it
            assert torch.equal(after[name][~COPY], tensor)
    drawn = after["weight"] if init in DRAW else after["e_score_correction_bias"] if init == "bias_only" else None
    if drawn is not None:
        assert len(drawn.unique(dim=0)) == len(SOURCE)


@pytest.mark.parametrize("init", ROUTER_INITS)
def test_replicas_settled_late_give_the_same_router(init: str) -> None:
    early, late = planned({"init": init}), planned({"init": init}, replicas=None)
    assert bool(late.deferred_vectors)
    bound = late.bound({site.layer: REPLICAS for site in late.mixtures})
    assert not bound.deferred_vectors
    for name, program in early.programs.items():
        if "mlp.gate" in name:
            assert bound.programs[name] == program


def test_noise_has_the_deviation_that_it_states() -> None:
    weight, relative = rows({"init": "copy_noise", "noise": 0.05})
    _, absolute = rows({"init": "copy_noise", "noise": 0.05, "unit": "absolute"})
    noise = (relative - weight[SOURCE])[COPY]
    assert float(noise.std()) == pytest.approx(0.05 * float(weight.std()), rel=0.1)
    torch.testing.assert_close(noise, (absolute - weight[SOURCE])[COPY] * weight.std(correction=0))


def test_perturb_new_only_takes_its_unit_from_the_rows_that_are_copied() -> None:
    weight, new_only = rows({"init": "perturb_new_only", "noise": 0.05})
    _, of_all = rows({"init": "copy_noise", "noise": 0.05})
    ratio = weight[SOURCE][COPY].std(correction=0) / weight.std(correction=0)
    assert abs(ratio - 1) > 1e-3
    torch.testing.assert_close((new_only - weight[SOURCE])[COPY], (of_all - weight[SOURCE])[COPY] * ratio)


def test_the_rows_that_are_computed_are_those_of_the_definition() -> None:
    weight, _ = rows({"init": "copy"})
    source, mean = weight[SOURCE], weight.mean(dim=0)
    neighbour = weight[(SOURCE + torch.tensor(turn(REPLICAS))) % len(weight)]
    definitions: dict[str, tuple[dict[str, Any], Tensor]] = {
        "interpolate": ({"own": 0.7}, 0.7 * source + 0.3 * neighbour),
        "scaled_copy": ({"scale": 0.9}, 0.9 * source),
        "temperature": ({"temperature": 2.0}, source / 2),
        "adversarial": ({"strength": 0.4}, source - 0.4 * (source - mean)),
        "bias_only": ({}, source),
        "copy": ({}, source),
    }
    for init, (settings, expected) in definitions.items():
        _, found = rows({"init": init, **settings})
        torch.testing.assert_close(found[COPY], expected[COPY], msg=init)


def test_temperature_scales_a_bias_of_the_logits_and_scaled_copy_does_not() -> None:
    for init, settings, factor in (("temperature", {"temperature": 2.0}, 0.5), ("scaled_copy", {"scale": 0.5}, 1.0)):
        before, after = grown(planned({"init": init, **settings}, "gpt_oss"))
        torch.testing.assert_close(after["weight"][COPY], before["weight"][SOURCE][COPY] / 2)
        torch.testing.assert_close(after["bias"][COPY], before["bias"][SOURCE][COPY] * factor)
        selection = grown(planned({"init": init, **settings}))
        assert torch.equal(selection[1]["e_score_correction_bias"], selection[0]["e_score_correction_bias"][SOURCE])


def test_orthogonal_rows_are_orthogonal_to_their_own_source_and_as_long() -> None:
    weight, found = rows({"init": "orthogonal"})
    products = (found * weight[SOURCE]).sum(dim=1)[COPY]
    assert float(products.abs().max()) < 1e-12
    torch.testing.assert_close(found.norm(dim=1), weight[SOURCE].norm(dim=1))


def test_svd_perturb_is_small_with_its_noise_and_keeps_the_signs_of_components() -> None:
    weight, none = rows({"init": "svd_perturb", "values": 0.0, "vectors": 0.0})
    torch.testing.assert_close(none, weight[SOURCE])
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    for seed in range(4):
        program = ExpertUpcycling.model_validate({"router": {"init": "svd_perturb"}})
        step = rewrite(program, inspect(FAMILIES["deepseek_v3"], 16), seed=str(seed), sequence_length=16)
        before, after = grown(step)
        perturbed = after["weight"][1::2]
        assert torch.equal(before["weight"], weight)
        components = (u.T @ perturbed @ vh.T).diagonal() / s
        assert (components > 0.5).all(), "no component is turned round"
        assert 0.01 < float((perturbed - weight).norm() / weight.norm()) < 0.3
        assert torch.linalg.matrix_rank(perturbed) == len(weight)


def test_the_bias_gets_what_is_said_and_copies_alone() -> None:
    for family, bias in (("deepseek_v3", "e_score_correction_bias"), ("gpt_oss", "bias")):
        before, shifted = grown(planned({"init": "bias_only", "noise": 0.0, "shift": 0.25}, family))
        torch.testing.assert_close(shifted[bias], before[bias][SOURCE] + 0.25 * COPY)
        _, noisy = grown(planned({"init": "bias_only", "noise": 0.1}, family))
        _, absolute = grown(planned({"init": "bias_only", "noise": 0.1, "unit": "absolute"}, family))
        std = before[bias].std(correction=0)
        torch.testing.assert_close(noisy[bias] - before[bias][SOURCE], (absolute[bias] - before[bias][SOURCE]) * std)
        _, both = grown(planned({"init": "bias_only", "noise": 0.0, "shift": 0.25, "bias_noise": 1e-3}, family))
        uniform = both[bias] - shifted[bias]
        assert float(uniform.abs().max()) <= 1e-3
        assert ((uniform != 0) == COPY).all()


@pytest.mark.parametrize(
    ("router", "tensor"),
    [
        ({"init": "copy_noise"}, "weight"),
        ({"init": "perturb_new_only"}, "weight"),
        ({"init": "svd_perturb"}, "weight"),
        ({"init": "split"}, "weight"),
        ({"init": "bias_only"}, "e_score_correction_bias"),
    ],
)
def test_noise_in_units_of_a_constant_is_an_error(router: dict[str, Any], tensor: str) -> None:
    step = planned(router)
    site = next(site for site in step.mixtures if site.layer == LAYER)
    name = f"{site.router}.{tensor}"
    with pytest.raises(GrowcError) as caught:
        grown(step, {name: torch.zeros(step.source.tensors[name].shape, dtype=torch.float64)})
    (found,) = caught.value.diagnostics
    assert found.code == "GROW330"
    assert name in found.message
