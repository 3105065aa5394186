"""The first state of a run: the source's weights, or fresh ones.

One process reads or draws the whole model and writes it as shards that any layout loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.conversion import Loading
from growc.checkpoint.grown import rows_of
from growc.checkpoint.rest import sort_out
from growc.checkpoint.source import FolderTensors
from growc.checkpoint.training import write_state
from growc.checkpoint.weights import HubWeights
from growc.checkpoint.write import shell
from growc.diagnostics import fail
from growc.engine.distribute import named_state
from growc.files.atomic import appears
from growc.files.beside import CONFIG, TRAINING
from growc.files.folder import read_folder
from growc.growth.graph import Root
from growc.model import fetch
from growc.model.build import canonical, load_config
from growc.model.module import build_module
from growc.model.source import read_config
from growc.model.whole import is_whole


def write_fresh(path: Path, config: Mapping[str, Any], seed: int) -> None:
    """Fresh weights of the model's own initialisation, drawn with `seed`."""
    _write(path, fresh_model(config, seed))


def fresh_model(config: Mapping[str, Any], seed: int) -> PreTrainedModel:
    """The model of `config` with weights of its own initialisation, the same ones for the same `seed`."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32)


def write_source(path: Path, root: Root, base_dir: Path, seed: int) -> None:
    """The weights of the source: those in its folder or on the hub, those its code makes, or fresh ones of a config.

    A growc checkpoint brings its optimizer state along: its training state is linked, not copied.

    Args:
        path: where the state is written.
        root: the source, and what the spec says of it.
        base_dir: from which the spec's paths start.
        seed: of weights that are drawn.
    """
    source, given = root.source, root.given
    match source.kind:
        case "config":
            write_fresh(path, source.config, seed)
        case "module":
            assert given.module is not None
            torch.manual_seed(seed)
            _write(path, build_module(given.module, base_dir, allow_code=True).float())
        case "hub" | "path":
            folder = fetch(source).weights
            assert folder is not None
            training = folder / TRAINING
            if training.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)  # a link to a checkpoint that has moved
                path.symlink_to(training.resolve(), target_is_directory=True)
                return
            _write(path, _of_whole(folder, root.model) if is_whole(source.config) else _loaded(folder))


def _loaded(folder: Path) -> PreTrainedModel:
    """The model in `folder`, if its weights are those of its config: transformers would fill gaps at random."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    model, report = loaded
    found = report | {"unexpected_keys": _strange(folder, model)}
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(map(str, found[what])):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            fail(
                "GROW214",
                f"the weights in {folder} are not those of its config: {what.removesuffix('_keys')} {shown}",
                help="put the config and the weights of one model into the folder",
            )
    return model


@torch.no_grad()
def _of_whole(folder: Path, graph: ModelGraph) -> PreTrainedModel:
    """The language model in a folder that holds more around it."""
    model = fresh_model(graph.config, 0)
    tensors = FolderTensors(HubWeights(read_folder(folder)), shell(graph.config), graph)
    state = model.state_dict()
    for name in graph.tensors:
        rows = tensors.rows(name, torch.arange(rows_of(graph, name)))
        state[name].copy_(rows.view_as(state[name]))
    return model


def _strange(folder: Path, model: PreTrainedModel) -> tuple[str, ...]:
    """Tensors of a folder that are neither the language model's nor known to lie beside it."""
    unknown = Loading(model, read_folder(folder).location).unknown
    return sort_out(unknown, model, read_config(folder / CONFIG)).strange


def _write(path: Path, model: PreTrainedModel) -> None:
    with appears(path) as aside:
        write_state(aside, named_state(model), canonical(model.config), {}, "source", "source", 0, 0, alone=True)
