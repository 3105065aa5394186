"""Bytes from one open file to another, by the cheapest way that the file systems allow.

Shared extents where both sides lie alike in their blocks; else a copy within the kernel where both lie alike in 64 KiB
(where they do not, it is slower than a plain copy); else reads and writes. Holes stay holes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from growc.files.order import CONGRUENCE

BUFFER = 1 << 18
"""Bytes of one read and write, and of memory for every thread. With 1 MiB, ext4 at times takes four times as long."""

_FICLONERANGE = 0x4020940D
_UNABLE = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EPERM})
"""What systems answer that cannot share extents or copy within the kernel."""

_local = threading.local()


class Shortened(Exception):
    """A source file ended before the bytes that were to be read from it."""


class Copier:
    """Copies ranges between open files, for several threads, and remembers which ways a pair of devices refuses."""

    def __init__(self) -> None:
        self._refused: set[tuple[str, int, int]] = set()

    def copy(self, source: int, target: int, start: int, to: int, length: int) -> None:
        """Copy `length` bytes from byte `start` of descriptor `source` to byte `to` of `target`.

        Where the source has a hole, the target is left as it is: it must be a hole there already.

        Raises:
            OSError: one of the file systems refuses.
            Shortened: the source is shorter than that.
        """
        for begin, end in data_segments(source, start, start + length):
            self._copy_data(source, target, begin, to + begin - start, end - begin)

    def _copy_data(self, source: int, target: int, start: int, to: int, length: int) -> None:
        """The aligned middle by the cheapest way that is allowed, what is before and after it through memory."""
        devices = os.fstat(source).st_dev, os.fstat(target).st_dev
        for way, unit, run in (("clone", block_size(target), _cloned), ("copy", CONGRUENCE, _copied)):
            head = min(-start % unit, length)
            middle = (length - head) // unit * unit
            if (to - start) % unit or not middle or (way, *devices) in self._refused:
                continue
            done = head + run(source, target, start + head, to + head, middle)
            if done < head + middle:
                self._refused.add((way, *devices))
            if done > head:
                self._through_memory(source, target, start, to, head)
                self._through_memory(source, target, start + done, to + done, length - done)
                return
        self._through_memory(source, target, start, to, length)

    def _through_memory(self, source: int, target: int, start: int, to: int, length: int) -> None:
        for piece in read(source, start, length):
            write(target, piece, to)
            to += len(piece)


@contextmanager
def opened(path: Path | str, flags: int = os.O_RDONLY) -> Generator[int]:
    """The descriptor of a file; what it creates has the permissions that the umask allows."""
    handle = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)


def block_size(handle: int) -> int:
    """Bytes of a block of the file system that a descriptor is on; network file systems name larger ones."""
    return min(os.fstatvfs(handle).f_bsize, CONGRUENCE)


def _cloned(source: int, target: int, start: int, to: int, length: int) -> int:
    return length if clone(source, target, start, to, length) else 0


def _copied(source: int, target: int, start: int, to: int, length: int) -> int:
    """How many bytes the kernel copied before it refused, or came to the source's end."""
    done = 0
    try:
        while done < length and (count := os.copy_file_range(source, target, length - done, start + done, to + done)):
            done += count
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    return done


def clone(source: int, target: int, start: int, to: int, length: int) -> bool:
    """Let `target` share the blocks of `source`; False where the file system cannot. All numbers are whole blocks."""
    try:
        fcntl.ioctl(target, _FICLONERANGE, struct.pack("=qQQQ", source, start, length, to))
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return False
    return True


def read(handle: int, start: int, length: int) -> Iterator[memoryview]:
    """`length` bytes from byte `start`, piece by piece; Shortened if the file ends before.

    All pieces that a thread reads lie in one buffer: a piece is good until the next is asked for.
    """
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(BUFFER))
    buffer: memoryview = _local.buffer
    while length:
        count = os.preadv(handle, [buffer[:length]], start)
        if count == 0:
            raise Shortened
        yield buffer[:count]
        start += count
        length -= count


def read_whole(handle: int, start: int, length: int) -> bytes:
    """`length` bytes from byte `start` in memory; Shortened if the file ends before."""
    data = bytearray()
    for piece in read(handle, start, length):
        data += piece
    return bytes(data)


def write(handle: int, data: bytes | memoryview, to: int) -> None:
    """Write all of `data` at byte `to`."""
    left = memoryview(data)
    while left:
        count = os.pwrite(handle, left, to)
        left = left[count:]
        to += count


def data_segments(handle: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a byte range that are no holes, as pairs of start and end.

    Only files with less disk than bytes are asked for holes: a file system that answers wrongly for a file that was
    just written (some did) does no harm then. Beyond the end of the file everything counts as data.
    """
    status = os.fstat(handle)
    if status.st_blocks * 512 >= status.st_size or end > status.st_size:
        yield start, end
        return
    while start < end:
        try:
            begin = os.lseek(handle, start, os.SEEK_DATA)
            stop = os.lseek(handle, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            if error.errno not in _UNABLE:
                raise
            begin, stop = start, end
        if begin < end:
            yield begin, min(stop, end)
        start = stop
