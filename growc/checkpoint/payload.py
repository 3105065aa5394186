"""One tensor as `torch.save` writes it, which is what a distributed checkpoint's shards consist of.

It is an uncompressed zip archive, so the tensor's bytes lie in it in one piece: around them everything follows from
dtype and shape. Both directions are torch's own, run on tensors without data.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.serialization import skip_data
from typing_extensions import override

NAME = "archive"
"""Of the file that an archive is made in; torch writes it into the archive, and this one if there is no file."""


@dataclass(frozen=True)
class Described:
    """A saved tensor: dtype, shape, and where its bytes begin in the archive, or None where they are not in order."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int | None


@dataclass(frozen=True)
class Archive:
    """An archive of a tensor: `length` bytes from byte `start` of an open file."""

    file: BinaryIO
    start: int
    length: int

    def opened(self) -> io.BufferedReader:
        """It as a file of its own; `file` stays open when that is closed."""
        return io.BufferedReader(_Slice(self.file, self.start, self.length))


class _Slice(io.RawIOBase):
    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        return self._at

    @override
    def tell(self) -> int:
        return self._at

    @override
    def readinto(self, buffer: Any, /) -> int:
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), max(0, self._length - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def load(archive: Archive) -> Tensor:
    """The tensor of an archive; nothing that it asks for runs.

    Raises:
        pickle.UnpicklingError, RuntimeError, ValueError, TypeError, ...: see `FAULTS` in
            `growc.checkpoint.validate_training_state`.
    """
    found: Any = torch.load(archive.opened(), map_location="cpu", weights_only=True)
    if not isinstance(found, Tensor) or found.layout is not torch.strided:
        raise ValueError(f"it holds a {type(found).__name__} where a tensor should be")
    return found.detach()


def described(archive: Archive) -> Described:
    """What an archive holds, without reading the tensor's bytes.

    Raises:
        As `load`.
    """
    size = _size(archive)
    with FakeTensorMode():
        found = load(archive)
    storage: Any = found.untyped_storage()
    first = storage._checkpoint_offset + found.storage_offset() * found.itemsize  # noqa: SLF001
    reach = found.storage_offset() + sum((n - 1) * step for n, step in zip(found.shape, found.stride(), strict=True))
    if found.numel() and (reach + 1) * found.itemsize > storage.nbytes():
        raise ValueError("its tensor reaches beyond its bytes")
    if storage.nbytes() != size:
        raise ValueError(f"it has {size} bytes where its tensor has {storage.nbytes()}")
    return Described(found.dtype, tuple(found.shape), first if found.is_contiguous() else None)


def _size(archive: Archive) -> int:
    """Bytes of the one tensor in an archive; ValueError, if they are not as in this machine's memory."""
    with zipfile.ZipFile(archive.opened()) as held:
        data = [info.file_size for info in held.infolist() if info.filename.split("/")[1:-1] == ["data"]]
        if len(data) != 1:
            raise ValueError(f"it holds {len(data)} tensors")
        if any(info.compress_type != zipfile.ZIP_STORED for info in held.infolist()):
            raise ValueError("it is compressed")
        order = [name for name in held.namelist() if name.rpartition("/")[2] == "byteorder"]
        if any(held.read(name) != b"little" for name in order):
            raise ValueError("its bytes are in the order of another machine")
        return data[0]


def frame(dtype: torch.dtype, shape: Sequence[int], folder: Path) -> tuple[bytes, bytes]:
    """What stands before and after the bytes of a tensor in its archive.

    The archive's checksum of these bytes is not theirs, as it is when torch saves with `set_crc32_options(False)`:
    torch does not look at it.

    Args:
        dtype: of the tensor.
        shape: of the tensor.
        folder: in which a file can be made, and is removed.
    """
    path = folder / NAME
    try:
        with FakeTensorMode(), skip_data(materialize_fake_tensors=True):
            torch.save(torch.empty(tuple(shape), dtype=dtype), path)
        size = path.stat().st_size
        with path.open("rb") as file:
            start = described(Archive(file, 0, size)).start
            assert start is not None
            end = start + torch.Size(shape).numel() * dtype.itemsize
            file.seek(0)
            before = file.read(start)
            file.seek(end)
            return before, file.read()
    finally:
        path.unlink(missing_ok=True)
