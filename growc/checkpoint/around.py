"""What a folder has around its language model, and what becomes of it when that grows.

Other parts of a whole model (towers for pictures or sound) stay byte for byte under their names, with the whole's
config around the grown one. So do layers that predict further tokens, where growth leaves them what their readers
expect. What cannot stay is left behind: the config promises nothing of it, and it is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.conversion import Loading
from growc.checkpoint.dtypes import TORCH
from growc.checkpoint.source import FolderTensors
from growc.diagnostics import Diagnostic, Severity, fail
from growc.files.plan import PlannedTensor
from growc.model.prediction import promised, stay_valid, without_promise
from growc.model.whole import is_whole, takes, text_alone, text_of, whole_model, with_text


@dataclass(frozen=True)
class Left:
    """Tensors of the source that the grown folder lacks: the code of the warning, what they are, and why."""

    code: str
    what: str
    names: tuple[str, ...]
    why: str

    @property
    def record(self) -> dict[str, Any]:
        """As `growth.json` has it."""
        return {"what": self.what, "tensors": len(self.names), "first": self.names[0], "why": self.why}

    @property
    def says(self) -> str:
        """As the model card has it."""
        return f"{len(self.names)} tensors of the source were left behind ({self.what}): {self.why}."


@dataclass(frozen=True)
class Around:
    """What stays around a grown language model, and what does not.

    `config` is the source's as it was read. `carried` are names on disk, of tensors that stay as they are. `whole` says
    whether the folder is that of a whole model, and `predicts` whether its layers for further tokens go along, if it
    has any.
    """

    config: Mapping[str, Any]
    carried: tuple[str, ...]
    left: tuple[Left, ...]
    whole: bool
    predicts: bool

    @property
    def text(self) -> dict[str, Any]:
        """The source's config of the language model, in its words."""
        return text_of(self.config) if self.whole else text_alone(self.config)

    def written(self, text: Mapping[str, Any]) -> dict[str, Any]:
        """The folder's config, with that of the grown language model in it."""
        text = text if self.predicts else without_promise(text)
        if not self.whole:
            return dict(text)
        config = with_text(self.config, text)
        return config if self.predicts else without_promise(config)

    def planned(self, tensors: FolderTensors) -> dict[str, PlannedTensor]:
        """The tensors that stay as they are, by name."""
        found: dict[str, PlannedTensor] = {}
        for name in self.carried:
            size = sum(extent.length for extent in tensors.weights.extents(name))
            found[name] = PlannedTensor(name, *tensors.weights.kind(name), tensors.bytes(name, 0, size))
        return found

    def warnings(self, folder: object) -> Iterator[Diagnostic]:
        """What was left behind."""
        for left in self.left:
            message = f"{len(left.names)} tensors of {folder} were left out, {left.names[0]} among them: {left.why}"
            yield Diagnostic(left.code, message, f"they are {left.what}", severity=Severity.WARNING)


def around(
    tensors: FolderTensors,
    config: Mapping[str, Any],
    before: ModelGraph,
    after: ModelGraph,
    *,
    distributed: bool,
    text_only: bool,
) -> Around:
    """What of a folder stays around its grown language model.

    Args:
        tensors: of the folder.
        config: of the folder, as it was read.
        before: its language model.
        after: the grown one.
        distributed: whether the grown folder holds a state dict of the language model, and nothing beside it.
        text_only: whether the other parts of a whole model are not wanted.

    Raises:
        GrowcError: GROW667, the whole model's class does not take the grown language model.
    """
    rest, left = tensors.rest, list[Left]()
    if whole := bool(rest.parts) and not text_only:
        _check_takes(config, after, rest.parts, distributed=distributed)
    elif rest.parts:
        left.append(
            Left("GROW649", "other parts of the whole model", rest.parts, "the language model alone was wanted")
        )
    counts = {name for name in (before.expert_field, before.top_k_field) if name is not None}
    predicts = not distributed and stay_valid(rest.prediction, before.config, after.config, counts)
    if rest.prediction and not predicts:
        keys = [*promised(text_of(config)), *promised(config)] or ["the config"]
        why = (
            "a distributed checkpoint holds the language model alone"
            if distributed
            else "they are built from fields of the config that growth changed"
        )
        why = f"{why}; {keys[0]} says that there are none"
        left.append(Left("GROW668", "layers for multi-token prediction", rest.prediction, why))
    if rest.ignored:
        why = "transformers ignores them in this family"
        left.append(Left("GROW649", "no part of the language model", rest.ignored, why))
    carried = (*(rest.parts if whole else ()), *(rest.prediction if predicts else ()))
    return Around(config, carried, tuple(left), whole, predicts or not rest.prediction)


def _check_takes(config: Mapping[str, Any], after: ModelGraph, parts: tuple[str, ...], *, distributed: bool) -> None:
    if distributed:
        _refuse(config, parts, "a distributed checkpoint holds the language model alone")
    if not takes(config, after.config):
        _refuse(config, parts, f"the grown language model is of the type {after.config['model_type']}")


def check_whole(
    found: Around, tensors: FolderTensors, config: Mapping[str, Any], planned: Iterable[PlannedTensor]
) -> None:
    """Refuse to write a whole model that transformers would not load from the names and shapes on disk (GROW667).

    Args:
        found: what stays around the language model.
        tensors: of the source.
        config: the grown folder's.
        planned: its tensors.
    """
    if not found.whole:
        return
    held = {name: _meta(*tensors.weights.kind(name)) for name in tensors.weights.names}
    grown = {tensor.name: _meta(tensor.dtype, tensor.shape) for tensor in planned}
    beside = tensors.rest.prediction
    lacked = [_lacks(each, {n: t for n, t in of.items() if n not in beside}) for each, of in
              ((found.config, held), (config, grown))]  # fmt: skip
    if faults := lacked[1] - lacked[0]:
        _refuse(found.config, tensors.rest.parts, f"its class would not load {min(faults)}")


def _meta(dtype: str, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=TORCH.get(dtype), device="meta")


def _lacks(config: Mapping[str, Any], held: Mapping[str, Tensor]) -> set[str]:
    """The tensors of the whole model of a config that do not come out of those on disk in their shapes."""
    model = whole_model(config)
    if model is None:
        return {"its language model"}
    loading, made = Loading(model, held), dict[str, torch.Size]()
    for load in loading.loads:
        with suppress(RuntimeError, ValueError):  # they do not fit together, so nothing comes out of them
            made |= {name: tensor.shape for name, tensor in loading.convert(load, held.__getitem__).items()}
    return {n for n, t in model.state_dict().items() if made.get(n) != t.shape} | set(loading.unknown)


def _refuse(config: Mapping[str, Any], parts: tuple[str, ...], why: str) -> NoReturn:
    assert is_whole(config)
    fail(
        "GROW667",
        f"the folder holds a {config['model_type']} model with {len(parts)} tensors beside its language model, "
        f"{parts[0]} among them, and they cannot stay around the grown one: {why}",
        help="grow it so that it stays of its class (`routing: free` in every layer), or leave them behind with "
        "--text-only",
    )
