"""Good inputs of `growc grow`, spoilt in hundreds of ways: each must be refused, and leave everything as it was."""

from __future__ import annotations

from tests.checkpoint.mutations import configs, folders, headers, index, specs, tensors, training
from tests.checkpoint.mutations.scene import Mutation


def corpus() -> list[Mutation]:
    """All mutations; their ids are distinct."""
    found = [one for kind in (headers, index, configs, tensors, folders, specs, training) for one in kind.mutations()]
    assert len({one.id for one in found}) == len(found)
    return found
