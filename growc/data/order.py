"""A seeded permutation of any size that takes no memory: each place in the order is computed on its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ROUNDS = 8
_UINT64 = npt.NDArray[np.uint64]


def shuffled(places: npt.NDArray[np.int64], size: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """What stands at the given places of a random order of 0..size-1, one order per (`seed`, `epoch`).

    A Feistel network is a permutation of the numbers of 2n bits whatever its round function is. Numbers that
    fall outside the size are sent through again until they come back in ("cycle walking", Black and Rogaway
    2002), which keeps it a permutation. The domain is less than four times the size, so that takes fewer than
    four goes on average.
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    keys = np.random.SeedSequence([seed, epoch]).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    numbers = _feistel(places.astype(np.uint64), half, keys)
    while (outside := numbers >= size).any():
        numbers[outside] = _feistel(numbers[outside], half, keys)
    return numbers.astype(np.int64)


def _feistel(numbers: _UINT64, half: np.uint64, keys: _UINT64) -> _UINT64:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << half) | right


def _mixed(numbers: _UINT64) -> _UINT64:
    """The finalizer of SplitMix64: every bit of the result depends on every bit of the number."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
