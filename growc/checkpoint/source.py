"""The tensors of a folder under their names in memory, read when asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.conversion import Load, Loading, Storage, misnumbered
from growc.checkpoint.dtypes import TORCH
from growc.checkpoint.rest import sort_out
from growc.checkpoint.weights import Weights
from growc.diagnostics import fail
from growc.files.plan import Copied
from growc.model.source import CONFIG, read_config
from growc.model.whole import is_whole, names_in, whole_model
from growc.numerics.evaluate import InMemory


class FolderTensors:
    """A `growc.checkpoint.grown.Tensors` over the weights of a folder.

    The tensors of one load are kept until another is asked for: programs read the same few tensors in a row.

    Args:
        weights: what lies in the folder.
        model: the model that they hold, on the meta device.
        graph: the same model, traced.

    Raises:
        GrowcError: GROW641 (tensors are missing, unknown or of other shapes), GROW647 (a dtype torch cannot hold).
    """

    def __init__(self, weights: Weights, model: PreTrainedModel, graph: ModelGraph) -> None:
        self.weights = weights
        self.config = read_config(weights.folder / CONFIG)
        self._loading, stored_by, part = self._as_part(model) or (self._as_all(model), model, {})
        self._load_of: dict[str, Load] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._stored_as: dict[str, str] = {}
        self._kept: tuple[Load, dict[str, Tensor]] | None = None
        shapes: dict[str, tuple[int, ...]] = {}
        known = model.state_dict()
        for load in self._loading.loads:
            for disk, _ in load.members:
                dtype, _ = weights.kind(disk)
                # Whole numbers in the place of weights are quantized weights, without a config that says so.
                if known[load.first].is_floating_point() != TORCH.get(dtype, torch.bool).is_floating_point:
                    self._unfit(disk)
            if fault := misnumbered(load):
                self._differ([fault])
            try:
                made = self._loading.convert(load, self._described)
            except (RuntimeError, ValueError) as error:
                self._differ([f"the tensors of {load.first} do not fit together: {' '.join(str(error).split())}"])
            for name, tensor in made.items():
                self._load_of[name], self._dtypes[name] = load, tensor.dtype
                shapes[name] = tuple(tensor.shape)
        self._untie(graph, shapes)
        self.rest = sort_out(self._loading.unknown, model, self.config, self._loading.beside)
        self._check(graph, shapes)
        self._shapes = shapes
        storage = Storage(stored_by, part=part) if self.rest.parts else Storage(model)
        self.storage = replace(storage, as_is=self._unconverted(storage))

    def bytes(self, disk: str, start: int, length: int) -> tuple[Copied, ...]:
        """Where `length` bytes of a tensor on disk lie, from its byte `start` on; nothing if they are not in order."""
        extents = self.weights.extents(disk)
        if not length:  # nothing, but not nowhere
            return tuple(Copied(extent.file, extent.start, 0) for extent in extents[:1])
        parts: list[Copied] = []
        for extent in extents:
            begin, end = max(0, start), min(extent.length, start + length)
            if begin < end:
                parts.append(Copied(extent.file, extent.start + begin, end - begin))
            start -= extent.length
        return tuple(parts)

    def dtype(self, name: str) -> torch.dtype:
        """See `Tensors.dtype`."""
        return self._dtypes[name]

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`."""
        load = self._load_of[name]
        if not len(index):
            return torch.empty(0, *self._shapes[name][1:], dtype=self.dtype(name))
        if not self._by_row(load, name):
            return self._held(name, load).rows(name, index)
        wanted, position = index.unique(return_inverse=True)
        per_pattern: dict[str, list[tuple[str, str]]] = {}
        for member in load.members:
            per_pattern.setdefault(member[1], []).append(member)
        members = tuple(held[row] for held in per_pattern.values() for row in wanted.tolist())
        return self._held(name, Load(load.first, members, load.converter)).rows(name, position)

    def _by_row(self, load: Load, name: str) -> bool:
        """Whether every row is made of tensors of its own, one of each pattern, so that rows can be read alone."""
        each = Counter(pattern for _, pattern in load.members)
        return load.converter is not None and {*each.values()} == {self._shapes[name][0]}

    def std(self, name: str) -> float:
        """See `Fetch.std`."""
        return self._held(name, self._load_of[name]).std(name)

    def _as_all(self, model: PreTrainedModel) -> Loading:
        return Loading(model, self.weights.names, in_memory=self.weights.in_memory)

    def _as_part(self, model: PreTrainedModel) -> tuple[Loading, PreTrainedModel, Mapping[str, str]] | None:
        """The folder read as that of a whole model, if it is one that has all of the language model's tensors."""
        whole = whole_model(self.config) if is_whole(self.config) and not self.weights.in_memory else None
        part = names_in(whole, model) if whole is not None else None
        if whole is None or part is None:
            return None
        loading = Loading(whole, self.weights.names, part=part)
        return (loading, whole, part) if loading.loads else None

    def _unconverted(self, storage: Storage) -> frozenset[str]:
        """Names of tensors that stand in the folder as they are in memory, though the family is saved otherwise."""
        if self.weights.in_memory:
            return frozenset(self._shapes)
        saved = storage.stored({name: torch.empty(shape, device="meta") for name, shape in self._shapes.items()})
        loads = ((load.first, storage.named(load.first), load) for load in self._loading.loads)
        return frozenset(
            first
            for first, named, load in loads
            if load.converter is None and named not in saved and load.members[0][0] == named
        )

    def _held(self, name: str, load: Load) -> InMemory:
        if self._kept is None or self._kept[0] != load:
            self._kept = None  # frees the tensors before the next are read
            self._kept = load, self._loading.convert(load, self.weights.read)
        return InMemory({name: self._kept[1][self._stored_as.get(name, name)]})

    def _whole(self, name: str) -> Tensor:
        return self._held(name, self._load_of[name]).tensors[name]

    def _described(self, name: str) -> Tensor:
        dtype, shape = self.weights.kind(name)
        if dtype not in TORCH:
            self._unfit(name)
        return torch.empty(shape, dtype=TORCH[dtype], device="meta")

    def _unfit(self, name: str) -> NoReturn:
        help = "convert the checkpoint to bf16 first"
        fail("GROW647", f"{name} is stored as {self.weights.kind(name)[0]} in {self.weights.file(name)}", help=help)

    def _untie(self, graph: ModelGraph, shapes: dict[str, tuple[int, ...]]) -> None:
        """Tied tensors are one: a folder may hold them under either name, or twice if they are equal."""
        for other, first in graph.tied.items():
            if other not in shapes:
                continue
            shape = shapes.pop(other)
            if first not in shapes:
                shapes[first] = shape
                self._load_of[first], self._dtypes[first] = self._load_of[other], self._dtypes[other]
                self._stored_as[first] = other
            elif not torch.equal(self._whole(first), self._whole(other)):
                self._differ([f"{other} differs from {first}, to which the config ties it"])

    def _check(self, graph: ModelGraph, shapes: dict[str, tuple[int, ...]]) -> None:
        wanted = {name: tensor.shape for name, tensor in graph.tensors.items()}
        faults = [f"{name} is missing" for name in wanted if name not in shapes]
        faults += [f"{name} is no tensor of the model" for name in self.rest.strange]
        faults += [
            f"{name} has shape {list(shape)}, its config makes it {list(wanted[name])}"
            for name, shape in shapes.items()
            if name in wanted and shape != wanted[name]
        ]
        if faults:
            self._differ(faults)

    def _differ(self, faults: list[str]) -> NoReturn:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        fail(
            "GROW641",
            f"the weights in {self.weights.folder} are not those of its config: {'; '.join(faults[:3])}{more}",
            help="save the model that it came from anew",
        )
