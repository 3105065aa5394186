"""What of a grown folder is computed, written into its place in files that are otherwise moved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from growc.checkpoint.arrangement import Arrangement
from growc.checkpoint.conversion import Storage
from growc.checkpoint.grown import Grown
from growc.checkpoint.recipes import Place, Recipes
from growc.files.computed_parts import MadeWriter
from growc.files.plan import OutputFile

BLOCK = 1 << 26
"""Bytes of a tensor that are computed at a time, unless one row has more."""


@dataclass(frozen=True)
class Maker:
    """Computes what cannot be moved and writes it into the files in `folder`, which it creates where there are none.

    Args:
        folder: where the files are put together.
        arrangement: where every tensor lies.
        recipes: what is to be computed.
        grown: computes it.
        storage: how the grown folder stores its tensors.
    """

    folder: Path
    arrangement: Arrangement
    recipes: Recipes
    grown: Grown
    storage: Storage

    @torch.no_grad()
    def make(self) -> tuple[OutputFile, ...]:
        """Do it; returns the files with the digest of every part that was made."""
        for name, pieces in self.arrangement.frames.items():
            for at, data in pieces:
                self._writer.write(name, memoryview(data), at)
        for name, rows in self.recipes.rows.items():
            shape = self.grown.rewrite.grown.tensors[name].shape
            size = self.grown.dtype(name).itemsize * torch.Size(shape[1:]).numel()
            for block in torch.tensor(rows).split(max(1, BLOCK // size)):
                for stored, tensor in self.storage.stored({name: self.grown.rows(name, block)}).items():
                    self._write_rows(stored, tensor, block)
        for names in self.recipes.together:
            for stored, tensor in self.storage.stored({name: self.grown.whole(name) for name in names}).items():
                self._write(stored, tensor)
        return self._writer.finished()

    def _write_rows(self, stored: str, tensor: Tensor, rows: Tensor) -> None:
        """Write what would be called `stored` if `rows` were all the rows there are."""
        held = self.recipes.held[stored]
        assert held is not None
        if held.row is not None:
            self._write(self._disk[held.name, int(rows[held.row]), held.pattern], tensor)
            return
        size = tensor[0].numel() * tensor.itemsize
        for position, row in enumerate(rows.tolist()):
            self._write(stored, tensor[position], row * size)

    def _write(self, stored: str, tensor: Tensor, at: int = 0) -> None:
        name, start = self.arrangement.places.get(stored, (stored, 0))
        self._writer.write(name, _bytes(tensor), start + at)

    @cached_property
    def _writer(self) -> MadeWriter:
        return MadeWriter(self.folder, self.arrangement.outputs)

    @cached_property
    def _disk(self) -> dict[Place, str]:
        return {(h.name, h.row, h.pattern): name for name, h in self.recipes.held.items() if h is not None}


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
