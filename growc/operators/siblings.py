"""Vectors over the slots of a grown layer that follow from its replicas.

Canonical order: the replicas of an expert are neighbours and the original comes first (new 2i, 2i+1 from old i when
every expert is doubled), so that growth moves no rows between expert-parallel ranks.
"""

from __future__ import annotations

from growc.operators.operator import Replicas


def order(replicas: Replicas) -> tuple[int, ...]:
    """Source expert of every slot."""
    return tuple(i for i, r in enumerate(replicas) for _ in range(r))


def copies(replicas: Replicas) -> tuple[float, ...]:
    """1 for a slot that holds a copy, 0 for an original."""
    return tuple(float(c > 0) for r in replicas for c in range(r))


def originals(replicas: Replicas) -> tuple[float, ...]:
    """1 for a slot that holds an original, 0 for a copy."""
    return tuple(float(c == 0) for r in replicas for c in range(r))


def share(replicas: Replicas) -> tuple[float, ...]:
    """1/r: the share of the source expert's tokens that a slot expects."""
    return tuple(1 / r for r in replicas for _ in range(r))


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


VECTORS = {"order": order, "copies": copies, "originals": originals, "share": share, "pair": pair, "sign": sign}
