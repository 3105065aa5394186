"""The config that a checkpoint is written with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.spelling import spelled
from growc.files.atomic import write_json
from growc.files.beside import CONFIG
from growc.model.build import load_config


def shell(config: Mapping[str, Any]) -> PreTrainedModel:
    """The model of a config on the meta device, which knows how its family is stored."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32)


def write_config(
    folder: Path,
    graph: ModelGraph,
    source: Mapping[str, Any],
    dtype: str | None,
    around: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """Write `config.json` as `save_pretrained` does, with all that the source's says in the source's words.

    The number of experts stands there under every name that it goes by.

    transformers gives some families' number of experts another name than the hub (`num_local_experts` for the
    `num_experts` of Qwen3-MoE): readers that know only the hub's would find none.

    Args:
        folder: of the checkpoint.
        graph: the grown model.
        source: the config of the model that it was grown from, as it was read.
        dtype: what the source's config says its dtype is, if it says so.
        around: makes the folder's config of the model's.

    Returns:
        What was written.
    """
    config = load_config(graph.config)
    model = shell(graph.config)
    config.architectures = [type(model).__name__]
    config.dtype = dtype
    values: dict[str, Any] = json.loads(config.to_json_string())
    aliases = [alias for alias, name in config.attribute_map.items() if name == graph.expert_field]
    values.update({alias: values[graph.expert_field] for alias in aliases if graph.expert_field in values})
    written = dict(sorted(around(dict(sorted(spelled(source, values).items()))).items()))
    write_json(folder / CONFIG, written)
    return written
