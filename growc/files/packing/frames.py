"""A delta as bytes: what differs from the base by exclusive or, byte planes apart, deflated block by block.

Weights that were trained a little differ in the low bits of their mantissas, so of the XOR the planes of high bytes are
nearly zero. Runs of one byte and rare bytes are all there is to find, and longer matches are chance: deflate with
`Z_RLE` does not look for them, which takes less time and, by its tables, fewer bytes.

A frame is one block: for each plane the number of its bytes (4 bytes, little-endian), then these bytes of all planes.
None stand for zeros, as many as the plane has for the plane itself, any other number for a raw deflate stream of it.
"""

from __future__ import annotations

import zlib

BLOCK = 1 << 20
"""Bytes of tensors in a frame; a multiple of the width of every element."""

_COUNT = 4
"""Bytes of a number of bytes."""


class Damaged(Exception):
    """Bytes that are not what was once written."""


def squeeze(data: bytes) -> bytes:
    """The data deflated, or as it is, if that does not pay."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    found = deflate.compress(data) + deflate.flush()
    return found if len(found) < len(data) else data


def expand(found: bytes, length: int) -> bytes:
    """The data that `squeeze` made `found` of, or Damaged; no more than a byte above `length` is ever inflated."""
    if len(found) == length:
        return found
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflate.decompress(found, length + 1)
    except zlib.error as error:
        raise Damaged(str(error)) from None
    if len(data) != length or not inflate.eof or inflate.unused_data:
        raise Damaged(f"{len(found)} bytes that are not {length} deflated")
    return data


def frame(base: bytes, data: bytes, width: int) -> bytes:
    """The frame of a block.

    Args:
        base: as many bytes as `data`.
        data: the block.
        width: bytes of an element.
    """
    if base == data:
        return bytes(head(width))
    delta = _xor(base, data)
    planes = [delta[plane::width] for plane in range(width)]
    stored = [b"" if plane.count(0) == len(plane) else squeeze(plane) for plane in planes]
    return b"".join((*(len(found).to_bytes(_COUNT, "little") for found in stored), *stored))


def head(width: int) -> int:
    """Bytes of a frame before its planes."""
    return _COUNT * width


def counts(found: bytes, length: int) -> tuple[int, ...]:
    """The bytes of every plane, as the head of a frame tells them for a block of `length` bytes, or Damaged."""
    told = tuple(int.from_bytes(found[at : at + _COUNT], "little") for at in range(0, len(found), _COUNT))
    for plane, count in enumerate(told):
        if count > len(range(plane, length, len(told))):
            raise Damaged(f"a plane in {count} bytes, of a block of {length}")
    return told


def unframe(base: bytes, told: tuple[int, ...], planes: bytes) -> bytes:
    """The block of a frame, or Damaged.

    Args:
        base: what it is a delta against.
        told: the bytes of every plane.
        planes: these bytes, one plane after the other.
    """
    delta, at, width = bytearray(len(base)), 0, len(told)
    for plane, count in enumerate(told):
        if count:
            delta[plane::width] = expand(planes[at : at + count], len(range(plane, len(base), width)))
        at += count
    return _xor(base, delta)


def _xor(one: bytes, other: bytes | bytearray) -> bytes:
    # Whole numbers of a million bytes: the fastest XOR without a library.
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(len(one), "little")
