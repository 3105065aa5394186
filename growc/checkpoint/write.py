"""A grown model as a Hugging Face folder, written tensor by tensor.

Memory holds one group of tensors at a time: what the source has of it, what it grows into, and its form on disk. That
is a few times the largest tensor in memory, and never the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.checkpoint.atomic import write_json
from growc.checkpoint.conversion import saved_together, to_disk
from growc.checkpoint.grown import Grown
from growc.checkpoint.shards import Shard, ShardWriter, Slot, pack, write_index
from growc.model import ModelGraph
from growc.model.build import load_config

LINEAGE = "growc.json"
"""File in a checkpoint that says where it came from."""

TRAINING = "training"
"""Folder of the training state inside a checkpoint of `growc run`."""

COMPANIONS = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "chat_template.*",
    "additional_chat_templates/*.jinja",
)  # fmt: skip
"""Files beside the weights that growth does not change: generation defaults and tokenizer."""


def shell(config: Mapping[str, Any]) -> PreTrainedModel:
    """The model of a config on the meta device, which knows how its family is stored."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32)


@dataclass(frozen=True)
class Layout:
    """What will be written: names in memory that are written together, and the files that their tensors fill."""

    model: PreTrainedModel
    groups: tuple[tuple[str, ...], ...]
    shards: tuple[Shard, ...]

    @property
    def size(self) -> int:
        """Bytes of all weight files."""
        return sum(shard.size for shard in self.shards)


def plan_layout(graph: ModelGraph, grown: Grown, limit: int) -> Layout:
    """Every file of the grown model, header and all, before a byte is read.

    Args:
        graph: the grown model.
        grown: its tensors.
        limit: the most tensor bytes of one file.
    """
    model = shell(graph.config)
    metas = {
        name: torch.empty(info.shape, dtype=grown.dtype(name), device="meta") for name, info in graph.tensors.items()
    }
    groups = saved_together(model, metas)
    stored = [to_disk(model, {name: metas[name] for name in group}) for group in groups]
    slots = [Slot(name, t.dtype, tuple(t.shape)) for written in stored for name, t in written.items()]
    assert {slot.name for slot in slots} == to_disk(model, metas).keys(), "groups differ from the whole"
    return Layout(model, tuple(groups), pack(slots, limit))


@torch.no_grad()
def write_weights(folder: Path, layout: Layout, grown: Grown) -> None:
    """Fill `folder` with the weight files of `layout`."""
    writer = ShardWriter(folder, layout.shards)
    try:
        for group in layout.groups:
            _write_group(writer, layout.model, group, grown)
    finally:
        writer.close()
    write_index(folder, layout.shards, grown.rewrite.grown.cost.total_params)


def _write_group(writer: ShardWriter, model: PreTrainedModel, group: tuple[str, ...], grown: Grown) -> None:
    """A function of its own, so that no tensor outlives its group."""
    for name, tensor in to_disk(model, {name: grown.whole(name) for name in group}).items():
        writer.write(name, tensor)


def write_config(folder: Path, graph: ModelGraph, dtype: str | None) -> None:
    """Write `config.json` as `save_pretrained` does, with the number of experts under every name it goes by.

    transformers gives some families' number of experts another name than the hub (`num_local_experts` for the
    `num_experts` of Qwen3-MoE): readers that know only the hub's would find none.

    Args:
        folder: of the checkpoint.
        graph: the grown model.
        dtype: what the source's config says its dtype is, if it says so.
    """
    config = load_config(graph.config)
    model = shell(graph.config)
    config.architectures = [type(model).__name__]
    config.dtype = dtype
    values: dict[str, Any] = json.loads(config.to_json_string())
    aliases = [alias for alias, name in config.attribute_map.items() if name == graph.expert_field]
    values.update({alias: values[graph.expert_field] for alias in aliases if graph.expert_field in values})
    write_json(folder / "config.json", dict(sorted(values.items())))


def companions(source: Path) -> list[Path]:
    """Files of the source folder that go along unchanged."""
    return sorted({file for pattern in COMPANIONS for file in source.glob(pattern) if file.is_file()})


def copy_companions(source: Path, folder: Path) -> None:
    """Copy generation defaults and tokenizer; links are followed, as a cache of the hub consists of them."""
    for file in companions(source):
        target = folder / file.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
