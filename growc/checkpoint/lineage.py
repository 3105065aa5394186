"""What `growth.json` tells of a checkpoint's experts: which are copies of one. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from growc.anatomy.layer_order import LAYER_ORDER
from growc.anatomy.replicas import Replicas
from growc.diagnostics import Diagnostic, Severity
from growc.files.beside import LINEAGE
from growc.files.strict import parse, read_bytes
from growc.operators import operator
from growc.operators.siblings import siblings_after


def told_siblings(folder: Path) -> tuple[dict[int, Replicas], tuple[Diagnostic, ...]]:
    """Sizes of the groups of siblings in slot order, by layer, as the lineage of a folder tells them.

    Returns:
        The groups, and a warning (GROW670) where there is a lineage that cannot be understood.
    """
    path = folder / LINEAGE
    try:
        return _siblings(parse(read_bytes(path))), ()
    except FileNotFoundError:
        return {}, ()
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except ValidationError as error:
        fault = f"has settings of {error.title} that it does not take"
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        fault = f"is no lineage that this version can read: {error or type(error).__name__}"
    help = "siblings that are no longer equal are stored whole; write the file again to have them stored as deltas"
    return {}, (Diagnostic("GROW670", f"{path} {fault}", help, severity=Severity.WARNING),)


def _siblings(lineage: dict[str, Any]) -> dict[int, Replicas]:
    """Those that the checkpoint's run knows, or what every operator made of the groups that it found."""
    if "siblings" in lineage:
        return _by_layer(lineage["siblings"])
    groups: dict[int, Replicas] = {}
    for settled in _operators(lineage):
        kind = operator(settled["op"])
        settings = {name: value for name, value in settled.items() if name in kind.model_fields and name != "replicas"}
        order = tuple(map(int, settled.get(LAYER_ORDER, ())))
        groups = siblings_after(kind.model_validate(settings), groups, _by_layer(settled["replicas"]), order)
    return groups


def _operators(lineage: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All operators on the way, the first one first."""
    chain = [lineage]
    while (before := chain[-1].get("source", {}).get("lineage")) is not None:
        chain.append(before)
    for one in reversed(chain):
        yield from one.get("operators", [])


def _by_layer(told: dict[str, list[int]]) -> dict[int, Replicas]:
    groups = {int(layer): tuple(sizes) for layer, sizes in told.items()}
    for sizes in groups.values():
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError(f"groups of {list(sizes)[:8]} siblings")
    return groups
