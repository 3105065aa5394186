"""Every initialisation of experts against its definition, matrix by matrix, for uneven replicas known early or late.

gpt-oss has biases and interleaved, transposed gate and up projections; glm4_moe has plain halves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from growc.anatomy.replicas import neighbour, order, turn
from growc.diagnostics import GrowcError
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.numerics.evaluate import InMemory, evaluate
from growc.numerics.functions.sparse import sparse_code
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.operators.experts import EXPERT_INITS
from growc.programs import Expr, Init, shape
from tests.families import FAMILIES
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(2)

REPLICAS = (6, 1, 2, 3, 5, 4, 2, 1)
LAYER = 1
DRAW = {"copy_noise", "drop", "shuffle", "orthogonal", "svd_perturb", "sparse_code_mix", "random"}
"""The initialisations that draw, so that the copies of one expert differ among themselves."""
OPTIONS: dict[str, dict[str, Any]] = {
    "sparse_code_mix": {"dictionary": 24, "iterations": 20},
    "interpolate": {"own": 0.8},  # half-way, i towards j and j towards i are one
}

SOURCE = torch.tensor(order(REPLICAS))
OTHER = torch.tensor(neighbour(REPLICAS))
COPY = torch.tensor(turn(REPLICAS)) > 0

families = pytest.mark.parametrize("family", ["gpt_oss", "glm4_moe"])


def planned(experts: dict[str, Any], family: str = "gpt_oss", *, late: bool = False, seed: str = "0") -> Rewrite:
    """Growth by three with uneven replicas, or with replicas that are settled late."""
    allocation = {"rule": "greedy", "cap": 5} if late else {"rule": "explicit", "replicas": list(REPLICAS)}
    experts = OPTIONS.get(experts["init"], {}) | experts
    operator = ExpertUpcycling.model_validate({**EXACT, "factor": 3, "experts": experts, "allocation": allocation})
    assert not list(operator.problems(inspect(FAMILIES[family], 16)))
    return rewrite(operator, inspect(FAMILIES[family], 16), seed=seed, sequence_length=16)


def experts_of(step: Rewrite, programs: dict[str, Expr]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The experts' tensors of one layer, random before, and after `programs`, in float64."""
    site = next(site for site in step.mixtures if site.layer == LAYER)
    draw = torch.Generator().manual_seed(0)
    before = {
        name: torch.randn(step.source.tensors[name].shape, generator=draw, dtype=torch.float64) + 0.1
        for name in site.expert_tensors
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in before.items()}

    def whole(name: str) -> Tensor:
        rows = torch.arange(shape(programs[name], shapes)[0])
        return evaluate(programs[name], rows, InMemory(before), torch.float64)

    return before, {name: whole(name) for name in site.expert_tensors}


@cache
def _grown(how: str, family: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    step = planned(json.loads(how), family)
    before, after = experts_of(step, step.programs)
    return {n.rpartition(".")[2]: t for n, t in before.items()}, {n.rpartition(".")[2]: t for n, t in after.items()}


def grown(experts: dict[str, Any], family: str = "gpt_oss") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The expert tensors before and after, by the last part of their names."""
    return _grown(json.dumps(experts), family)


def parts(family: str, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Gate, up and down apart, as stacks of shape (experts, units, ...), with the stream last where there is one."""
    for name, tensor in tensors.items():
        if name.startswith("gate_up_proj"):
            units = tensor if name.endswith("bias") or family != "gpt_oss" else tensor.transpose(1, 2)
            pair = (units[:, ::2], units[:, 1::2]) if family == "gpt_oss" else units.chunk(2, dim=1)
            yield from zip((f"gate {name}", f"up {name}"), pair, strict=True)
        elif not name.endswith("bias"):
            yield "down", tensor if family == "gpt_oss" else tensor.transpose(1, 2)


@pytest.mark.parametrize("init", EXPERT_INITS)
def test_originals_stay_bit_for_bit_and_copies_of_one_expert_differ(init: str) -> None:
    before, after = grown({"init": init})
    for name, tensor in before.items():
        assert torch.equal(after[name][~COPY], tensor)
    weight = after["down_proj"].flatten(1)
    kinds = {"copy": len(REPLICAS), "scaled_copy": len(REPLICAS) + sum(r > 1 for r in REPLICAS)}
    assert len(weight.unique(dim=0)) == kinds.get(init, len(SOURCE))


@pytest.mark.parametrize("init", EXPERT_INITS)
def test_replicas_settled_late_give_the_same_experts(init: str) -> None:
    early, late = planned({"init": init}), planned({"init": init}, late=True)
    assert late.deferred_vectors
    bound = late.bound({site.layer: REPLICAS for site in late.mixtures})
    assert not bound.deferred_vectors
    assert bound.programs == early.programs
    assert bound.moments == early.moments


@pytest.mark.parametrize("init", EXPERT_INITS)
def test_rows_have_the_same_bytes_in_any_company_and_with_any_number_of_threads(init: str) -> None:
    step = planned({"init": init})
    before, after = experts_of(step, step.programs)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for name, whole in after.items():
            rows = torch.tensor([17, 1, 2, 23])
            assert torch.equal(evaluate(step.programs[name], rows, InMemory(before), torch.float64), whole[rows])
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@families
@pytest.mark.parametrize("fresh", ["normal", "xavier", "kaiming"])
@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_drop_draws_the_same_units_of_gate_up_and_down_anew(family: str, fresh: str, fraction: float) -> None:
    before, after = grown({"init": "drop", "fraction": fraction, "fresh": fresh}, family)
    changed = {
        name: (new != old[SOURCE]).flatten(2).any(2) if new.dim() > 2 else new != old[SOURCE]
        for (name, old), (_, new) in zip(parts(family, before), parts(family, after), strict=True)
    }
    first, *others = changed.values()
    assert all(torch.equal(first, other) for other in others)
    assert first[COPY].sum(dim=1).tolist() == [round(16 * fraction)] * int(COPY.sum())
    assert len(first[COPY].unique(dim=0)) > COPY.sum() / 2, "every copy drops units of its own"


@families
def test_what_drop_replaces_keeps_its_statistics(family: str) -> None:
    before, after = grown({"init": "drop", "fraction": 0.5}, family)
    for (name, old), (_, new) in zip(parts(family, before), parts(family, after), strict=True):
        moved = new != old[SOURCE]
        was, became = old[SOURCE][moved], new[moved]
        draws = max(1, len(became)) ** 0.5
        assert float(became.mean()) == pytest.approx(float(was.mean()), abs=6 / draws), name
        assert float(became.std()) == pytest.approx(float(was.std()), rel=6 / draws), name


@families
@pytest.mark.parametrize("fresh", ["xavier", "kaiming"])
def test_fresh_values_have_the_fans_of_the_whole_matrix(family: str, fresh: str) -> None:
    units, stream = 16, 32
    before, after = grown({"init": "drop", "fraction": 0.5, "fresh": fresh}, family)
    for (name, old), (_, new) in zip(parts(family, before), parts(family, after), strict=True):
        became = new[new != old[SOURCE]]
        fan_in = units if name == "down" else stream
        variance = 2 / (units + stream) if fresh == "xavier" else 2 / fan_in
        expected = 0.0 if "bias" in name else variance**0.5
        assert float(became.std()) == pytest.approx(expected, rel=0.05), name
        assert float(became.mean()) == pytest.approx(0, abs=0.02)


@families
def test_drop_keeps_the_moments_of_the_units_that_it_keeps(family: str) -> None:
    step = planned({"init": "drop"}, family)
    before, weights = experts_of(step, step.programs)
    firsts = {name: moments.first for name, moments in step.moments.items() if moments.first is not None}
    _, moments = experts_of(step, firsts)
    for name, old in before.items():
        shared = old[SOURCE] / torch.tensor(REPLICAS)[SOURCE].view(-1, *(1 for _ in old.shape[1:]))
        kept = weights[name] == old[SOURCE]
        torch.testing.assert_close(moments[name], shared * kept)


@families
def test_shuffle_puts_the_units_of_gate_up_and_down_in_one_order(family: str) -> None:
    before, after = grown({"init": "shuffle"}, family)
    orders: list[list[list[int]]] = []
    for (_, old), (_, new) in zip(parts(family, before), parts(family, after), strict=True):
        same = (
            (new[:, :, None] == old[SOURCE][:, None]).flatten(3).all(3)
            if new.dim() > 2
            else new[:, :, None] == old[SOURCE][:, None]
        )
        assert (same.sum(dim=2) == 1).all()
        orders.append(same.int().argmax(dim=2).tolist())
    assert all(other == orders[0] for other in orders)
    assert all(sorted(one) == list(range(16)) for one in orders[0])
    assert len({tuple(one) for one in orders[0]}) == 1 + int(COPY.sum())


@pytest.mark.parametrize("state", ["gradient", "copy", "consistent", "reset_copies", "scale"])
def test_moments_are_shuffled_with_the_weights(state: str) -> None:
    step = planned({"init": "shuffle"})
    operator = step.operator.model_copy(update={"optimizer_state": state})
    step = rewrite(operator, step.source, seed="0", sequence_length=16)
    _, weights = experts_of(step, step.programs)
    for which in ("first", "second"):
        programs = {name: getattr(moments, which) for name, moments in step.moments.items()}
        _, moments = experts_of(step, programs)
        for name, weight in weights.items():
            rows = moments[name].flatten(1)[COPY], weight.flatten(1)[COPY]
            if state == "reset_copies":
                assert not rows[0].any()
            else:
                factor = rows[0] / rows[1]
                torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))


def test_interpolate_gives_own_to_the_source_and_the_rest_to_the_next_expert() -> None:
    before, after = grown({"init": "interpolate", "own": 0.8})
    for name, old in before.items():
        expected = 0.8 * old[SOURCE] + 0.2 * old[OTHER]
        torch.testing.assert_close(after[name][COPY], expected[COPY])


@pytest.mark.parametrize("init", [init for init, cls in EXPERT_INITS.items() if cls.mixes])
def test_mixing_depends_on_the_other_expert(init: str) -> None:
    """With every other expert moved but the copied one, a copy moves: it really receives its neighbour."""
    step = planned({"init": init})
    before, after = experts_of(step, step.programs)
    for name, old in before.items():
        moved = old.clone()
        moved[1:] += torch.randn(moved[1:].shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        rows = torch.arange(1, REPLICAS[0])  # the copies of expert 0, with neighbours 1 to 5
        again = evaluate(step.programs[name], rows, InMemory({name: moved}), torch.float64)
        assert (again != after[name][rows]).flatten(1).any(dim=1).all()


@families
def test_orthogonal_matrices_are_orthogonal_to_their_source_and_as_long(family: str) -> None:
    before, after = grown({"init": "orthogonal"}, family)
    for (_, old), (_, new) in zip(parts(family, before), parts(family, after), strict=True):
        a, b = old[SOURCE][COPY].flatten(1), new[COPY].flatten(1)
        torch.testing.assert_close(b.norm(dim=1), a.norm(dim=1))
        assert ((a * b).sum(dim=1).abs() < 1e-12 * a.norm(dim=1) ** 2).all()
        assert len(b.unique(dim=0)) == len(b)


def test_scaled_copies() -> None:
    before, after = grown({"init": "scaled_copy", "scale": 0.9})
    assert all(torch.equal(after[name][COPY], 0.9 * old[SOURCE][COPY]) for name, old in before.items())


def matrices(family: str, experts: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Every matrix of a copy: of its source, and its own; gate, up and down apart, without biases."""
    before, after = grown(experts, family)
    for (_, old), (_, new) in zip(parts(family, before), parts(family, after), strict=True):
        if old.dim() > 2:
            yield from zip(old[SOURCE][COPY], new[COPY], strict=True)


@families
def test_singular_values_alone_leave_the_vectors(family: str) -> None:
    changes: list[Tensor] = []
    for old, new in matrices(family, {"init": "svd_perturb", "values": 0.1, "vectors": 0}):
        u, s, vh = torch.linalg.svd(old, full_matrices=False)
        in_old = u.T @ new @ vh.T
        torch.testing.assert_close(in_old, torch.diag(in_old.diagonal()), rtol=0, atol=1e-10)
        changes.append(in_old.diagonal() / s - 1)
    assert float(torch.cat(changes).std()) == pytest.approx(0.1, rel=0.1)


@families
def test_singular_vectors_alone_leave_the_values(family: str) -> None:
    for old, new in matrices(family, {"init": "svd_perturb", "values": 0, "vectors": 0.05}):
        before, after = torch.linalg.svdvals(old), torch.linalg.svdvals(new)
        torch.testing.assert_close(after, before)
        moved = float((new - old).norm() / old.norm())
        assert 0.02 < moved < 0.15


def test_no_noise_on_singular_vectors_is_no_change_and_dropping_lowers_the_rank() -> None:
    for old, new in matrices("gpt_oss", {"init": "svd_perturb", "values": 0, "vectors": 0}):
        torch.testing.assert_close(new, old)
    for old, new in matrices("gpt_oss", {"init": "svd_perturb", "values": 0, "vectors": 0, "drop": 0.25}):
        u, s, vh = torch.linalg.svd(old, full_matrices=False)
        torch.testing.assert_close(new, (u[:, :12] * s[:12]) @ vh[:12])


def test_the_unit_of_noise_on_singular_vectors() -> None:
    moved = {
        unit: torch.stack(
            [
                (new - old).norm() / old.norm()
                for old, new in matrices("gpt_oss", {"init": "svd_perturb", "values": 0, "vectors": 0.01, "unit": unit})
            ]
        ).mean()
        for unit in ("std", "absolute")
    }
    assert 3 < float(moved["absolute"] / moved["std"]) < 7  # entries of vectors of length 16 and 32 are 1/4 and 1/5.7


@families
def test_svd_hybrids_have_the_mean_of_the_singular_values(family: str) -> None:
    before, after = grown({"init": "svd_mix", "ratio": 0.3}, family)
    for (_, old), (_, new) in zip(parts(family, before), parts(family, after), strict=True):
        if old.dim() < 3:
            torch.testing.assert_close(new[COPY], (0.7 * old[SOURCE] + 0.3 * old[OTHER])[COPY])
            continue
        own, other, mixed = (torch.linalg.svdvals(x[COPY]) for x in (old[SOURCE], old[OTHER], new))
        torch.testing.assert_close(mixed, 0.7 * own + 0.3 * other)


RANKED: list[dict[str, Any]] = [{"init": "svd_perturb", "rank": 4}, {"init": "svd_mix", "rank": 4}]


@pytest.mark.parametrize("experts", RANKED, ids=lambda experts: experts["init"])
def test_rows_of_a_truncated_decomposition_have_the_same_bytes_in_any_company(experts: dict[str, Any]) -> None:
    step = planned(experts)
    before, after = experts_of(step, step.programs)
    for name, whole in after.items():
        rows = torch.tensor([17, 1, 2, 23])
        assert torch.equal(evaluate(step.programs[name], rows, InMemory(before), torch.float64), whole[rows])
        assert torch.equal(whole[~COPY], before[name])


@families
def test_a_rank_moves_so_many_directions_and_leaves_the_rest(family: str) -> None:
    for old, new in matrices(family, {"init": "svd_perturb", "values": 0.1, "vectors": 0, "rank": 4}):
        assert torch.linalg.matrix_rank(new - old, rtol=1e-9) == 4
    for old, new in matrices(family, {"init": "svd_perturb", "values": 0, "vectors": 0, "rank": 4}):
        torch.testing.assert_close(new, old)
    for old, new in matrices(family, {"init": "svd_perturb", "values": 0.1, "vectors": 0.05, "rank": 4}):
        assert 0.01 < float((new - old).norm() / old.norm()) < 0.3


@families
def test_hybrids_of_a_rank_lie_between_those_of_all_and_interpolation(family: str) -> None:
    """With all directions they are the exact hybrids, and with few they are close to the interpolation."""
    stacks = {
        name: torch.cat([new.flatten() for _, new in matrices(family, how)])
        for name, how in {
            "all": {"init": "svd_mix", "ratio": 0.3},
            "as many": {"init": "svd_mix", "ratio": 0.3, "rank": 16},
            "few": {"init": "svd_mix", "ratio": 0.3, "rank": 1},
            "none": {"init": "interpolate", "own": 0.7},
        }.items()
    }
    assert torch.equal(stacks["all"], stacks["as many"])
    far = (stacks["all"] - stacks["none"]).norm()
    assert 0 < float((stacks["few"] - stacks["none"]).norm()) < float(far) / 2


def test_a_rank_finds_no_smallest_singular_values_to_drop() -> None:
    with pytest.raises(ValidationError, match="drop takes the smallest"):
        EXPERT_INITS["svd_perturb"].model_validate({"init": "svd_perturb", "rank": 4, "drop": 0.25})


@pytest.mark.parametrize("init", ["svd_mix", "interpolate"])
def test_a_mixture_of_equal_experts_is_that_expert(init: str) -> None:
    step = planned({"init": init})
    before, _ = experts_of(step, step.programs)
    for name, old in before.items():
        alike = InMemory({name: old[:1].expand_as(old)})
        new = evaluate(step.programs[name], torch.arange(24), alike, torch.float64)
        torch.testing.assert_close(new, old[:1].expand_as(new))


def test_svd_hybrids_do_not_depend_on_which_way_round_vectors_are_found() -> None:
    """W and -W have the same U and V but for signs, and a hybrid of -W and -X is minus that of W and X."""
    step = planned({"init": "svd_mix"})
    before, after = experts_of(step, step.programs)
    for name, old in before.items():
        new = evaluate(step.programs[name], torch.arange(24), InMemory({name: -old}), torch.float64)
        torch.testing.assert_close(new, -after[name])


@pytest.mark.slow
@settings(max_examples=20)
@example(atoms=19, sparsity=0.0625, seed=71)  # 1,500 iterations are too few for these
@given(atoms=st.integers(4, 40), sparsity=st.floats(0.05, 0.9), seed=st.integers(0, 10**6))
def test_sparse_codes_satisfy_the_conditions_of_a_minimum(atoms: int, sparsity: float, seed: int) -> None:
    """Where a code is not zero, the residual's product with the atom is the penalty; elsewhere it is below it."""
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randn(3, 12, generator=draw, dtype=torch.float64)
    dictionary = torch.randn(atoms, 12, generator=draw, dtype=torch.float64)
    dictionary /= dictionary.norm(dim=1, keepdim=True)
    penalty = sparsity * (vectors @ dictionary.T).abs().amax(dim=1, keepdim=True)
    codes = sparse_code(vectors, dictionary, sparsity, 10_000)
    against = (vectors - codes @ dictionary) @ dictionary.T
    assert (against.abs() <= penalty * 1.01).all()
    used = codes.abs() > 1e-3
    assert ((against * codes.sign())[used] >= (0.99 * penalty).expand_as(codes)[used]).all()
    objective = [
        0.5 * (vectors - c @ dictionary).square().sum(1) + penalty[:, 0] * c.abs().sum(1)
        for c in (torch.zeros_like(codes), sparse_code(vectors, dictionary, sparsity, 5), codes)
    ]
    assert (objective[0] >= objective[1]).all()
    assert (objective[1] >= objective[2] - 1e-12).all()


def test_an_overcomplete_dictionary_loses_little_and_a_small_one_much() -> None:
    errors: dict[int, float] = {}
    for atoms in (8, 128):
        how = {"mix": 1e-9, "dictionary": atoms, "sparsity": 0.01, "iterations": 200}
        old, new = next(matrices("glm4_moe", {"init": "sparse_code_mix", **how}))
        errors[atoms] = float((new - old).norm() / old.norm())
    assert errors[128] < 0.05
    assert errors[8] > 0.5


@pytest.mark.parametrize("init", [init for init, cls in EXPERT_INITS.items() if not cls.by_units])
def test_without_units_the_rest_still_works(init: str) -> None:
    assert not list(problems(init, units=()))


@pytest.mark.parametrize("init", [init for init, cls in EXPERT_INITS.items() if cls.by_units])
def test_what_needs_units_refuses_experts_that_have_none(init: str) -> None:
    (problem,) = problems(init, units=())
    assert problem.code == "GROW332"
    assert problem.where == ("experts", "init")
    named = problem.help.partition(": ")[2].split(", ")
    assert {n for n, cls in EXPERT_INITS.items() if not cls.by_units} - {"random"} == set(named)


@pytest.mark.parametrize("init", EXPERT_INITS)
def test_mixing_refuses_a_layer_of_one_expert(init: str) -> None:
    codes = [problem.code for problem in problems(init, num_experts=1)]
    assert codes == (["GROW333"] if EXPERT_INITS[init].mixes else [])


def problems(init: str, **changes: Any) -> Iterator[Any]:
    site = replace(inspect(FAMILIES["gpt_oss"], 16).moe[0], **changes)
    return EXPERT_INITS[init].model_validate({"init": init}).problems(site)


@pytest.mark.parametrize("init", ["svd_perturb", "svd_mix"])
def test_weights_that_have_no_decomposition_are_told(init: str) -> None:
    step = planned({"init": init})
    before, _ = experts_of(step, step.programs)
    name = next(name for name in before if name.endswith("down_proj"))
    before[name][0, 0, 0] = torch.nan
    with pytest.raises(GrowcError) as caught:
        evaluate(step.programs[name], torch.arange(24), InMemory(before), torch.float64)
    assert "GROW334" in str(caught.value)
    assert name in str(caught.value)


def test_another_seed_draws_otherwise_and_zero_moments_are_no_draw() -> None:
    for init in EXPERT_INITS:
        first, second = planned({"init": init}), planned({"init": init}, seed="1")
        site = first.mixtures[0]
        differs = any(first.programs[name] != second.programs[name] for name in site.expert_tensors)
        assert differs == (init in DRAW)
        assert all(not isinstance(m.first, Init) or m.first.distribution == "zeros" for m in first.moments.values())


@given(st.lists(st.integers(1, 9), min_size=2, max_size=9))
def test_a_neighbour_is_another_expert(replicas: list[int]) -> None:
    own, others, turns = order(tuple(replicas)), neighbour(tuple(replicas)), turn(tuple(replicas))
    for i, j, c in zip(own, others, turns, strict=True):
        assert (i == j) == (c == 0)
        if 0 < c < len(replicas):
            assert j == (i + c) % len(replicas)
