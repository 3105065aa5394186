"""Checkpoints that users load: a Hugging Face folder, with the training state beside the weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc import __version__
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.checkpoint.lineage import LINEAGE
from growc.checkpoint.training import State, write_state
from growc.checkpoint.write import write_config
from growc.engine.distribute import full, named_state
from growc.files.atomic import commit, write_json
from growc.files.beside import TRAINING, beside, copy_beside
from growc.model import ModelSource, fetch
from growc.model.build import canonical, load_config
from growc.model.left_out import left_out, prediction_tensors
from growc.model.prediction import without_promise
from growc.model.whole import text_alone


def save_checkpoint(
    path: Path,
    model: PreTrainedModel,
    graph: ModelGraph,
    state: State,
    *,
    key: str,
    node: str,
    step: int,
    tokens: int,
    lineage: Mapping[str, Any],
    source: ModelSource,
) -> None:
    """Write the checkpoint of a finished stage to the fresh folder `path` (every rank must call).

    The config has the words of `source`, from which the stages before it started, and what lies beside its weights
    goes along: its tokenizer, above all.
    """
    aside = path.with_name(path.name + ".partial")
    if dist.get_rank() == 0:
        shutil.rmtree(aside, ignore_errors=True)
        (aside / TRAINING).mkdir(parents=True)
    dist.barrier()
    tensors = named_state(model)
    write_state(aside / TRAINING, tensors, canonical(model.config), state, key, node, step, tokens)
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole = full(tensor.detach())
        if dist.get_rank() == 0:  # the others take part in gathering and keep nothing
            weights[name] = whole.cpu()
    if dist.get_rank() == 0:
        source = fetch(source)
        promises = not prediction_tensors(source, graph)
        write_weights(aside, graph, weights, source.config, promises=promises)
        if source.weights is not None:
            copy_beside(source.weights, beside(source.weights).carried, aside)
        lacks = {"left_behind": left} if (left := list(left_out(source, graph))) else {}
        write_json(aside / LINEAGE, {"growc": __version__, "node": node, "key": key, **lineage, **lacks})
        commit(aside, path)
    dist.barrier()


def write_weights(
    folder: Path, graph: ModelGraph, weights: dict[str, Tensor], source: Mapping[str, Any], *, promises: bool = True
) -> None:
    """Write config and weights under the names that the hub uses for this family.

    Args:
        folder: of the checkpoint.
        graph: the model.
        weights: its tensors.
        source: the config, as it was read, in whose words the new one is written.
        promises: whether the config may speak of layers for multi-token prediction: the source had none to be lost.
    """
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(load_config(graph.config), dtype=torch.float32)
    missing = {name: weights[tied] for name, tied in (shell.all_tied_weights_keys or {}).items() if tied in weights}
    shell.save_pretrained(folder, state_dict=missing | weights)
    write_config(folder, graph, text_alone(source), "float32", dict if promises else without_promise)


def sibling_cosines(
    graph: ModelGraph, groups: Mapping[int, Replicas], tensors: Mapping[str, Tensor]
) -> dict[int, float]:
    """Mean cosine between siblings and the first of their group, over all expert weights, by layer.

    1 at the moment of growth; it falls as the copies go ways of their own. Every rank must call.

    Args:
        graph: what the model is.
        groups: sizes of the groups of siblings in slot order, by layer.
        tensors: the model's tensors, sharded or not.
    """
    cosines: dict[int, float] = {}
    for site in graph.moe:
        if site.layer not in groups or sum(groups[site.layer]) != site.num_experts:
            continue
        first = torch.tensor([s for s, r in _starts(groups[site.layer]) for _ in range(r)])
        dots, norms = torch.zeros(site.num_experts), torch.zeros(site.num_experts)
        for name in site.expert_tensors:
            rows = full(tensors[name].detach()).float().flatten(1).cpu()
            dots += (rows * rows[first]).sum(dim=1)
            norms += rows.square().sum(dim=1)
        copies = first != torch.arange(site.num_experts)
        cosine = dots / (norms * norms[first]).sqrt()
        cosines[site.layer] = float(cosine[copies].mean())
    return cosines


def _starts(replicas: Replicas) -> list[tuple[int, int]]:
    starts, position = list[tuple[int, int]](), 0
    for r in replicas:
        starts.append((position, r))
        position += r
    return starts
