"""Safetensors files written tensor by tensor.

The format puts the header first, and the safetensors library writes a file from tensors that are all in memory. Here
names, dtypes and shapes are known beforehand, so the header is written first and the bytes follow as they come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

import torch
from torch import Tensor

from growc.checkpoint.atomic import sync_folder, write_json
from growc.checkpoint.dtypes import SAFETENSORS
from growc.model.folder import INDEX, SINGLE

SHARD_BYTES = 5 * 10**9
"""The most tensor bytes of one file, unless a single tensor has more."""


@dataclass(frozen=True)
class Slot:
    """One tensor of a file to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True)
class Shard:
    """One file to be written; its tensors in the order of their bytes."""

    file: str
    slots: tuple[Slot, ...]

    def header(self) -> bytes:
        """The length of the header and the header itself, padded so that data starts at a multiple of 8 bytes."""
        # transformers refuses files that do not name the framework they are for.
        fields: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for slot in self.slots:
            fields[slot.name] = {
                "dtype": SAFETENSORS[slot.dtype],
                "shape": list(slot.shape),
                "data_offsets": [offset, offset + slot.size],
            }
            offset += slot.size
        text = json.dumps(fields, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.header()) + sum(slot.size for slot in self.slots)


def pack(slots: Iterable[Slot], limit: int) -> tuple[Shard, ...]:
    """Distribute tensors over files of at most `limit` bytes of tensors, in order."""
    files: list[list[Slot]] = [[]]
    filled = 0
    for slot in slots:
        if files[-1] and filled + slot.size > limit:
            files.append([])
            filled = 0
        files[-1].append(slot)
        filled += slot.size
    if len(files) == 1:
        return (Shard(SINGLE, tuple(files[0])),)
    count = len(files)
    return tuple(
        Shard(f"model-{number:05d}-of-{count:05d}.safetensors", tuple(held))
        for number, held in enumerate(files, start=1)
    )


class ShardWriter:
    """Writes the tensors of `shards` into `folder`, in exactly the order that the shards plan."""

    def __init__(self, folder: Path, shards: tuple[Shard, ...]) -> None:
        self._folder = folder
        self._shards = iter(shards)
        self._slots: list[Slot] = []
        self._file: BufferedWriter | None = None

    def write(self, name: str, tensor: Tensor) -> None:
        """Append one tensor."""
        if not self._slots:
            self._open(next(self._shards))
        slot = self._slots.pop(0)
        assert (slot.name, slot.dtype, slot.shape) == (name, tensor.dtype, tuple(tensor.shape)), (slot, name)
        assert self._file is not None
        self._file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)

    def close(self) -> None:
        """Finish the last file."""
        if self._file is not None:
            self._file.close()
            sync_folder(Path(self._file.name))
            self._file = None

    def _open(self, shard: Shard) -> None:
        self.close()
        self._slots = list(shard.slots)
        self._file = (self._folder / shard.file).open("xb")
        self._file.write(shard.header())


def write_index(folder: Path, shards: tuple[Shard, ...], parameters: int) -> None:
    """Write the index that names the file of every tensor, where there are several files."""
    if len(shards) == 1:
        return
    weight_map: Mapping[str, str] = {slot.name: shard.file for shard in shards for slot in shard.slots}
    size = sum(slot.size for shard in shards for slot in shard.slots)
    metadata = {"total_parameters": parameters, "total_size": size}
    write_json(folder / INDEX, {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))})
