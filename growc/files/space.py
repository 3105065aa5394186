"""How much disk a plan takes, known before its first byte is written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from growc.files.copying import block_size, clone, data_segments, opened
from growc.files.plan import Made, Plan
from growc.files.ranges import Range, ranges
from growc.files.staging import check_space, free_space


def check_room(plan: Plan, folder: Path) -> None:
    """Refuse a plan that does not fit on the disk of `folder`, which may hold some of its files already (GROW643).

    Holes of a source take no room, and neither do copies that share their blocks with the source.
    """
    copied = [part for number, output in enumerate(plan.outputs) for part in ranges(number, output)]
    own = sum(output.data for output in plan.outputs) + _made_bytes(plan) - _there(plan, folder)
    needed = own + _data_bytes(plan, copied)
    if needed > free_space(folder) and (block := _shared_block(plan, copied, folder)):
        needed = own + _data_bytes(plan, (part for part in copied if (part.to - part.start) % block))
    check_space(folder, needed)


def _made_bytes(plan: Plan) -> int:
    tensors = (tensor for output in plan.outputs for tensor in output.tensors)
    return sum(part.length for tensor in tensors for part in tensor.parts if isinstance(part, Made))


def _there(plan: Plan, folder: Path) -> int:
    paths = (folder / output.name for output in plan.outputs)
    return sum(path.stat().st_blocks * 512 for path in paths if path.exists())


def _data_bytes(plan: Plan, parts: Iterable[Range]) -> int:
    """Bytes of the ranges that are no holes."""
    total = 0
    for part in parts:
        with opened(plan.sources[part.source].path) as handle:
            segments = data_segments(handle, part.start, part.start + part.length)
            total += sum(end - start for start, end in segments)
    return total


def _shared_block(plan: Plan, copied: list[Range], folder: Path) -> int:
    """Bytes of a block, if the file system lets a new file share one with the first source; else 0."""
    if not copied:
        return 0
    probe = folder / "probe.partial"
    try:
        with opened(probe, os.O_RDWR | os.O_CREAT) as target, opened(plan.sources[copied[0].source].path) as source:
            block = block_size(target)
            return block if clone(source, target, 0, 0, block) else 0
    finally:
        probe.unlink(missing_ok=True)
