"""What stands in front of a model's names in a state dict that it is a part of, found by comparing names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import fail


def prefix_of(names: Collection[str], graph: ModelGraph, where: Path) -> str:
    """The one prefix, empty or with a dot at its end, that all names have before those of the model.

    There cannot be two: what one leaves of the names would be shorter than what the other does.

    Args:
        names: all that there are; of tensors that are tied, one name or both.
        graph: the model.
        where: they are from.

    Raises:
        GrowcError: GROW641, no prefix makes the names those of the model.
    """
    wanted = graph.tensors.keys() | graph.tied.keys()
    found = {""}
    for name in names:
        parts = name.split(".")
        rests = {".".join(parts[at:]) for at in range(len(parts))} & wanted
        found |= {name.removesuffix(rest) for rest in rests}
    faults = {prefix: _faults(prefix, names, graph) for prefix in sorted(found)}
    best = min(faults, key=lambda prefix: len(faults[prefix]))
    if told := faults[best]:
        more = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
        behind = f" behind {best!r}" if best else ""
        fail(
            "GROW641",
            f"the names in {where} are not{behind} those of a model of its config: {'; '.join(told[:3])}{more}",
            help="save the state dict of the model alone, under its names in transformers, all with one prefix or none",
        )
    return best


def _faults(prefix: str, names: Collection[str], graph: ModelGraph) -> list[str]:
    held = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    either = {first: {first, *(other for other, of in graph.tied.items() if of == first)} for first in graph.tensors}
    missing = [f"{prefix}{name} is missing" for name in graph.tensors if not either[name] & held]
    wanted = graph.tensors.keys() | graph.tied.keys()
    extra = [n for n in sorted(names) if not n.startswith(prefix) or n.removeprefix(prefix) not in wanted]
    return missing + [f"{name} is no tensor of the model" for name in extra]
