"""A delta as bytes: what differs from the base by exclusive or, byte planes apart, deflated block by block.

Weights that were trained a little differ in the low bits of their mantissas, so of the XOR the planes of high bytes are
nearly zero. Runs of zeros and single bytes are all there is to find: deflate with `Z_RLE` finds them in a fourth of the
time that looking for longer matches takes, and in fewer bytes.

A frame is one block: for each plane, the number of bytes that follow (4 bytes, little-endian) and these bytes. None
stand for zeros, as many as the plane has for the plane itself, any other number for a raw deflate stream of it.
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
        return bytes(_COUNT * width)
    delta = _xor(base, data)
    found = bytearray()
    for plane in range(width):
        held = delta[plane::width]
        stored = squeeze(held) if any(held) else b""
        found += len(stored).to_bytes(_COUNT, "little") + stored
    return bytes(found)


def is_zero(found: bytes, width: int) -> bool:
    """Whether a frame stands for no difference."""
    return len(found) == _COUNT * width and not any(found)


def unframe(base: bytes, found: memoryview, width: int) -> tuple[bytes, int]:
    """The block whose frame `found` begins with, and the bytes of that frame; Damaged if it does not."""
    delta, read = bytearray(len(base)), 0
    for plane in range(width):
        wanted = len(range(plane, len(base), width))
        count = int.from_bytes(found[read : read + _COUNT], "little")
        read += _COUNT
        if count > min(wanted, len(found) - read):
            raise Damaged(f"a plane of {wanted} bytes in {count}, with {max(0, len(found) - read)} left")
        if count:
            delta[plane::width] = expand(bytes(found[read : read + count]), wanted)
        read += count
    if read > len(found):
        raise Damaged("a frame that is cut short")
    return _xor(base, delta), read


def most(length: int, width: int) -> int:
    """The most bytes that the frame of a block of `length` bytes has."""
    return length + _COUNT * width


def _xor(one: bytes, other: bytes | bytearray) -> bytes:
    # Whole numbers of a million bytes are the fastest XOR without a library: 0.7 GB/s.
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(len(one), "little")
