"""The tensors of a folder as they lie on disk, whatever the format."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from growc.checkpoint.dtypes import TORCH
from growc.diagnostics import fail
from growc.files.folder import WeightFiles
from growc.files.plan import Copied, Source


class Weights(Protocol):
    """Tensors under their names on disk, of dtypes as safetensors names them; checked, but for their payload."""

    @property
    def folder(self) -> Path:
        """Where they are."""
        ...

    @property
    def names(self) -> Collection[str]:
        """Of all tensors."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether the names are those in memory, and nothing is converted; else as the family's files are."""
        ...

    @property
    def prefix(self) -> str:
        """What all names have in front on disk; it is cut off here."""
        ...

    def kind(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape of a tensor."""
        ...

    def file(self, name: str) -> Path:
        """The file, or one of those, that hold a tensor."""
        ...

    def extents(self, name: str) -> tuple[Copied, ...]:
        """The bytes of a tensor in order, as ranges of `sources`; none where they do not lie so."""
        ...

    def read(self, name: str) -> Tensor:
        """A whole tensor (GROW646: it cannot be read)."""
        ...

    def sources(self) -> tuple[Source, ...]:
        """The files with the tensors, by which extents number them."""
        ...

    def fingerprint(self) -> list[tuple[str, int, str]]:
        """Name, size and digest of every file: what can be known without reading a payload."""
        ...


@dataclass(frozen=True)
class HubWeights:
    """The `Weights` of a Hugging Face folder."""

    files: WeightFiles
    in_memory: bool = False
    prefix: str = ""

    @property
    def folder(self) -> Path:
        """See `Weights.folder`."""
        return self.files.folder

    @property
    def names(self) -> Collection[str]:
        """See `Weights.names`."""
        return self.files.location.keys()

    def kind(self, name: str) -> tuple[str, tuple[int, ...]]:
        """See `Weights.kind`."""
        entry = self.files.entry(name)
        return entry.dtype, entry.shape

    def file(self, name: str) -> Path:
        """See `Weights.file`."""
        return self.folder / self.files.location[name]

    def extents(self, name: str) -> tuple[Copied, ...]:
        """See `Weights.extents`."""
        entry = self.files.entry(name)
        return (Copied(self.files.numbers[self.files.location[name]], entry.start, entry.end - entry.start),)

    def read(self, name: str) -> Tensor:
        """See `Weights.read`."""
        entry, path = self.files.entry(name), self.file(name)
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

    def sources(self) -> tuple[Source, ...]:
        """See `Weights.sources`."""
        return self.files.sources()

    def fingerprint(self) -> list[tuple[str, int, str]]:
        """See `Weights.fingerprint`."""
        return self.files.fingerprint()
