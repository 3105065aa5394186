"""The model graph as a whole: plain data, cached by content, the same for every dtype."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.model import inspect
from growc.model.build import load_config
from tests.families import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_are_the_state_that_a_checkpoint_holds(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    model = AutoModelForCausalLM.from_config(load_config(FAMILIES[family]), dtype=torch.float32)
    state = model.state_dict()
    assert [*graph.tensors, *graph.tied] == sorted(state, key=[*graph.tensors, *graph.tied].index)
    assert all(tuple(state[name].shape) == info.shape for name, info in graph.tensors.items())
    assert all(state[name].data_ptr() == state[first].data_ptr() for name, first in graph.tied.items())
    parameters = {name for name, _ in model.named_parameters()}
    assert {name for name, info in graph.tensors.items() if info.kind == "parameter"} == parameters


def test_tied_embeddings_come_once() -> None:
    assert inspect(FAMILIES["granitemoe"], 64).tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert inspect(FAMILIES["mixtral"], 64).tied == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_is_plain_data(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    assert pickle.loads(pickle.dumps(graph)) == graph
    assert json.loads(json.dumps(dict(graph.config))) == graph.config
    assert b"torch" not in pickle.dumps(graph)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_canonical_config_describes_the_same_model(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    again = inspect(graph.config, 64)
    assert again == graph


def test_equal_configs_are_traced_once() -> None:
    first = inspect(FAMILIES["llama"], 64)
    shuffled = dict(reversed(FAMILIES["llama"].items()))
    assert inspect({**shuffled, "dtype": "float16", "transformers_version": "4.0"}, 128).tensors is first.tensors
    assert inspect(FAMILIES["llama"], 128).cost.sequence_length == 128


def test_a_grown_config_is_inspected_like_any_other() -> None:
    source = inspect(FAMILIES["deepseek_v3"], 64)
    last = source.moe[-1]
    layers = {str(last.layer): {"n_routed_experts": 16, "router": last.router, "replicas": [2] * 8}}
    grown = inspect(
        {**source.config, "model_type": "growc", "growc": {"model_type": "deepseek_v3", "layers": layers}}, 64
    )
    assert [site.num_experts for site in grown.moe] == [8, 16]
    assert grown.moe[1].selection_bias == last.selection_bias
    assert grown.blocks.pattern == "ABC"
    assert grown.unreached == ()
