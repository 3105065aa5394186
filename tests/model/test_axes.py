"""Axes: what a config field moves is what really moves, and it says which field to write."""

from __future__ import annotations

import pytest

from growc.anatomy.model_graph import ModelGraph
from growc.model import axes, inspect
from growc.model.build import build_meta, load_config
from tests.families import FAMILIES, MOE_FAMILIES

pytestmark = pytest.mark.share(3)

EXPERT_FIELDS = {"olmoe": "num_experts"} | dict.fromkeys(
    ("deepseek_v3", "deepseek_v3_groups", "glm4_moe"), "n_routed_experts"
)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_field_that_sets_the_number_of_experts(family: str) -> None:
    found = inspect(FAMILIES[family], 64).expert_field
    assert found == (EXPERT_FIELDS.get(family, "num_local_experts") if family in MOE_FAMILIES else None)


@pytest.mark.parametrize("family", FAMILIES)
def test_predicted_shapes_are_those_of_a_rebuilt_model(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    for axis in graph.axes:
        if axis.structural or (family, axis.field) == ("olmoe", "num_attention_heads"):
            continue
        changed = load_config({**graph.config, axis.field: 2 * axis.size})
        rebuilt = {name: tuple(t.shape) for name, t in build_meta(changed).state_dict().items()}
        for name, shape in predicted(graph, axis).items():
            assert rebuilt[name] == shape, axis.field


def predicted(graph: ModelGraph, axis: axes.Axis) -> dict[str, tuple[int, ...]]:
    """Shapes after the axis' field has doubled."""
    shapes = {name: list(tensor.shape) for name, tensor in graph.tensors.items()}
    for d in axis.dims:
        if d.tensor not in graph.tied:
            shapes[d.tensor][d.dim] += round(d.factor * axis.size)
    return {name: tuple(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_dimension_belongs_to_a_field(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    for tensor in graph.tensors.values():
        for dim in range(len(tensor.shape)):
            assert graph.fields_of(tensor.name, dim), (tensor.name, dim)


@pytest.mark.parametrize("family", ["deepseek_v3", "llama4_text", "gpt_oss", "qwen3_moe"])
def test_a_few_layers_stand_for_all_of_their_kind(family: str) -> None:
    deep: dict[str, object] = {"num_hidden_layers": 6}
    if family == "gpt_oss":
        deep["layer_types"] = ["sliding_attention", "full_attention"] * 3
    graph = inspect({**FAMILIES[family], **deep}, 64)
    assert graph.layers == 6
    config = load_config(graph.config)
    whole = axes.find(config, build_meta(config), graph.blocks, axes.Depth(None, ()))
    assert {(a.field, frozenset(a.dims)) for a in whole if a.dims and a.field != "num_hidden_layers"} == {
        (a.field, frozenset(a.dims)) for a in graph.axes if a.dims
    }


def test_depth_is_told_with_its_lists() -> None:
    graph = inspect(FAMILIES["gpt_oss"], 64)
    assert (graph.layers_field, graph.layer_lists) == ("num_hidden_layers", ("layer_types",))
    assert inspect(FAMILIES["gpt2"], 64).layers_field == "n_layer"


@pytest.mark.parametrize(
    ("family", "pinned"), [("mixtral", True), ("granitemoe", True), ("olmoe", False), ("gpt2", False)]
)
def test_the_width_of_heads_is_made_explicit_where_the_model_can_do_with_another(family: str, pinned: bool) -> None:
    implicit = {key: value for key, value in FAMILIES[family].items() if key != "head_dim"}
    graph = inspect(implicit, 64)
    assert (graph.config.get("head_dim") == 8) == pinned
    moved = {
        d.dim
        for axis in graph.axes
        if axis.field in ("hidden_size", "n_embd")
        for d in axis.dims
        if "q_proj" in d.tensor
    }
    assert moved == ({1} if pinned else {0, 1} if family == "olmoe" else set())


def test_a_field_that_changes_which_tensors_exist_is_structural() -> None:
    structural = {axis.field for axis in inspect(FAMILIES["deepseek_v3"], 64).axes if axis.structural}
    assert structural == {"first_k_dense_replace"}
