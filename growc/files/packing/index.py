"""The index of a packed checkpoint: every file that it is unpacked to, and how the bytes of each tensor are stored.

JSON lines (`growc.files.lines`): a head with all files, then for each tensor its name, dtype, shape, xxh3-128 and
pieces. All pieces of a tensor are equally long, and numbered through the whole index; a piece is stored whole, or as a
delta (`growc.files.packing.frames`) against an earlier one, in no bytes at all where the two are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from growc.diagnostics import fail
from growc.files.folder import PACKED
from growc.files.headers import BITS, HEADER_LIMIT, MOST_AXES
from growc.files.lines import natural, of, read_lines, write_lines
from growc.files.plan import Made, PlannedTensor

VERSION = 1

LARGEST = 1 << 63
"""More bytes than any file has."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes that a piece is stored in, and the number of the piece that they are a delta against."""

    stored: int
    base: int | None


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A tensor as safetensors names it, the xxh3-128 of its bytes in hexadecimal, and how these are stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        """Bytes when unpacked."""
        return BITS[self.dtype] * math.prod(self.shape) // 8

    @property
    def piece(self) -> int:
        """Bytes of each piece when unpacked."""
        return self.nbytes // len(self.pieces)

    @property
    def width(self) -> int:
        """Bytes of an element, as far as pieces consist of whole ones."""
        width = max(1, BITS[self.dtype] // 8)
        return 1 if self.piece % width else width


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A weight file: bytes of its header, their sha256, the bytes they are stored in, and the tensors in order."""

    name: str
    header: int
    digest: str
    stored: int
    tensors: tuple[PackedTensor, ...]

    @property
    def data(self) -> int:
        """Where the first tensor starts, in bytes from the start of the unpacked file."""
        return 8 + self.header

    @property
    def size(self) -> int:
        """Bytes when unpacked."""
        return self.data + sum(tensor.nbytes for tensor in self.tensors)

    def contents(self) -> Iterator[PlannedTensor]:
        """What the packed file holds, itself a safetensors file: the header, and all tensors as they are stored."""
        lengths = {tensor.name: sum(piece.stored for piece in tensor.pieces) for tensor in self.tensors}
        for name, length in (("header", self.stored), *((f"tensor.{name}", n) for name, n in lengths.items())):
            yield PlannedTensor(name, "U8", (length,), (Made(length),))


@dataclass(frozen=True, slots=True)
class Beside:
    """Any other file: its path in the folder, its bytes, and their xxh3-128 in hexadecimal."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Pack:
    """What a packed folder is unpacked to."""

    files: tuple[PackedFile, ...]
    beside: tuple[Beside, ...]

    @property
    def size(self) -> int:
        """Bytes of all files when unpacked."""
        return sum(file.size for file in self.files) + sum(file.size for file in self.beside)


def write_pack(folder: Path, pack: Pack) -> None:
    """Write the index whole or not at all."""
    write_lines(folder / PACKED, _values(pack))


def read_pack(folder: Path) -> Pack:
    """The index of a packed folder, in which everything fits everything else.

    Raises:
        GrowcError: GROW671 (there is none), GROW672 (it is damaged, forged, or of another version).
    """
    path = folder / PACKED
    try:
        with path.open("rb") as file:
            return _parsed(read_lines(file))
    except FileNotFoundError:
        fail("GROW671", f"{folder} holds no {PACKED}: it is not packed", help="`growc pack` writes such folders")
    except OSError as error:
        damaged(path, f"cannot be read: {error.strerror}")
    except (ValueError, TypeError, LookupError) as error:
        damaged(path, f"is damaged: {error or type(error).__name__}")


def damaged(path: Path, fault: str) -> NoReturn:
    """Refuse a packed folder for what is wrong at `path` (GROW672)."""
    fail("GROW672", f"{path} {fault}", help="fetch the packed checkpoint again, or pack it again")


def _values(pack: Pack) -> Iterator[Any]:
    yield {
        "packed": VERSION,
        "files": [[file.name, file.header, file.digest, file.stored, len(file.tensors)] for file in pack.files],
        "beside": [[file.name, file.size, file.digest] for file in pack.beside],
    }
    for file in pack.files:
        for tensor in file.tensors:
            pieces = [[piece.stored, piece.base] for piece in tensor.pieces]
            yield [tensor.name, tensor.dtype, tensor.shape, tensor.digest, pieces]


def _parsed(values: Iterator[Any]) -> Pack:
    head = next(values, None)
    if head is None or head["packed"] != VERSION:
        raise ValueError("another version of growc wrote it")
    beside = tuple(Beside(_name(name), natural(size), _hex(digest, 16)) for name, size, digest in head["beside"])
    lengths: list[int] = []
    files = tuple(_file(fields, values, lengths) for fields in head["files"])
    names = [file.name for file in (*files, *beside)]
    if len({*names}) < len(names):
        raise ValueError("it names a file twice")
    for _ in values:
        raise ValueError("more tensors than its files hold")
    return Pack(files, beside)


def _file(fields: list[Any], values: Iterator[Any], lengths: list[int]) -> PackedFile:
    name, header, digest, stored, count = fields
    if "/" in _name(name) or not name.endswith(".safetensors"):
        raise ValueError(f"a weight file named {name!r}")
    if not natural(stored) <= natural(header) <= HEADER_LIMIT:
        raise ValueError(f"a header of {header} bytes in {stored}")
    tensors = tuple(_tensor(value, lengths) for value in islice(values, natural(count)))
    if len(tensors) < count or len({tensor.name for tensor in tensors}) < count:
        raise ValueError(f"{name} has fewer tensors than it should")
    return PackedFile(name, header, _hex(digest, 32), stored, tensors)


def _tensor(value: list[Any], lengths: list[int]) -> PackedTensor:
    """The tensor, and to `lengths` those of its pieces; the bases are among them."""
    name, dtype, shape, digest, pieces = value
    if BITS[of(str, dtype)] * math.prod(_shape(shape)) % 8 or not pieces:
        raise ValueError(f"{of(str, name)!r} has no whole bytes")
    tensor = PackedTensor(of(str, name), dtype, tuple(shape), _hex(digest, 16), tuple(_piece(*p) for p in pieces))
    if tensor.nbytes >= LARGEST or tensor.nbytes % len(tensor.pieces):
        raise ValueError(f"{name!r} has {tensor.nbytes} bytes in {len(tensor.pieces)} pieces")
    for piece in tensor.pieces:
        whole = piece.stored == tensor.piece
        alike = piece.base is not None and piece.base < len(lengths) and lengths[piece.base] == tensor.piece
        if not (whole if piece.base is None else alike and piece.stored < tensor.piece):
            raise ValueError(f"{name!r} has a piece of {tensor.piece} bytes in {piece.stored} against {piece.base}")
        lengths.append(tensor.piece)
    return tensor


def _piece(stored: Any, base: Any) -> Piece:
    return Piece(natural(stored), None if base is None else natural(base))


def _shape(shape: Any) -> list[int]:
    if len(of(list, shape)) > MOST_AXES or any(natural(size) >= LARGEST for size in shape):
        raise ValueError("a shape that no file has")
    return shape


def _hex(digest: Any, length: int) -> str:
    if len(bytes.fromhex(of(str, digest))) != length:
        raise ValueError(f"a digest {digest!r}")
    return digest


def _name(name: Any) -> str:
    """A path that stays in its folder."""
    path = PurePosixPath(of(str, name))
    if not name or str(path) != name or path.is_absolute() or ".." in path.parts or "\0" in name or name == ".":
        raise ValueError(f"a file named {name!r}")
    return name
