"""Where the tensors of a grown folder lie in its files, for either format."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.distributed.checkpoint.filesystem import (
    _StorageInfo,  # pyright: ignore[reportPrivateUsage]  (the index consists of them)
)
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from growc.checkpoint.dtypes import TORCH
from growc.checkpoint.payload import frame
from growc.files.distributed import INDEX, SHARD
from growc.files.order import CONGRUENCE, anchor
from growc.files.plan import Made, OutputFile, PlannedTensor, Zeros

LARGE = 16 * CONGRUENCE
"""Bytes of a copy from which on it is worth up to 64 KiB of holes to lie as in the source."""


@dataclass(frozen=True)
class Arrangement:
    """The files of a grown folder.

    `places` are the names of tensors in `outputs`, and the byte there at which each starts, where it is not itself that
    lies there. `frames` are bytes there that belong to no tensor: by name, where they begin and what they are.
    """

    outputs: tuple[OutputFile, ...]
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    frames: Mapping[str, Sequence[tuple[int, bytes]]] = field(default_factory=dict[str, Sequence[tuple[int, bytes]]])


def distribute(
    tensors: Iterable[PlannedTensor], prefix: str, tied: Mapping[str, str], limit: int, folder: Path
) -> Arrangement:
    """A distributed checkpoint, as one rank would have written it, which any layout of ranks loads.

    Every tensor is one archive in a shard; its index is a file like any other. Tied names lead to the same archive.

    Args:
        tensors: of the model, under their names in memory.
        prefix: what all names get in front.
        tied: further names -> those of `tensors`.
        limit: the most tensor bytes of one shard, unless a single tensor has more.
        folder: in which a file can be made, and is removed.
    """
    shards: list[OutputFile] = []
    places: dict[str, tuple[str, int]] = {}
    frames: dict[str, Sequence[tuple[int, bytes]]] = {}
    index = Metadata({}, planner_data={}, storage_data={})
    for number, held in enumerate(_split(tensors, limit)):
        file, end, payloads = f"__0_{number}{SHARD}", 0, list[PlannedTensor]()
        for tensor in held:
            name, dtype = prefix + tensor.name, TORCH[tensor.dtype]
            before, after = frame(dtype, tensor.shape, folder)
            gap = _gap(tensor, end + len(before))
            start = gap + len(before)
            size = start + tensor.nbytes + len(after)
            parts = (Zeros(gap), Made(len(before)), *tensor.parts, Made(len(after)))
            payloads.append(PlannedTensor(name, "U8", (size,), parts if gap else parts[1:]))
            places[tensor.name] = name, start
            frames[name] = (gap, before), (start + tensor.nbytes, after)
            for also in (name, *(prefix + other for other, first in tied.items() if first == tensor.name)):
                _enter(index, also, dtype, tensor.shape, _StorageInfo(file, end + gap, size - gap))
            end += size
        shards.append(OutputFile(file, None, tuple(payloads)))
    written = pickle.dumps(index)
    frames[INDEX] = ((0, written),)
    last = OutputFile(INDEX, None, (PlannedTensor(INDEX, "U8", (len(written),), (Made(len(written)),)),))
    return Arrangement((*shards, last), places, frames)


def _split(tensors: Iterable[PlannedTensor], limit: int) -> Iterator[list[PlannedTensor]]:
    held, filled = list[PlannedTensor](), 0
    for tensor in tensors:
        if held and filled + tensor.nbytes > limit:
            yield held
            held, filled = [], 0
        held.append(tensor)
        filled += tensor.nbytes
    yield held


def _gap(tensor: PlannedTensor, at: int) -> int:
    """Bytes to leave before an archive, so that a large copy which would begin at byte `at` lies as in its source."""
    part, before = anchor(tensor), 0
    if part is None or part.length < LARGE:
        return 0
    for other in tensor.parts:
        if other is part:
            break
        before += other.length
    return (part.start - at - before) % CONGRUENCE


def _enter(index: Metadata, name: str, dtype: torch.dtype, shape: tuple[int, ...], where: _StorageInfo) -> None:
    """Note a tensor of one chunk."""
    origin, size = torch.Size([0] * len(shape)), torch.Size(shape)
    chunk = ChunkStorageMetadata(origin, size)
    index.state_dict_metadata[name] = TensorStorageMetadata(TensorProperties(dtype), size, [chunk])
    index.storage_data[MetadataIndex(name, origin)] = where
    index.planner_data[name] = (name,)  # the path to it in the state dict, by which torch rebuilds that
