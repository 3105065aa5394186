"""The `Weights` of a torch distributed checkpoint (DCP) of a model's state dict, whatever ranks wrote it.

Its index is read by `growc.checkpoint.shards`, its tensors by torch with `weights_only`; all of it is checked before
anything is read for good. Tensors go by their names in memory, flat or behind one prefix.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.dtypes import SAFETENSORS, TORCH
from growc.checkpoint.payload import Archive, Described, described, load
from growc.checkpoint.prefix import prefix_of
from growc.checkpoint.shards import ShardsReader
from growc.checkpoint.validate_training_state import FAULTS, said
from growc.diagnostics import fail
from growc.files.distributed import INDEX, fingerprint, head_digest, size_of, unsound
from growc.files.plan import Copied, Source

MOST_CELLS = 1 << 24
"""Of the grid that the edges of a tensor's chunks make; ranks that share a tensor out make no more than they are."""

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Where a chunk begins in its tensor, and its lengths."""


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor: its place there, and the archive that holds it, in bytes of a file."""

    box: Box
    file: str
    start: int
    length: int
    held: Described


@dataclass(frozen=True)
class DistributedWeights:
    """See `growc.checkpoint.weights.Weights`; made by `read_distributed`."""

    folder: Path
    prefix: str
    chunks: Mapping[str, tuple[Chunk, ...]]
    kinds: Mapping[str, tuple[str, tuple[int, ...]]]
    in_memory: bool = field(default=True, init=False)

    @property
    def names(self) -> Collection[str]:
        """See `Weights.names`."""
        return self.kinds.keys()

    def kind(self, name: str) -> tuple[str, tuple[int, ...]]:
        """See `Weights.kind`."""
        return self.kinds[name]

    def file(self, name: str) -> Path:
        """See `Weights.file`."""
        return self.folder / self.chunks[name][0].file

    def extents(self, name: str) -> tuple[Copied, ...]:
        """See `Weights.extents`: chunks of whole rows follow each other, all others are interleaved."""
        dtype, shape = self.kinds[name]
        found: list[Copied] = []
        for chunk in sorted(self.chunks[name], key=lambda chunk: chunk.box):
            if chunk.box[1][1:] != shape[1:] or chunk.held.start is None:
                return ()
            size = torch.Size(chunk.box[1]).numel() * TORCH[dtype].itemsize
            found.append(Copied(self._numbers[chunk.file], chunk.start + chunk.held.start, size))
        return tuple(found)

    def read(self, name: str) -> Tensor:
        """See `Weights.read`."""
        dtype, shape = self.kinds[name]
        whole = torch.empty(shape, dtype=TORCH[dtype])
        for chunk in self.chunks[name]:
            path = self.folder / chunk.file
            try:
                with path.open("rb") as file:
                    part = load(Archive(file, chunk.start, chunk.length))
            except FAULTS as error:
                fail("GROW646", f"{path} cannot be read: {said(error)}", help="let nothing write to the source")
            target = whole
            for dim, (begin, length) in enumerate(zip(*chunk.box, strict=True)):
                target = target.narrow(dim, begin, length)
            target.copy_(part)
        return whole

    def sources(self) -> tuple[Source, ...]:
        """See `Weights.sources`."""
        paths = [self.folder / name for name in self._numbers]
        return tuple(map(_source, paths))

    def fingerprint(self) -> list[tuple[str, int, str]]:
        """See `Weights.fingerprint`."""
        return fingerprint(self.folder)

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        files = sorted({chunk.file for chunks in self.chunks.values() for chunk in chunks})
        return {name: number for number, name in enumerate(files)}


def read_distributed(folder: Path, graph: ModelGraph) -> DistributedWeights:
    """The weights of a folder with a distributed checkpoint of the model `graph`.

    Raises:
        GrowcError: GROW641 (no prefix makes the names those of the model), GROW647 (a dtype), GROW663 (a damaged
            index, a missing or damaged file or chunk).
    """
    index = _index(folder)
    prefix = prefix_of(index.state_dict_metadata, graph, folder / INDEX)
    reading = _Reading(folder, index)
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    chunks: dict[str, tuple[Chunk, ...]] = {}
    for key in index.state_dict_metadata:
        name = key.removeprefix(prefix)
        kinds[name], chunks[name] = reading.tensor(key)
    return DistributedWeights(folder, prefix, chunks, kinds)


def _index(folder: Path) -> Metadata:
    with _told(folder / INDEX):
        index = ShardsReader(folder).read_metadata()
        if not isinstance(index.state_dict_metadata, dict) or not all(  # pyright: ignore[reportUnnecessaryIsInstance]
            isinstance(name, str)  # pyright: ignore[reportUnnecessaryIsInstance]
            for name in index.state_dict_metadata
        ):
            raise pickle.UnpicklingError("it does not list tensors by name")
        return index


@dataclass(frozen=True)
class _Reading:
    """Checks what an index says against the files."""

    folder: Path
    index: Metadata

    def tensor(self, key: str) -> tuple[tuple[str, tuple[int, ...]], tuple[Chunk, ...]]:
        """Dtype and shape of a tensor, and its chunks, which make it up exactly."""
        with _told(self.folder / INDEX, key):
            entry: Any = self.index.state_dict_metadata[key]
            if not isinstance(entry, TensorStorageMetadata):
                raise ValueError("it is no tensor")
            dtype, shape = entry.properties.dtype, _naturals(entry.size)
            boxes = [(_naturals(chunk.offsets), _naturals(chunk.sizes)) for chunk in entry.chunks]
            if not _covers(boxes, shape):
                raise ValueError("its chunks leave a part of it out, or hold one twice")
        if dtype not in SAFETENSORS:
            help = "convert the checkpoint to bf16 first"
            fail("GROW647", f"{key} is stored as {dtype} in {self.folder / INDEX}", help=help)
        chunks = tuple(self._chunk(key, box) for box in boxes)
        for chunk in chunks:
            if (chunk.held.dtype, chunk.held.shape) != (dtype, chunk.box[1]):
                unsound(self.folder / chunk.file, f"holds {key} otherwise than {INDEX} says")
        return (SAFETENSORS[dtype], shape), chunks

    def _chunk(self, key: str, box: Box) -> Chunk:
        with _told(self.folder / INDEX, key):
            info: Any = (self.index.storage_data or {}).get(MetadataIndex(key, torch.Size(box[0])))
            if info is None:
                raise ValueError(f"it does not say where the chunk at {list(box[0])} lies")
            if getattr(info, "transform_descriptors", None):
                raise ValueError("it was written through an extension, compressed perhaps")
            start, length = _naturals((info.offset, info.length))
        path = self.folder / info.relative_path
        with _told(path, key):
            if start + length > size_of(path):
                raise ValueError(f"the file is cut short: it should go on to byte {start + length}")
            with path.open("rb") as file:
                return Chunk(box, path.name, start, length, described(Archive(file, start, length)))


def _naturals(numbers: Any) -> tuple[int, ...]:
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"{tuple(numbers)} for sizes")
    return tuple(numbers)


def _covers(boxes: list[Box], shape: tuple[int, ...]) -> bool:
    """Whether every element of a tensor is in one box, and in no other."""
    if any(len(lengths) != len(shape) or len(begins) != len(shape) for begins, lengths in boxes):
        return False
    if any(b + n > whole for begins, lengths in boxes for b, n, whole in zip(begins, lengths, shape, strict=True)):
        return False
    cuts = [sorted({0, n} | {c for b, m in boxes for c in (b[dim], b[dim] + m[dim])}) for dim, n in enumerate(shape)]
    if math.prod(len(along) - 1 for along in cuts) > MOST_CELLS:
        raise ValueError("it is in more pieces than ranks could write")
    places = [{cut: place for place, cut in enumerate(along)} for along in cuts]
    count = torch.zeros([len(along) - 1 for along in cuts], dtype=torch.int64)
    for begins, lengths in boxes:
        ends = [b + n for b, n in zip(begins, lengths, strict=True)]
        count[tuple(slice(at[b], at[e]) for at, b, e in zip(places, begins, ends, strict=True))] += 1
    return bool((count == 1).all())


@contextmanager
def _told(path: Path, key: str = "") -> Generator[None]:
    """Makes what torch and pickle raise at a damaged checkpoint a diagnostic (GROW663)."""
    try:
        yield
    except FAULTS as error:
        about = f"{key}: " if key else ""
        unsound(path, f"cannot be read: {about}{said(error)}")


def _source(path: Path) -> Source:
    path = path.absolute()
    status = path.stat()
    return Source(str(path), status.st_size, status.st_mtime_ns, head_digest(path))
