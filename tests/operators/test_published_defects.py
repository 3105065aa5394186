"""Defects of the published code for Expert Upcycling, each shown to be absent here.

B1 to B13 are faults of the code beside arXiv 2604.19835, found by reading it. A test per defect, named after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from growc.anatomy.matches import RouterRows, SelectionBias
from growc.anatomy.replicas import VECTORS, order, turn
from growc.anatomy.sites import MoeSite
from growc.checkpoint.training import State
from growc.checks.twin import grow_twin
from growc.diagnostics import GrowcError
from growc.engine.distribute import build_model, local, named_state
from growc.engine.layout import Layout
from growc.engine.optimizer import build_optimizer, get_state, set_rate, set_state
from growc.growth.rewrite import Rewrite, rewrite
from growc.measures.calibration import Parent
from growc.model import inspect
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import operator, routers
from growc.operators.allocation import Greedy, allocate
from growc.operators.facets import measure_of, replicas_of
from growc.operators.initialisation import Slots
from growc.programs import Source, Take, shape
from growc.run import grow as growing
from growc.run.state import load_state, save_state
from growc.spec import load
from growc.spec.schema import AdamW
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import BIASED_ROUTERS, EXACT
from tests.run import tiny

pytestmark = pytest.mark.share(3)

ADAM = AdamW(name="adamw", lr=1e-2, beta1=0.9, beta2=0.95, weight_decay=0.1)
LENGTH = 32


def _planned(**settings: Any) -> Rewrite:
    grows = operator("expert_upcycling").model_validate(EXACT | settings)
    return rewrite(grows, inspect(FAMILIES["glm4_moe"], LENGTH), seed="0", sequence_length=LENGTH)


def _trained(steps: int) -> tuple[Any, State]:
    """A model with random weights and the state of an optimizer that took `steps` random steps."""
    place = Layout(1, 1)
    model = build_model(FAMILIES["glm4_moe"], place, torch.device("cpu"), 0)
    generator = torch.Generator().manual_seed(0)
    named = dict(model.named_parameters())
    with torch.no_grad():
        for tensor in named_state(model).values():
            local(tensor).copy_(torch.randn(tensor.shape, generator=generator) / 4)
    optimizer = build_optimizer(ADAM, named)
    for _ in range(steps):
        for parameter in named.values():
            parameter.grad = torch.zeros_like(parameter)
            local(parameter.grad).copy_(torch.randn(parameter.shape, generator=generator))
        optimizer.step()
    return model, get_state(optimizer, named)


@pytest.mark.parametrize("kind", ["gradient", "consistent", "copy", "reset_copies", "scale"])
def test_b8_grown_tensors_are_in_the_optimizer_of_the_next_stage(alone: None, tmp_path: Path, kind: str) -> None:
    """B8: new tensors in groups of their own, with default rates and outside the schedule; states never saved."""
    model, state = _trained(5)
    planned = _planned(optimizer_state=kind)
    windows: Any = None
    place = growing.Place(Layout(1, 1), torch.device("cpu"), "fp32", 0, windows)
    decision = growing.Decision(
        "expert_upcycling", {s.layer: replicas_of(planned.operator, s) for s in planned.mixtures}
    )
    grown, _, moments = growing.apply(planned, decision, [Parent(model, state)], place)
    named: dict[str, nn.Parameter] = dict(grown.named_parameters())
    assert moments.keys() == named.keys()
    assert all(m.shape == named[n].shape for n, entry in moments.items() for k, m in entry.items() if k != "step")

    save_state(tmp_path / "state", grown, moments, key="k", node="n", step=0, tokens=0)
    _, loaded = load_state(tmp_path / "state", grown)
    for name, entry in moments.items():
        assert entry.keys() == loaded[name].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(local(entry[kind]), local(loaded[name][kind])) for kind in entry)

    optimizer = build_optimizer(ADAM, named)
    set_state(optimizer, named, loaded)
    set_rate(optimizer, 0.25)
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    assert groups.keys() == set(named.values())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(named)
    for name, parameter in named.items():
        assert groups[parameter]["lr"] == 0.25
        assert groups[parameter]["weight_decay"] == (0.1 if parameter.dim() > 1 else 0)
        assert float(optimizer.state[parameter]["step"]) == 5, name


def _gradients(kind: str, replicas: int, generator: torch.Generator) -> Iterator[Tensor]:
    """What a copy gets in the case that `kind` is made for, where its source gets unit normal noise around 0.3."""
    while True:
        drawn = 0.3 + torch.randn(4000, generator=generator, dtype=torch.float64)
        match kind:
            case "gradient":  # every sibling has an equal share of every token
                yield drawn / replicas
            case "consistent":  # a token goes to one sibling
                yield drawn * (torch.rand(4000, generator=generator) < 1 / replicas)
            case _:  # every sibling sees what its source saw
                yield drawn


def _adam(moments: dict[str, Tensor], beta2: float, gradients: Iterator[Tensor], steps: int) -> tuple[Tensor, Any]:
    """The last of `steps` updates of Adam that starts with `moments`, and the state after it."""
    parameter = nn.Parameter(torch.zeros(4000, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=1.0, betas=(0.9, beta2), eps=0)
    optimizer.state[parameter] = {name: value.clone() for name, value in moments.items()}
    before = parameter.detach().clone()
    for _ in range(steps):
        before = parameter.detach().clone()
        parameter.grad = next(gradients)
        optimizer.step()
    return parameter.detach() - before, optimizer.state[parameter]


@pytest.mark.parametrize("beta2", [0.95, 0.999])
@pytest.mark.parametrize("kind", ["gradient", "consistent", "copy"])
def test_b9_the_first_update_after_growth_has_the_size_of_the_later_ones(kind: str, beta2: float) -> None:
    """B9: a step count of zero beside live moments makes the first update 1.7 or 0.25 times as large."""
    generator, r = torch.Generator().manual_seed(0), 3
    zero = torch.zeros(4000, dtype=torch.float64)
    start = {"step": torch.tensor(0.0), "exp_avg": zero, "exp_avg_sq": zero}
    _, trained = _adam(start, beta2, _gradients("copy", r, generator), 1000)

    planned = _planned(factor=r, optimizer_state=kind)
    name = planned.mixtures[0].expert_tensors[0]
    programs, sources = planned.moments[name], {k: trained[k].expand(8, -1) for k in ("exp_avg", "exp_avg_sq")}
    assert programs.keep_step
    assert programs.first is not None
    assert programs.second is not None
    copy = torch.tensor([1])
    grown = {
        "step": trained["step"],
        "exp_avg": evaluate(programs.first, copy, InMemory({name: sources["exp_avg"]}), torch.float64)[0],
        "exp_avg_sq": evaluate(programs.second, copy, InMemory({name: sources["exp_avg_sq"]}), torch.float64)[0],
    }
    first, _ = _adam(grown, beta2, _gradients(kind, r, generator), 1)
    steady, _ = _adam(grown, beta2, _gradients(kind, r, generator), 1000)
    naive, _ = _adam(grown | {"step": torch.tensor(0.0)}, beta2, _gradients(kind, r, generator), 1)
    assert float(first.mean() / steady.mean()) == pytest.approx(1, abs=0.1)
    blown_up = 1 / (1 - 0.9) * ((1 - beta2) / (1 - beta2**1001)) ** 0.5  # the bias corrections of a first step
    assert float(naive.mean() / first.mean()) == pytest.approx(blown_up, rel=0.02)


def test_b9_a_zero_step_beside_live_moments_is_refused() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer(ADAM, {"w": parameter})
    live = {"step": torch.tensor(0.0), "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}
    with pytest.raises(AssertionError, match="zero step"):
        set_state(optimizer, {"w": parameter}, {"w": live})


def test_b9_moments_are_interpolated_as_the_weights_are() -> None:
    planned = _planned(optimizer_state="interpolate", experts={"init": "interpolate", "own": 0.75})
    name = planned.mixtures[0].expert_tensors[0]
    moments = planned.moments[name]
    state = torch.rand(planned.source.tensors[name].shape, dtype=torch.float64)
    assert moments.keep_step
    for program in (moments.first, moments.second):
        assert program is not None
        grown = evaluate(program, torch.arange(16), InMemory({name: state}), torch.float64)
        assert torch.equal(grown[0::2], state)
        torch.testing.assert_close(grown[1::2], 0.75 * state + 0.25 * state.roll(-1, 0))
    row = planned.moments[planned.mixtures[0].router_rows[0]]
    assert row.first == row.second == Take(Source(planned.mixtures[0].router_rows[0]), (*(i // 2 for i in range(16)),))


def test_b9_moments_are_not_interpolated_where_the_weights_are_not() -> None:
    """B9: the published `interpolate` silently resets unless the weights are interpolated too."""
    grows = operator("expert_upcycling").model_validate({"optimizer_state": "interpolate"})
    problems = list(grows.problems(inspect(FAMILIES["glm4_moe"], LENGTH)))
    assert [problem.code for problem in problems] == ["GROW320"]
    assert problems[0].where == ("optimizer_state",)


def _growth(family: str, **settings: Any) -> Rewrite:
    grows = operator("expert_upcycling").model_validate(settings)
    assert not list(grows.problems(inspect(FAMILIES[family], LENGTH)))
    return rewrite(grows, inspect(FAMILIES[family], LENGTH), seed="0", sequence_length=LENGTH)


def _drawn(step: Rewrite, names: Iterable[str]) -> dict[str, Tensor]:
    """Random tensors of the source, in float64."""
    draw = torch.Generator().manual_seed(0)
    return {n: torch.randn(step.source.tensors[n].shape, generator=draw, dtype=torch.float64) for n in names}


def _grown(step: Rewrite, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What becomes of tensors of one layer."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    rows = {name: torch.arange(shape(step.programs[name], shapes)[0]) for name in tensors}
    return {n: evaluate(step.programs[n], rows[n], InMemory(tensors), torch.float64) for n in tensors}


def test_b1_a_score_has_one_name_and_the_best_is_the_default(tmp_path: Path) -> None:
    """B1: the value that the README shows is none that the code knows, and the default is not the paper's best."""
    rule = measure_of(_growth("mixtral", allocation={"rule": "greedy"}).operator)
    assert isinstance(rule, Greedy)
    assert rule.score == "gradient_squared"
    grow = {"op": "expert_upcycling", **EXACT, "allocation": {"rule": "greedy", "score": "gradient_norm"}}
    spec = {"growth": 1, "name": "b1", "model": {"config": FAMILIES["mixtral"]}}
    path = tmp_path / "b1.growth.yaml"
    path.write_text(json.dumps(spec | {"stages": [{"name": "upcycle", "grow": [grow]}]}), encoding="utf-8")
    with pytest.raises(GrowcError) as caught:
        load(path)
    (found,) = caught.value.diagnostics
    assert "gradient_norm" in found.message
    assert "gradient_squared" in found.message + found.help
    assert found.span is not None


@pytest.mark.parametrize("init", ["svd_mix", "sparse_code_mix"])
@pytest.mark.parametrize("late", [False, True])
def test_b2_what_mixes_two_experts_gets_two(init: str, late: bool) -> None:
    """B2: mixing initialisations never receive another expert; one perturbs a copy instead, the other re-encodes it."""
    replicas = (4, 1, 2, 1, 1, 3, 3, 1)
    rule = {"rule": "greedy"} if late else {"rule": "explicit", "replicas": list(replicas)}
    ratio = "ratio" if init == "svd_mix" else "mix"
    more = {} if init == "svd_mix" else {"dictionary": 64, "iterations": 20}  # four times as many atoms as units
    found: list[Tensor] = []
    for share in (0.2, 0.5):
        step = _growth("glm4_moe", allocation=rule, experts={"init": init, ratio: share, **more})
        step = step.bound({site.layer: replicas for site in step.mixtures}) if late else step
        name = step.mixtures[0].expert_tensors[0]
        weights = _drawn(step, [name])
        found.append(_grown(step, weights)[name])
        for slot, (expert, copy) in enumerate(zip(order(replicas), turn(replicas), strict=True)):
            for other in range(8):
                changed = weights[name].clone()
                changed[other] *= -1.5
                row = evaluate(step.programs[name], torch.tensor([slot]), InMemory({name: changed}), torch.float64)[0]
                reads = {expert, (expert + copy) % 8}
                assert bool((row != found[-1][slot]).any()) == (other in reads), (slot, other)
    copies = torch.tensor(turn(replicas)) > 0
    assert (found[0] != found[1])[copies].flatten(1).any(dim=1).all(), "the share of the other expert counts"


@pytest.mark.parametrize("init", ["orthogonal", "adversarial", "interpolate"])
def test_b3_a_row_is_made_from_its_own_source_whatever_was_chosen(init: str) -> None:
    """B3: the map from copies to sources is inverted, and wrong as soon as utility chooses."""
    step = _growth("mixtral", allocation={"rule": "greedy", "cap": 3}, router={"init": init}, routing="free")
    replicas = allocate(Greedy(rule="greedy", cap=3), (0.0, 3.0, 1.0, 2.0, 9.0, 5.0, 4.0, 0.5), 2)
    assert replicas == (1, 1, 1, 1, 4, 4, 3, 1)
    step = step.bound({site.layer: replicas for site in step.mixtures})
    (name,) = step.mixtures[0].router_rows
    weight = _drawn(step, [name])[name]
    found = _grown(step, {name: weight})[name]
    for slot, (expert, copy) in enumerate(zip(order(replicas), turn(replicas), strict=True)):
        row, grown = weight[expert], found[slot]
        if not copy:
            assert torch.equal(grown, row)
        elif init == "orthogonal":
            assert abs(float(grown @ row)) < 1e-12
            assert float(grown.norm()) == pytest.approx(float(row.norm()))
        else:
            toward = weight.mean(dim=0) if init == "adversarial" else weight[(expert + copy) % len(weight)]
            share = 0.1 if init == "adversarial" else 0.5
            torch.testing.assert_close(grown, row + share * (toward - row))


def test_b4_noise_on_the_bias_is_absolute_and_never_silently_none() -> None:
    """B4: bias noise is relative alone, so a zero bias gets none; U(-1e-3, 1e-3) of the paper does not exist."""
    step = _growth("deepseek_v3", router={"init": "copy", "bias_noise": 1e-3})
    name = step.mixtures[0].selection_bias
    assert name is not None
    zero = {name: torch.zeros(8, dtype=torch.float64)}
    noise = _grown(step, zero)[name]
    assert not noise[::2].any()
    assert ((noise[1::2] != 0) & (noise[1::2].abs() < 1e-3)).all()
    assert len(noise[1::2].unique()) == 8
    with pytest.raises(GrowcError) as caught:
        _grown(_growth("deepseek_v3", router={"init": "bias_only", "noise": 0.1}), zero)
    assert [found.code for found in caught.value.diagnostics] == ["GROW330"]
    absolute = _growth("deepseek_v3", router={"init": "bias_only", "noise": 0.1, "unit": "absolute"})
    assert (_grown(absolute, zero)[name][1::2] != 0).all()


def test_b5_a_selection_bias_is_copied_beside_a_bias_of_the_logits() -> None:
    """B5: with both, copies get a selection bias of zero; the one that decides is the one that gets the noise."""
    router = routers.CopyNoise(init="copy_noise", bias_noise=1e-3)
    graph = inspect(FAMILIES["gpt_oss"], LENGTH)
    site = replace(graph.moe[0], selection_bias="selection")
    replicas = (2,) * 8
    bias = {"logits": torch.arange(8.0, dtype=torch.float64), "selection": 10 + torch.arange(8.0, dtype=torch.float64)}

    def grown(name: str, both: bool) -> Tensor:
        of = site if both else replace(site, selection_bias=None)
        kinds = {
            "logits": RouterRows(name, (16,), graph, 1, of, ()),
            "selection": SelectionBias(name, (16,), graph, 1, of),
        }
        slots = Slots(kinds[name], 16, lambda vector: VECTORS[vector](replicas))
        return evaluate(router.program(slots), torch.arange(16), InMemory(bias), torch.float64)

    assert torch.equal(grown("logits", both=True), bias["logits"].repeat_interleave(2))
    for name, both in (("selection", True), ("logits", False)):
        found, source = grown(name, both), bias[name]
        assert torch.equal(found[::2], source)
        assert ((found[1::2] != source) & ((found[1::2] - source).abs() < 1e-3)).all()


@pytest.mark.slow
def test_b6_all_ranks_choose_the_same_sources_and_write_the_same_bytes(tmp_path: Path) -> None:
    """B6: no collective anywhere, so that ranks score their own shards and may disagree on who is copied."""
    allocation = {"rule": "greedy", "cap": 3, "over": "fc1", "batches": 2}
    grow = {"op": "expert_upcycling", **EXACT, "allocation": allocation, "router": {"init": "svd_perturb"}}
    path = tiny.spec(tmp_path, stages=[{"name": "upcycle", "grow": [grow]}])
    tiny.run(path, tmp_path / "one", 1)
    tiny.run(path, tmp_path / "two", 2, "parallel.ep=2")
    decided = _replicas(tmp_path / "one")
    assert decided == _replicas(tmp_path / "two")
    assert max(max(replicas) for replicas in decided.values()) == 4
    one, two = (tiny.tensors(tmp_path / run / "stages/upcycle/checkpoint/training") for run in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def _replicas(run_dir: Path) -> dict[str, list[int]]:
    lines = map(json.loads, (run_dir / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    (decision,) = [line for line in lines if line["event"] == "decision"]
    return decision["replicas"]


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7])
def test_b7_a_factor_is_what_it_says(factor: int) -> None:
    """B7: the factor is rounded to a power of two."""
    step = _growth("mixtral", factor=factor)
    assert step.grown.config["num_local_experts"] == 8 * factor
    name = step.mixtures[0].expert_tensors[0]
    source = {name: _drawn(step, [name])[name]}
    assert torch.equal(_grown(step, source)[name], source[name].repeat_interleave(factor, dim=0))
    assert sum(allocate(Greedy(rule="greedy", cap=factor), tuple(map(float, range(8))), factor)) == 8 * factor


def test_b7_a_factor_that_is_no_integer_is_refused() -> None:
    for wrong in (1.5, 1, 0, "3"):
        with pytest.raises(ValueError, match="factor"):
            operator("expert_upcycling").model_validate({"factor": wrong}, strict=True)


@pytest.mark.parametrize("score", ["gradient_squared", "saliency"])
def test_b7_the_second_growth_scores_fresh_copies_by_their_own_gradients(alone: None, score: str) -> None:
    """B7: a second doubling in one call scores copies that have no gradient: 0, or a weight norm among products."""
    model, _ = _trained(0)
    ids = [torch.randint(256, (16, LENGTH + 1), generator=torch.Generator().manual_seed(i)) for i in range(2)]
    windows: Any = None
    place = growing.Place(Layout(1, 1), torch.device("cpu"), "fp32", 0, windows)
    allocation = {"rule": "greedy", "score": score, "cap": 3, "batches": 2}
    planned = _planned(allocation=allocation)
    decision = growing.decide(planned, [Parent(model, {})], lambda _: ids, place)
    grown, graph, state = growing.apply(planned, decision, [Parent(model, {})], place)
    again = growing.replan(planned, graph)
    second = growing.decide(again, [Parent(grown, state)], lambda _: ids, place)
    for layer, scores in second.scores.items():
        before, siblings = decision.scores[layer], order(decision.replicas[layer])
        copied = [expert for expert, r in enumerate(decision.replicas[layer]) if r > 1]
        assert copied
        for expert in copied:
            of = [s for s, source in zip(scores, siblings, strict=True) if source == expert]
            assert min(of) > 0
            # Their gradients add up to their source's, so none is as large as it and not all are small.
            power = 2 if score == "gradient_squared" else 1
            assert max(of) ** (1 / power) >= before[expert] ** (1 / power) / len(of) * 0.5
            assert max(of) < before[expert] * 2
        for slot, expert in enumerate(siblings):
            if expert not in copied:
                assert scores[slot] == pytest.approx(before[expert], rel=1e-3)
        assert sum(second.replicas[layer]) == 32


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_b12_every_tensor_of_an_expert_is_copied_biases_included(family: str) -> None:
    """B12: one class of experts is known, its biases are left behind, and routers of others grow all the same."""
    step = _growth(family, factor=3)
    moved: set[str] = set()
    for site in step.mixtures:
        inside = {name for name in step.source.tensors if name.startswith(f"{site.experts}.")}
        assert inside == set(site.expert_tensors)
        assert all(step.grown.tensors[name].shape[0] == 24 for name in (*inside, *site.router_rows))
        moved |= inside
    source = _drawn(step, moved)
    for name, tensor in _grown(step, source).items():
        assert torch.equal(tensor, source[name].repeat_interleave(3, dim=0)), name
    assert any("bias" in name for name in moved) == (family == "gpt_oss")


@pytest.mark.parametrize("family", MOE_FAMILIES)
@pytest.mark.parametrize("router", [{"bias_noise": 1e-3}, {"init": "bias_only"}, {"init": "copy", "bias_noise": 1e-3}])
def test_b13_a_bias_that_the_family_cannot_carry_is_a_diagnostic(family: str, router: dict[str, Any]) -> None:
    """B13: the bias is used where the router has none: a plain copy without a word, or a refusal of the trainer."""
    grows = operator("expert_upcycling").model_validate({"router": router})
    problems = list(grows.problems(inspect(FAMILIES[family], LENGTH)))
    if family in BIASED_ROUTERS:
        assert not problems
        return
    assert {problem.code for problem in problems} == {"GROW305"}
    assert all(problem.help for problem in problems)
    assert {problem.where for problem in problems} == {("router", "bias_noise" if "bias_noise" in router else "init")}


@pytest.mark.parametrize("family", ["glm4_moe", "gpt_oss"])
def test_b10_drop_and_shuffle_take_whole_units(family: str) -> None:
    """B10: they act on the last dimension of every matrix by itself, which is the stream's for the first of them."""
    for init in ("shuffle", "drop"):
        grows = operator("expert_upcycling").model_validate({"experts": {"init": init}})
        grown = grow_twin(inspect(FAMILIES[family], LENGTH), [grows], 0)
        site = grown.steps[0].rewrite.mixtures[0]
        down = next(unit for unit in site.units if unit.down)
        before, after = (model.get_parameter(down.tensor).data for model in (grown.source, grown.grown))
        if init == "drop":  # without the units that were drawn anew, a copy computes what its source does without them
            kept = (after[1] == before[0]).all(dim=1 - down.dim)
            assert int(kept.sum()) == 8
            mask = kept.unsqueeze(1 - down.dim)
            assert not torch.allclose(_expert(grown.grown, site, 1), _expert(grown.source, site, 0))
            before[0] *= mask
            after[1] *= mask
        torch.testing.assert_close(_expert(grown.grown, site, 1), _expert(grown.source, site, 0))


def _expert(model: nn.Module, site: MoeSite, number: int) -> Tensor:
    """What one expert makes of random tokens, of shape (tokens, hidden)."""
    hidden = model.get_parameter(site.router_rows[0]).shape[1]
    tokens = torch.randn(6, hidden, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return model.get_submodule(site.experts)(tokens, torch.full((6, 1), number), torch.ones(6, 1).double())


@pytest.mark.parametrize(("fresh", "variance"), [("xavier", 2 / (32 + 16)), ("kaiming", 2 / 32)])
def test_b10_fresh_values_have_the_fan_of_the_matrix_not_of_what_is_replaced(fresh: str, variance: float) -> None:
    """B10: the fan is that of the slice, so the values are too large."""
    step = _growth("glm4_moe", experts={"init": "drop", "fresh": fresh, "fraction": 0.25})
    name = step.mixtures[0].expert_tensors[0]  # gate and up: from a stream of 32 to 16 units
    weights = _drawn(step, [name])
    copies, sources = _grown(step, weights)[name][1::2], weights[name]
    drawn = copies[copies != sources]
    assert len(drawn) == 8 * 2 * 4 * 32
    assert float(drawn.std()) == pytest.approx(variance**0.5, rel=0.05)


def test_b10_orthogonal_is_orthogonal_to_its_source() -> None:
    """B10: it is an orthonormal basis of the source's own columns."""
    step = _growth("glm4_moe", experts={"init": "orthogonal"})
    weights = _drawn(step, step.mixtures[0].expert_tensors)
    grown = _grown(step, weights)
    for name, source in weights.items():
        a, b = source.flatten(1), grown[name][1::2].flatten(1)
        assert float(torch.cosine_similarity(a, b).abs().max()) < 1e-12
    down = step.mixtures[0].expert_tensors[1]  # (stream 32, units 16): its columns span half of the stream
    basis = torch.linalg.svd(weights[down][0], full_matrices=False)[0]
    assert not torch.allclose(basis @ basis.T @ grown[down][1], grown[down][1])


def test_b11_interpolation_goes_the_way_that_it_says() -> None:
    """B11: the paper's alpha is the share of the expert itself, the code's that of the next one."""
    step = _growth("glm4_moe", experts={"init": "interpolate", "own": 0.8}, factor=3)
    name = step.mixtures[0].expert_tensors[0]
    weights = _drawn(step, [name])
    found, source = _grown(step, weights)[name], weights[name]
    for expert in range(8):
        assert torch.equal(found[3 * expert], source[expert])
        for copy in (1, 2):
            expected = 0.8 * source[expert] + 0.2 * source[(expert + copy) % 8]
            torch.testing.assert_close(found[3 * expert + copy], expected)
