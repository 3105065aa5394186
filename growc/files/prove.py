"""The proof that what was written is what the plan says: every byte read again, and compared by digests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growc.diagnostics import Diagnostic, GrowcError
from growc.files.copying import opened, read
from growc.files.digests import range_digest, tensor_digests, zeros_digest
from growc.files.manifest import write_manifest
from growc.files.plan import Copied, OutputFile, Part, Plan, PlannedTensor, Zeros
from growc.files.planfile import PLAN
from growc.files.progress import Listener, Meter
from growc.files.workers import in_parallel

_Place = tuple[int, OutputFile, int, PlannedTensor]
"""A tensor's number in the plan, its file, the byte it starts at, and itself."""


def prove(plan: Plan, folder: Path, workers: int, listener: Listener | None) -> None:
    """Compare every output with what the plan says of it, and write the manifest.

    Every distinct source range and every output tensor is read once. After a failure the folder cannot be gone on
    with: its plan is removed.

    Raises:
        GrowcError: GROW655, for each tensor and each header that is not what the plan says.
        OSError: the system refuses.
        Shortened: a file is shorter than planned.
    """
    origins = dict.fromkeys(
        (part for *_, tensor in _places(plan) for part in tensor.parts if isinstance(part, Copied)), b""
    )
    digests = [b""] * sum(len(output.tensors) for output in plan.outputs)
    meter = Meter(listener, "verifying", sum(part.length for part in origins) + plan.size)

    def of_source(part: Copied) -> tuple[Copied, bytes]:
        with opened(plan.sources[part.file].path) as handle:
            return part, range_digest(handle, part.start, part.length)

    def of_output(place: _Place) -> tuple[_Place, bytes, list[bytes]]:
        _, output, start, tensor = place
        with opened(folder / output.name) as handle:
            return place, *tensor_digests(handle, start, tensor)

    for part, digest in in_parallel(of_source, sorted(origins, key=lambda part: (part.file, part.start)), workers):
        origins[part] = digest
        meter.add(part.length)
    faults = [_fault(f"the header of {o.name}", "was planned") for o in plan.outputs if not _has_head(folder, o)]
    meter.add(sum(output.data for output in plan.outputs))
    for (number, output, _, tensor), whole, parts in in_parallel(of_output, _places(plan), workers):
        digests[number] = whole
        for part, found in zip(tensor.parts, parts, strict=True):
            if found != _expected(part, origins):
                faults.append(_fault(f"{tensor.name} in {output.name}", _said(part, plan)))
        meter.add(tensor.nbytes)
    if faults:
        (folder / PLAN).unlink()
        raise GrowcError(sorted(faults, key=str))
    write_manifest(folder, plan, digests, origins)


def _places(plan: Plan) -> Iterator[_Place]:
    number = 0
    for output in plan.outputs:
        for start, tensor in output.places():
            yield number, output, start, tensor
            number += 1


def _has_head(folder: Path, output: OutputFile) -> bool:
    head, done = output.head(), 0
    with opened(folder / output.name) as handle:
        for piece in read(handle, 0, len(head)):
            if bytes(piece) != head[done : done + len(piece)]:
                return False
            done += len(piece)
    return True


def _expected(part: Part, origins: dict[Copied, bytes]) -> bytes:
    if isinstance(part, Copied):
        return origins[part]
    return zeros_digest(part.length) if isinstance(part, Zeros) else bytes.fromhex(part.digest)


def _said(part: Part, plan: Plan) -> str:
    if isinstance(part, Copied):
        return f"stands from byte {part.start} on in {plan.sources[part.file].path}"
    return "is zero" if isinstance(part, Zeros) else "was computed"


def _fault(what: str, origin: str) -> Diagnostic:
    return Diagnostic(
        "GROW655",
        f"{what} was written, and reads as something else than what {origin}",
        "run the same command again, it starts anew; if it happens twice, test the memory and the disk",
    )
