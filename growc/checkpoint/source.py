"""The tensors of a Hugging Face folder under their names in memory, read when asked for."""

from __future__ import annotations

import re
from typing import NoReturn

import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.checkpoint.conversion import Load, Loading
from growc.checkpoint.dtypes import TORCH
from growc.diagnostics import fail
from growc.growth.evaluate import InMemory
from growc.model import ModelGraph
from growc.model.folder import WeightFiles
from growc.model.headers import Entry

ALWAYS_DROPPED = (r"rotary_emb\.inv_freq$", r"(^|\.)position_ids$")
"""Patterns of buffers in old checkpoints that transformers ignores in every family: they follow from the config."""


class FolderTensors:
    """A `growc.checkpoint.grown.Tensors` over weight files.

    The tensors of one load are kept until another is asked for: programs read the same few tensors in a row.

    Args:
        files: the folder's weight files, with checked headers.
        model: the model that they hold, on the meta device.
        graph: the same model, traced.

    Raises:
        GrowcError: GROW641 (tensors are missing, unknown or of other shapes), GROW647 (a dtype torch cannot hold).
    """

    def __init__(self, files: WeightFiles, model: PreTrainedModel, graph: ModelGraph) -> None:
        self._files = files
        self._loading = Loading(model, files.location)
        self._load_of: dict[str, Load] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._stored_as: dict[str, str] = {}
        self._kept: tuple[Load, dict[str, Tensor]] | None = None
        shapes: dict[str, tuple[int, ...]] = {}
        for load in self._loading.loads:
            try:
                made = self._loading.convert(load, self._described)
            except (RuntimeError, ValueError) as error:
                self._differ([f"the tensors of {load.first} do not fit together: {' '.join(str(error).split())}"])
            for name, tensor in made.items():
                self._load_of[name], self._dtypes[name] = load, tensor.dtype
                shapes[name] = tuple(tensor.shape)
        self._untie(graph, shapes)
        ignored = {*ALWAYS_DROPPED, *_ignored(model)}
        self.dropped = tuple(n for n in self._loading.unknown if any(re.search(p, n) for p in ignored))
        self._check(graph, shapes)

    def dtype(self, name: str) -> torch.dtype:
        """See `Tensors.dtype`."""
        return self._dtypes[name]

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`."""
        return self._held(name).rows(name, index)

    def std(self, name: str) -> float:
        """See `Fetch.std`."""
        return self._held(name).std(name)

    def _held(self, name: str) -> InMemory:
        load = self._load_of[name]
        if self._kept is None or self._kept[0] is not load:
            self._kept = None  # frees the tensors before the next are read
            self._kept = load, self._loading.convert(load, self._read)
        return InMemory({name: self._kept[1][self._stored_as.get(name, name)]})

    def _entry(self, name: str) -> Entry:
        return self._files.headers[self._files.location[name]].tensors[name]

    def _described(self, name: str) -> Tensor:
        entry = self._entry(name)
        if entry.dtype not in TORCH:
            fail("GROW647", f"{name} is stored as {entry.dtype}", help="convert the checkpoint to bf16 first")
        return torch.empty(entry.shape, dtype=TORCH[entry.dtype], device="meta")

    def _read(self, name: str) -> Tensor:
        entry, path = self._entry(name), self._files.folder / self._files.location[name]
        data = torch.empty(entry.end - entry.start, dtype=torch.uint8)
        try:
            with path.open("rb") as file:
                file.seek(entry.start)
                complete = file.readinto(data.numpy().data) == entry.end - entry.start
        except OSError as error:
            fail("GROW646", f"{path} cannot be read: {error.strerror}", help="see that the source is readable")
        if not complete:
            fail("GROW646", f"{path} became shorter while it was read", help="let nothing write to the source")
        return data.view(TORCH[entry.dtype]).view(entry.shape)

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
            elif not torch.equal(self._held(first).tensors[first], self._held(other).tensors[other]):
                self._differ([f"{other} differs from {first}, to which the config ties it"])

    def _check(self, graph: ModelGraph, shapes: dict[str, tuple[int, ...]]) -> None:
        wanted = {name: tensor.shape for name, tensor in graph.tensors.items()}
        faults = [f"{name} is missing" for name in wanted if name not in shapes]
        faults += [f"{n} is no tensor of the model" for n in self._loading.unknown if n not in self.dropped]
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
            f"the weights in {self._files.folder} are not those of its config: {'; '.join(faults[:3])}{more}",
            help="write the checkpoint anew with `save_pretrained`",
        )


def _ignored(model: PreTrainedModel) -> set[str]:
    """Patterns of tensors on disk that transformers leaves out when it loads this family."""
    patterns = model._keys_to_ignore_on_load_unexpected  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return set(patterns or ())
