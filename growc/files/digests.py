"""xxh3-128 digests of byte ranges of files."""

from __future__ import annotations

from functools import lru_cache

import xxhash

from growc.files.copying import read
from growc.files.plan import PlannedTensor


def range_digest(handle: int, start: int, length: int) -> bytes:
    """The digest of `length` bytes from byte `start` of a descriptor; Shortened if the file ends before."""
    digest = xxhash.xxh3_128()
    for piece in read(handle, start, length):
        digest.update(piece)
    return digest.digest()


def tensor_digests(handle: int, start: int, tensor: PlannedTensor) -> tuple[bytes, list[bytes]]:
    """The digest of a whole tensor that starts at byte `start`, and those of its parts, in one pass."""
    if len(tensor.parts) == 1:
        digest = range_digest(handle, start, tensor.nbytes)
        return digest, [digest]
    whole, parts = xxhash.xxh3_128(), list[bytes]()
    for part in tensor.parts:
        own = xxhash.xxh3_128()
        for piece in read(handle, start, part.length):
            whole.update(piece)
            own.update(piece)
        parts.append(own.digest())
        start += part.length
    return whole.digest(), parts


@lru_cache(maxsize=64)
def zeros_digest(length: int) -> bytes:
    """The digest of so many zero bytes."""
    digest, zeros = xxhash.xxh3_128(), bytes(1 << 16)
    for _ in range(length // len(zeros)):
        digest.update(zeros)
    digest.update(zeros[: length % len(zeros)])
    return digest.digest()
