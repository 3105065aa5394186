"""The byte plan of a grown checkpoint: for every byte of every weight file, where it comes from.

A plan is made by whoever knows the model, and carried out by `growc.files.move`, which knows bytes only. Files, tensors
and parts are in the order of their bytes, so all offsets follow from lengths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from growc.files.headers import BITS


@dataclass(frozen=True, slots=True)
class Source:
    """A weight file that is read: its absolute path, and what must not have changed when it is.

    `header` is the sha256 of the header, as `Header.digest` has it (of a shard of a distributed checkpoint, which has
    none: that of its first bytes); `mtime_ns` is in nanoseconds, `size` in bytes.
    """

    path: str
    size: int
    mtime_ns: int
    header: str


@dataclass(frozen=True, slots=True)
class Copied:
    """`length` bytes from byte `start` of the source file numbered `file`."""

    file: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Zeros:
    """`length` zero bytes."""

    length: int


@dataclass(frozen=True, slots=True)
class Made:
    """`length` bytes that were computed and stand in the output file already.

    `digest` is their xxh3-128 in hexadecimal; it is empty in a layout, before they have been computed.
    """

    length: int
    digest: str = ""


Part = Copied | Zeros | Made


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the grown checkpoint: dtype as safetensors names it, and its bytes as a sequence of parts."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        assert self.nbytes * 8 == BITS[self.dtype] * math.prod(self.shape), f"{self.name}: its parts are not its size"

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return sum(part.length for part in self.parts)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A safetensors file to be written: its name, the bytes of its padded header, its tensors in order.

    Without a header it is a file of a distributed checkpoint: each of its tensors is a string of bytes ("U8"), which
    holds a tensor of the model together with what the format puts around it.
    """

    name: str
    header: int | None
    tensors: tuple[PlannedTensor, ...]

    @property
    def data(self) -> int:
        """Where the first tensor starts, in bytes from the start of the file."""
        return 0 if self.header is None else 8 + self.header

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.data + sum(tensor.nbytes for tensor in self.tensors)

    def head(self) -> bytes:
        """Everything before the first tensor: the header's length, the header, and the spaces that pad it."""
        if self.header is None:
            return b""
        text = header_text(self.tensors)
        assert len(text) <= self.header and self.header % 8 == 0, "the header does not fit its place"
        return self.header.to_bytes(8, "little") + text.ljust(self.header)

    def places(self) -> Iterator[tuple[int, PlannedTensor]]:
        """Every tensor with the byte of the file that it starts at."""
        start = self.data
        for tensor in self.tensors:
            yield start, tensor
            start += tensor.nbytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a grown checkpoint's weight files consist of.

    `key` names everything that the plan was made from: two calls with the same key are after the same checkpoint.
    `parameters` is what the index tells as the model's number of parameters.
    """

    key: str
    parameters: int
    sources: tuple[Source, ...]
    outputs: tuple[OutputFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all weight files."""
        return sum(output.size for output in self.outputs)


FOR_TORCH: Mapping[str, str] = {"format": "pt"}
"""Metadata of weights: transformers refuses files that do not name the framework they are for."""


def header_text(tensors: Iterable[PlannedTensor], metadata: Mapping[str, str] = FOR_TORCH) -> bytes:
    """The safetensors header of a file with these tensors, without padding."""
    entries = [f'"__metadata__":{json.dumps(metadata, separators=(",", ":"))}'.encode()]
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        shape = ",".join(map(str, tensor.shape))
        entry = (
            f'{json.dumps(tensor.name)}:{{"dtype":"{tensor.dtype}","shape":[{shape}],"data_offsets":[{offset},{end}]}}'
        )
        entries.append(entry.encode())
        offset = end
    return b"{" + b",".join(entries) + b"}"
