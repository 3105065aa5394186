"""Growths of tiny folders, as the examples of the operators have them, with sources that are written once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.audit.readings import READ
from growc.checkpoint.training import State, write_state
from growc.files.beside import TRAINING
from growc.growth.rewrite import refusals, rewrite
from growc.model import inspect
from growc.model.build import canonical, load_config
from growc.operators import operator
from growc.operators.example import examples
from growc.operators.experts import EXPERT_INITS
from growc.operators.facets import measure_of
from growc.operators.measures import needs
from growc.operators.routers import ROUTER_INITS
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import EXPLICIT

LENGTH = 16
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
DENSE_FAMILIES = tuple(family for family in FAMILIES if family not in MOE_FAMILIES)


@dataclass(frozen=True)
class Scene:
    """Operators in a row, each its YAML, on a tiny model of `family` that was grown before by `grown_by`.

    It is `trained` if its folder has the state of an optimizer, here of Adam.
    """

    name: str
    family: str
    operators: tuple[Mapping[str, Any], ...]
    grown_by: tuple[Mapping[str, Any], ...] = ()
    dtype: str = "fp32"
    trained: bool = False

    def __str__(self) -> str:
        return f"{self.name} on {self.family} in {self.dtype}{', trained' if self.trained else ''}"

    @property
    def model(self) -> ModelGraph:
        """The source, traced."""
        graph = inspect(FAMILIES[self.family], LENGTH)
        for row in self.grown_by:
            grows = operator(row["op"]).model_validate({key: value for key, value in row.items() if key != "op"})
            graph = rewrite(grows, graph, seed="0", sequence_length=LENGTH).grown
        return graph

    def grows(self) -> bool:
        """Whether the first operator takes this source."""
        first, graph = self.operators[0], self.model
        grows = operator(first["op"]).model_validate({key: value for key, value in first.items() if key != "op"})
        return not refusals(grows, graph)

    def spec(self, root: Path) -> Path:
        """A spec of the growth, in a folder that has the source too; both are written at the first call."""
        before = abs(hash(json.dumps(self.grown_by)))
        folder = root / f"{self.family}-{self.dtype}-{before}{'-trained' * self.trained}"
        if not folder.exists():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(load_config(self.model.config), dtype=DTYPES[self.dtype])
            with torch.no_grad():
                for tensor in model.state_dict().values():
                    if tensor.is_floating_point():  # norms and biases too get numbers that tell rows apart
                        tensor.add_(torch.randn(tensor.shape) * 0.1)
            model.save_pretrained(folder / "source")
            if self.trained:
                _write_state(folder / "source", model)
        path = folder / f"{abs(hash(json.dumps(self.operators)))}.growth.yaml"
        stages = [{"name": "grow", "grow": list(self.operators)}]
        spec = {"growth": 1, "name": "spoilt", "model": {"path": "source"}, "stages": stages}
        path.write_text(json.dumps(spec), encoding="utf-8")
        return path


def _write_state(folder: Path, model: PreTrainedModel) -> None:
    """A training state with numbers that tell all rows apart."""
    (folder / TRAINING).mkdir()
    weights = {name: tensor.float() + 1e-4 * torch.randn(tensor.shape) for name, tensor in model.state_dict().items()}
    optimizer: State = {
        name: {
            "exp_avg": torch.randn(tensor.shape),
            "exp_avg_sq": torch.rand(tensor.shape),
            "step": torch.tensor(float(1 + number % 7)),
        }
        for number, (name, tensor) in enumerate(model.named_parameters())
    }
    write_state(folder / TRAINING, weights, canonical(model.config), optimizer, "key", "node", 4, 1024, alone=True)


def offline(op: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of an example, with a score that needs no run in the place of one that does; None if none can be."""
    found = dict(settings)
    measure = measure_of(operator(op).model_validate(found))
    if measure is None or needs(measure) is None:
        return found
    match op:
        case "expert_upcycling":
            return found | {"allocation": {**found["allocation"], "score": "weight_norm"}}
        case "expert_pruning":
            return found | {"choose": {"by": "score", "score": "weight_norm"}}
        case "expert_slimming":
            return found | {"choose": {"score": "weight_norm"}}
        case _:
            return None


def listed() -> Iterator[Scene]:
    """The examples of all operators that have a reading, on all families; some in bfloat16."""
    number = 0
    for op in READ:
        for name, example in examples(op).items():
            if (settings := offline(op, example.settings)) is None:
                continue
            for family in MOE_FAMILIES if example.source == "mixture" else DENSE_FAMILIES:
                number += 1
                yield Scene(
                    f"{op}: {name}", family, ({"op": op, **settings},), example.grown_by, [*DTYPES][number % 3 == 0]
                )


def starts() -> Iterator[Scene]:
    """Every initialisation of experts and of routers, on some families."""
    kinds = {"experts": EXPERT_INITS, "router": ROUTER_INITS}
    rules: list[dict[str, Any]] = [
        {"rule": "uniform"},
        {"rule": "explicit", "replicas": EXPLICIT[2]},
        {"rule": "greedy", "score": "weight_norm", "over": "both_product"},
        {"rule": "proportional", "score": "weight_norm", "over": "fc1"},
        {"rule": "sampling", "score": "weight_norm", "over": "both_max"},
        {"rule": "sampling", "score": "random", "cap": 2, "temperature": 0.5, "unit": "absolute"},
    ]
    number = 0
    for kind, table in kinds.items():
        for init, cls in table.items():
            for place in range(2):
                family = MOE_FAMILIES[(3 * number + 5 * place) % len(MOE_FAMILIES)]
                number += 1
                given = {"init": init, **cls.example} | (
                    {"bias_noise": 1e-3} if number % 5 == 0 and kind == "router" else {}
                )
                settings = {"op": "expert_upcycling", "allocation": rules[number % len(rules)], kind: given}
                yield Scene(f"{kind}.{init}", family, (settings,), (), [*DTYPES][number % 3 == 0])


def chains() -> Iterator[Scene]:
    """Several operators in one stage."""
    copies = {"op": "expert_upcycling", "routing": "exclusive", "router": {"init": "copy"}}
    noisy = {"op": "expert_upcycling", "experts": {"init": "copy_noise"}, "router": {"init": "split"}}
    merged = {"op": "merge_duplicates"}
    fewer = {"op": "expert_pruning", "drop": 4, "choose": {"by": "score", "score": "weight_norm"}}
    slim = {"op": "expert_slimming", "share": 0.5, "choose": {"score": "weight_norm"}}
    for family in ("qwen3_moe", "gpt_oss", "glm4_moe"):
        for dtype in DTYPES:
            yield Scene("copied and merged", family, (copies, merged), (), dtype)
            yield Scene("copied and released", family, (copies, {"op": "release_siblings"}), (), dtype)
            yield Scene("with noise, twice", family, (noisy, noisy), (), dtype)
            yield Scene("pruned and slim", family, (fewer, slim), (), dtype)
            yield Scene("noisy, with adjugates", family, (noisy, {"op": "grove", "width": 8}), (), dtype)
    for family in DENSE_FAMILIES:
        yield Scene("mixed and copied", family, ({"op": "sparse_upcycling", "experts": 4}, copies), ())
        yield Scene("mixed and noisy", family, ({"op": "drop_upcycling", "experts": 4}, noisy), (), "bf16")


def states() -> Iterator[Scene]:
    """Growths of folders with the state of an optimizer, in all ways that operators have to grow it."""
    uneven: dict[str, Any] = {"op": "expert_upcycling", "allocation": {"rule": "explicit", "replicas": EXPLICIT[2]}}
    scaled = {"op": "expert_upcycling", "top_k": "scale", "router": {"init": "copy"}}
    copies = {**uneven, "routing": "exclusive", "router": {"init": "copy"}}
    for number, state in enumerate(("gradient", "consistent", "copy", "reset", "reset_copies", "scale")):
        family = ("glm4_moe", "gpt_oss")[number % 2]
        yield Scene(f"state: {state}", family, ({**uneven, "optimizer_state": state},), trained=True)
        if state != "scale":
            merges = {"op": "merge_duplicates", "optimizer_state": state}
            yield Scene(f"state: {state}, merged", family, ({**copies, "optimizer_state": state}, merges), trained=True)
    for init in ("interpolate", "drop", "shuffle", "svd_perturb", "random"):
        state = "interpolate" if init == "interpolate" else "gradient"
        start = {"experts": {"init": init}, "router": {"init": "interpolate"}, "optimizer_state": state}
        yield Scene(f"state: {init}", "gpt_oss", ({**uneven, **start},), trained=True)
    for family in ("gpt_oss", "llama4_text"):
        yield Scene("state: scaled top-k", family, (scaled,), trained=True)
    merged = {"op": "merge_duplicates", "factor": 2, "top_k": "scale"}
    yield Scene("state: scaled top-k, merged", "llama4_text", (scaled, merged), trained=True)
    yield Scene("state: with adjugates", "gpt_oss", (uneven, {"op": "grove", "width": 8}), trained=True)
    for op in READ:
        for name, example in examples(op).items():
            settings = offline(op, example.settings)
            if op in ("expert_upcycling", "merge_duplicates") or settings is None:
                continue
            family = "glm4_moe" if example.source == "mixture" else ("gpt2", "qwen3")[len(name) % 2]
            yield Scene(f"state: {op}, {name}", family, ({"op": op, **settings},), example.grown_by, trained=True)


def all_scenes() -> list[Scene]:
    """All of them that no operator refuses."""
    return [scene for scene in (*listed(), *starts(), *chains(), *states()) if scene.grows()]
