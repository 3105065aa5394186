"""What a spec knows of the states that an operator mixes: where each comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ancestry:
    """Where one state comes from, in the spec's graph.

    `state` is its name, `part` the part of the data that it was trained on last (None: the spec did not train it), and
    `grown` the growths on the way to it, along the first state of each: the operator's name, and the pasts of the
    states that it grew.
    """

    state: str
    part: str | None = None
    grown: tuple[tuple[str, tuple[Ancestry, ...]], ...] = ()
