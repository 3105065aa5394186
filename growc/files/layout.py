"""Which tensor lies in which file, and how long the files' headers are.

An output file follows a source file. Its header ends in spaces that bring most copied bytes to where they were in the
source, modulo 64 KiB: page caches copy aligned ranges faster, and file systems that share blocks need not copy at all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from growc.files.folder import SINGLE
from growc.files.headers import HEADER_LIMIT
from growc.files.order import CONGRUENCE, anchor, ordered
from growc.files.plan import Copied, OutputFile, PlannedTensor, header_text


def lay_out(
    tensors: Iterable[PlannedTensor], limit: int, beside: Mapping[str, int] | None = None
) -> tuple[OutputFile, ...]:
    """The output files of a checkpoint with these tensors, at least one.

    Args:
        tensors: of distinct names; where several use the same source bytes, the first counts as the original.
        limit: the most tensor bytes of one file, unless a single tensor has more.
        beside: for tensors without a Copied part, the number of the source file that they go along with; those that
            are not in it go along with the last.
    """
    grouped = _by_source(tensors, beside or {})
    files = [part for number in sorted(grouped) for part in _split(ordered(grouped[number]), limit)] or [()]
    if len(files) == 1:
        return (_padded(SINGLE, files[0]),)
    count = len(files)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    return tuple(_padded(name, held) for name, held in zip(names, files, strict=True))


def _by_source(tensors: Iterable[PlannedTensor], beside: Mapping[str, int]) -> dict[int, list[PlannedTensor]]:
    grouped: defaultdict[int, list[PlannedTensor]] = defaultdict(list)
    homeless: list[PlannedTensor] = []
    for tensor in tensors:
        copied = anchor(tensor)
        home = copied.file if copied else beside.get(tensor.name)
        (homeless if home is None else grouped[home]).append(tensor)
    if homeless:
        grouped[max(grouped, default=0)] += homeless
    return grouped


def _split(tensors: Iterable[PlannedTensor], limit: int) -> Iterator[tuple[PlannedTensor, ...]]:
    held: list[PlannedTensor] = []
    filled = described = 0
    for tensor in tensors:
        entry = 6 * len(tensor.name) + 20 * len(tensor.shape) + 100  # no header entry is longer
        if held and (filled + tensor.nbytes > limit or described + entry > HEADER_LIMIT - CONGRUENCE):
            yield tuple(held)
            held, filled, described = [], 0, 0
        held.append(tensor)
        filled += tensor.nbytes
        described += entry
    yield tuple(held)


def _padded(name: str, tensors: tuple[PlannedTensor, ...]) -> OutputFile:
    shortest = len(header_text(tensors))
    shortest += -shortest % 8
    return OutputFile(name, shortest + _padding(OutputFile(name, shortest, tensors)), tensors)


def _padding(output: OutputFile) -> int:
    """Spaces that make most copied bytes congruent with their source; the fewer, where it makes no difference."""
    gained: Counter[int] = Counter({0: 0})
    for to, tensor in output.places():
        for part in tensor.parts:
            if isinstance(part, Copied):
                gained[(part.start - to) % CONGRUENCE] += part.length
            to += part.length
    return min((spaces for spaces in gained if spaces % 8 == 0), key=lambda spaces: (-gained[spaces], spaces))
