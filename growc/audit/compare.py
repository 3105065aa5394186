"""Grown tensors compared with their reading, tensor by tensor and row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from growc.audit.fault import fault
from growc.audit.rows import AsTold, Rows, count, row
from growc.audit.value import Value, difference
from growc.diagnostics import Diagnostic

AT_ONCE = 1 << 26
"""Bytes of an unchanged tensor that are compared at a time, unless a row has more."""
MOST = 8
"""Tensors of which a difference is told."""


def differences(grown: Rows, wanted: Rows, names: Iterable[str], called: str = "{}") -> Iterator[Diagnostic]:
    """The first difference of every tensor of these names from what it must hold.

    Args:
        grown: what was written.
        wanted: the reading.
        names: of tensors of the grown model.
        called: what a tensor of a name is called in what is told.
    """
    for name in names:
        info = grown.graph.tensors[name]
        if (shape := wanted.shape(name)) is None:
            yield fault(f"{called.format(name)} is no tensor of the source, and no reading says what it must hold")
        elif shape != info.shape:
            yield fault(f"{called.format(name)} has the shape {list(info.shape)}, and must have {list(shape)}")
        elif (found := grown.dtype(name)) != (dtype := wanted.dtype(name)):
            yield fault(f"{called.format(name)} is stored as {found}, and must be {dtype}")
        elif (message := _difference(grown, wanted, name, called.format(name))) is not None:
            yield fault(message)


def _difference(grown: Rows, wanted: Rows, name: str, called: str) -> str | None:
    rows, info = count(grown.graph, name), grown.graph.tensors[name]
    by_row = isinstance(wanted, AsTold) and name in wanted.spoken
    at_once = 1 if by_row else max(1, AT_ONCE * rows // max(1, info.size * grown.dtype(name).itemsize))
    for start in range(0, rows, at_once):
        block = range(start, min(start + at_once, rows))
        value = row(wanted, name, start) if by_row else wanted.rows(name, block)
        found = row(grown, name, start).tensor if by_row else grown.rows(name, block).tensor
        if found.shape != value.tensor.shape:
            return f"row {start} of {called} has the shape {list(found.shape)}, and {value.says} another"
        if (place := difference(found, value)) is not None:
            each = max(1, found.numel() // len(block))
            return _told(called, start + place // each, place % each, found.flatten()[place].item(), value, place)
    return None


def _told(name: str, number: int, element: int, found: float, value: Value, place: int) -> str:
    should = value.tensor.flatten()[place].item()
    return f"row {number} of {name} is not {value.says}: its element {element} is {found!r}, and should be {should!r}"
