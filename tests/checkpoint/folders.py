"""Tiny checkpoint folders of every family, specs that grow them, and what the result must be."""

from __future__ import annotations

import copy
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, conversion_mapping
from transformers.core_model_loading import WeightConverter

from growc.checkpoint.command import grow
from growc.checkpoint.layout import Layout
from growc.checkpoint.prepare import prepare
from growc.checkpoint.request import Request
from growc.diagnostics import Diagnostic
from growc.growth.open import open_spec
from growc.growth.rewrite import Rewrite
from growc.model.build import load_config
from growc.numerics.evaluate import InMemory, evaluate
from tests.families import FAMILIES
from tests.operators_cases import EXACT

EXPLICIT = {"rule": "explicit", "replicas": [4, 1, 2, 1, 1, 3, 3, 1]}


O_PROJ = ["self_attn.o_proj.weight"]


@contextmanager
def converted(family: str, more: WeightConverter) -> Generator[None]:
    """transformers maps `family` between disk and memory by one conversion more."""
    mapping: Any = conversion_mapping.get_checkpoint_conversion_mapping(family)
    register = conversion_mapping.register_checkpoint_conversion_mapping
    register(family, [*copy.deepcopy(mapping), more], overwrite=True)
    try:
        yield
    finally:
        register(family, mapping, overwrite=True)
        conversion_mapping.USER_REGISTERED_MAPPINGS.discard(family)


@dataclass(frozen=True)
class Place:
    """A folder of a test with a source checkpoint and a spec beside it."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def grown(self) -> Path:
        return self.root / "grown"

    @property
    def spec(self) -> Path:
        return self.root / "test.growth.yaml"

    def grow(
        self,
        to: Path | None = None,
        *,
        stage: str = "upcycle",
        shard_bytes: int = 10**9,
        layout: Layout = "same",
        verify: bool = False,
    ) -> list[Diagnostic]:
        request = Request(self.spec, stage, self.source, to or self.grown, shard_bytes=shard_bytes, layout=layout)
        return list(grow(request, prepare, verify=verify))


def source_model(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A tiny model whose every tensor has distinct values, selection biases included."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(load_config(FAMILIES[family]), dtype=dtype)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and not tensor.any():
                tensor.copy_(torch.randn(tensor.shape) * 0.1)
    return model.eval()


def place(
    root: Path,
    family: str,
    *operators: dict[str, Any],
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "1GB",
) -> Place:
    """A source checkpoint of `family` and a spec with one grow stage."""
    there = Place(root)
    source_model(family, dtype).save_pretrained(there.source, max_shard_size=max_shard_size)
    write_spec(there, family, *operators)
    return there


def write_spec(there: Place, family: str | dict[str, Any], *operators: dict[str, Any]) -> None:
    """A spec for a family, or for a config; operators are expert upcycling unless they say otherwise."""
    grow = [given if "op" in given else {"op": "expert_upcycling", **EXACT, **given} for given in operators]
    stages = [{"name": "upcycle", "grow": grow}]
    spec = {
        "growth": 1,
        "name": "test",
        "model": {"config": FAMILIES[family] if isinstance(family, str) else family},
        "stages": stages,
    }
    there.spec.write_text(json.dumps(spec))


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder under their names on disk, read by the reference library."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                assert name not in found
                found[name] = opened.get_tensor(name)
    return found


def rewrites(there: Place) -> tuple[Rewrite, ...]:
    return next(open_spec(there.spec).graph.grow_nodes()).rewrites


def in_memory(there: Place, *, steps: tuple[Rewrite, ...] = (), original_format: bool = True) -> dict[str, Tensor]:
    """What the in-memory executor makes of the source, as `save_pretrained` writes it."""
    model = grown_model(there, steps=steps)
    model.save_pretrained(there.root / "in_memory", save_original_format=original_format)
    return read(there.root / "in_memory")


def grown_model(there: Place, *, steps: tuple[Rewrite, ...] = ()) -> PreTrainedModel:
    """What the in-memory executor makes of the source."""
    loaded = AutoModelForCausalLM.from_pretrained(there.source)
    tensors: dict[str, Tensor] = dict(loaded.state_dict())
    for step in steps or rewrites(there):
        wide = InMemory({name: tensor.float() for name, tensor in tensors.items()})
        tensors = {
            name: evaluate(program, torch.arange(step.grown.tensors[name].shape[0]), wide, torch.float32).to(
                tensors[name].dtype if name in tensors else loaded.dtype
            )
            for name, program in step.programs.items()
        }
    last = (steps or rewrites(there))[-1].grown
    model = AutoModelForCausalLM.from_config(load_config(last.config), dtype=loaded.dtype)
    missing = model.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= set(last.tied)
    return model.eval()
