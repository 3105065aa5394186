"""What tensors of several sources are called: `model.norm.weight` of the first, `1:model.norm.weight` of the second."""

from __future__ import annotations


def of_parent(parent: int, name: str) -> str:
    """The name in programs of the tensor `name` of the source numbered `parent`, from 0."""
    return f"{parent}:{name}" if parent else name


def parent_of(name: str) -> tuple[int, str]:
    """The number of the source, and what the tensor is called there."""
    number, colon, rest = name.partition(":")
    return (int(number), rest) if colon and number.isdecimal() else (0, name)
