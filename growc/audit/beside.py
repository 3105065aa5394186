"""What a folder holds beside its language model, which growth carries along byte by byte or leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from growc.audit.fault import fault
from growc.audit.value import Value, difference
from growc.checkpoint.source import FolderTensors
from growc.diagnostics import Diagnostic
from growc.model.prediction import promised
from growc.model.whole import text_of


def differences_beside(
    source: FolderTensors, grown: FolderTensors, config: Mapping[str, Any], *, text_only: bool
) -> Iterator[Diagnostic]:
    """What is otherwise with other parts of a whole model, and with layers that predict further tokens.

    Args:
        source: of the folder that grew.
        grown: of the one that it grew into.
        config: of that folder, as it was read.
        text_only: whether other parts of a whole model are not wanted.
    """
    held = (*grown.rest.parts, *grown.rest.prediction, *grown.rest.ignored)
    for name in held:
        if name not in source.weights.names:
            yield fault(f"{name} lies beside the language model, and not in the source")
        elif source.weights.kind(name) != grown.weights.kind(name):
            yield fault(f"{name} is not stored as in the source")
        elif difference(grown.weights.read(name), Value(source.weights.read(name), name)) is not None:
            yield fault(f"{name} is not what it is in the source, bit by bit")
    wanted = () if text_only or grown.weights.in_memory else source.rest.parts
    for name in (name for name in wanted if name not in held):
        yield fault(f"{name}, of another part of the model, was left behind")
    left = [name for name in source.rest.prediction if name not in held]
    told = [*promised(text_of(config)), *promised(config)] if left else []
    if told:
        yield fault(f"{left[0]} was left behind, and {told[0]} says that there are such layers")
