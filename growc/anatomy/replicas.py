"""How often each expert of a layer is copied, and the vectors over the slots of the grown layer that follow from it.

Canonical order: the replicas of an expert are neighbours and the original comes first (new 2i, 2i+1 from old i when
every expert is doubled), so that growth moves no rows between expert-parallel ranks.
"""

from __future__ import annotations

Replicas = tuple[int, ...]
"""How many experts of the grown layer come from each expert of the source layer; none of one that is dropped."""

KeptUnits = tuple[tuple[int, ...], ...]
"""The intermediate units that each expert of a layer keeps, in ascending order; shared experts come last."""


def order(replicas: Replicas) -> tuple[int, ...]:
    """Source expert of every slot."""
    return tuple(i for i, r in enumerate(replicas) for _ in range(r))


def copies(replicas: Replicas) -> tuple[float, ...]:
    """1 for a slot that holds a copy, 0 for an original."""
    return tuple(float(c > 0) for r in replicas for c in range(r))


def originals(replicas: Replicas) -> tuple[float, ...]:
    """1 for a slot that holds an original, 0 for a copy."""
    return tuple(float(c == 0) for r in replicas for c in range(r))


def sizes(replicas: Replicas) -> tuple[int, ...]:
    """How many siblings share the source expert of a slot, itself included: each expects 1/r of its tokens."""
    return tuple(r for r in replicas for _ in range(r))


def turn(replicas: Replicas) -> tuple[int, ...]:
    """Which of its siblings a slot is: 0 for the original, then 1, 2, ... for its copies."""
    return tuple(c for r in replicas for c in range(r))


def neighbour(replicas: Replicas) -> tuple[int, ...]:
    """The source expert that a slot is mixed with: i + c, in a circle, for the c-th copy of expert i.

    The circle leaves out i itself: with more copies than other experts it starts again with the next. An original has
    itself.
    """
    others = max(1, len(replicas) - 1)
    return tuple(
        (i + (1 + (c - 1) % others if c else 0)) % len(replicas) for i, r in enumerate(replicas) for c in range(r)
    )


def pair(replicas: Replicas) -> tuple[int, ...]:
    """Which noise row a slot takes: siblings 2j and 2j+1 share one, and no two experts do."""
    start, pairs = 0, list[int]()
    for r in replicas:
        pairs += [start + c // 2 for c in range(r)]
        start += r
    return tuple(pairs)


def sign(replicas: Replicas) -> tuple[float, ...]:
    """+1 and -1 in turn among siblings; 0 for an expert that stays alone.

    The odd one of three or more is no exception: with no noise it would stand between its siblings for every
    token, and never win one.
    """
    return tuple(0.0 if r == 1 else 1.0 - 2.0 * (c % 2) for r in replicas for c in range(r))


VECTORS = {
    "order": order,
    "copies": copies,
    "originals": originals,
    "replicas": sizes,
    "turn": turn,
    "neighbour": neighbour,
    "pair": pair,
    "sign": sign,
}
