"""What lies beside the weights in a Hugging Face folder: config, tokenizer, lineage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.diagnostics import fail
from growc.files.atomic import write_json
from growc.model import ModelGraph
from growc.model.build import load_config

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
    """Files of the source folder that go along unchanged (GROW660: one cannot)."""
    return sorted({file for pattern in COMPANIONS for file in _matching(source, pattern) if is_there(file)})


def _matching(source: Path, pattern: str) -> list[Path]:
    """What has such a name; unlike `Path.glob`, links to nothing count."""
    folder = (source / pattern).parent
    if not os.path.lexists(folder):
        return []
    if not folder.is_dir():
        _refuse(folder, "folder")
    return [path for path in folder.iterdir() if fnmatchcase(path.name, (source / pattern).name)]


def is_there(path: Path) -> bool:
    """Whether there is such a file; what has its name and is no regular file is refused (GROW660)."""
    if os.path.lexists(path) and not path.is_file():
        _refuse(path, "regular file")
    return path.is_file()


def _refuse(path: Path, wanted: str) -> NoReturn:
    help = "fetch it, or remove it: the grown checkpoint would lack it"
    fail("GROW660", f"{path} is no {wanted}, nor a link to one", help=help)


def copy_companions(files: Sequence[Path], source: Path, folder: Path) -> None:
    """Copy generation defaults and tokenizer; links are followed, as a cache of the hub consists of them.

    Args:
        files: of `companions`.
        source: where they lie.
        folder: where they go.
    """
    for file in files:
        target = folder / file.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
