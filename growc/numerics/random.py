"""Fresh random values: each is a function of a seed and of its place alone.

Element e of a tensor is the same number whichever rank, thread or block computes it, whatever is computed with it, and
after any resumption. The words come from a counter-based generator, Philox4x64-10 (Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011) as numpy has it, whose key is a hash of the seed and whose
counter is the place. Normal values are those of Box and Muller (1958): two words to two elements, none rejected.

From words to values there are float32 sums, products, quotients and square roots only, each of which IEEE 754 rounds in
one way. So the bits do not depend on the processor or on how a library splits its loops, as those of a library's
logarithm or cosine would.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats: TypeAlias = NDArray[np.float32]
Words: TypeAlias = NDArray[np.uint32]

GROUP = 1024
"""Elements that are made together: half of them from the cosines of the group's angles, the others from the sines."""
PAIRS = GROUP // 2
COUNTED = 8
"""32-bit words, and so elements, for every count of the generator."""
BLOCK = 64
"""Groups that one thread makes at a time: few enough for its cache, and for the allocator to keep their memory."""

HALF_TURN = math.pi / 2
SINE = tuple(accumulate(range(1, 6), lambda c, k: -c * HALF_TURN**2 / (2 * k * (2 * k + 1)), initial=HALF_TURN))
"""Taylor coefficients of sin(pi/2 t) in t, t^3, ... t^11: up to 6e-8 for |t| <= 1."""
COSINE = tuple(accumulate(range(1, 7), lambda c, k: -c * HALF_TURN**2 / (2 * k * (2 * k - 1)), initial=1.0))
"""The same of cos(pi/2 t), in 1, t^2, ... t^12."""
LOGARITHM = tuple(-4 / n for n in (1, 3, 5, 7, 9))
"""Taylor coefficients of -2 log((1 + s)/(1 - s)) in s, s^3, ... s^9: a relative 2e-9 for |s| <= 0.1716."""
LEAST = 0x3F3504F3
"""The bits of the square root of 1/2, the least mantissa whose logarithm is taken."""


def normal(seed: str, start: int, count: int) -> Tensor:
    """Elements `start` to `start + count` of the standard normal values of `seed`, in float32.

    None is above 6.8. Each is what its words give to about 1e-6, and to 1e-7 / r where its point is r from the centre.
    """
    return _filled(seed, start, count, _normal)


def uniform(seed: str, start: int, count: int) -> Tensor:
    """The same of values that are uniform in (-1, 1), each an odd multiple of 2^-24."""
    return _filled(seed, start, count, _uniform)


class Stream:
    """Draws one after the other, for a function of rows: those of (`seed`, `draw`) are the same everywhere.

    Functions that draw nothing have no seed.
    """

    def __init__(self, seed: str, draw: int) -> None:
        self._seed, self._used = seed and f"{seed}/{draw}", 0

    def normal(self, *shape: int) -> Tensor:
        """Standard normal values, in float64."""
        return normal(self._seed, self._next(math.prod(shape)), math.prod(shape)).double().view(shape)

    def permutation(self, count: int) -> Tensor:
        """The numbers below `count` in an order in which each is as likely: that of as many words of 64 bits."""
        words = _philox(self._seed, self._next(2 * count)).random_raw(count)
        return torch.from_numpy(np.argsort(words, kind="stable"))

    def _next(self, count: int) -> int:
        assert self._seed, "a function without a seed draws"
        start = self._used
        self._used += -(-count // GROUP) * GROUP
        return start


def _philox(seed: str, start: int) -> np.random.Philox:
    """The generator of a seed, before the words of element `start`, which begins a group."""
    key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "little")
    return np.random.Philox(key=key, counter=start // COUNTED)


def _filled(seed: str, start: int, count: int, fill: Callable[[Words, Floats], None]) -> Tensor:
    """The elements, by as many threads as torch may use. Whole groups are made, and the ends left out."""
    first, end = start // GROUP, -(-(start + count) // GROUP)
    result = np.empty((end - first, 2, PAIRS), np.float32)
    threads = max(1, min(torch.get_num_threads(), (end - first) // BLOCK))
    stretch = max(1, -(-(end - first) // threads))

    def fill_stretch(place: int) -> None:
        part, generator = result[place : place + stretch], _philox(seed, (first + place) * GROUP)
        for block in range(0, len(part), BLOCK):
            out = part[block : block + BLOCK]
            words = generator.random_raw(len(out) * PAIRS).astype("<u8", copy=False).view("<u4")
            fill(words.reshape(out.shape), out)

    places = range(0, end - first, stretch)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill_stretch, places))  # a list, so that what a thread raises is raised here
    else:
        for place in places:
            fill_stretch(place)
    return torch.from_numpy(result.reshape(-1)[start - first * GROUP :][:count])


def _uniform(words: Words, out: Floats) -> None:
    """(2 k + 1) / 2^24 for the upper 24 bits k of a word, as a number with a sign: float32 has room for all of it."""
    out[:] = words.view(np.int32) >> 8
    out += np.float32(0.5)
    out *= np.float32(2.0**-23)


def _normal(words: Words, out: Floats) -> None:
    """A point of the plane for every pair of words: its radius from the first, its angle from the second."""
    radius, turn = _radius(words[:, 0]), words[:, 1].view(np.int32).astype(np.float32)
    turn *= np.float32(2.0**-31)
    square = turn * turn
    sine = _polynomial(SINE, square)
    sine *= turn
    cosine = _polynomial(COSINE, square)
    # So far the points lie in the half plane of positive cosines; the lowest bit says in which half they are.
    mirrored = cosine.view(np.uint32)
    mirrored ^= words[:, 1] << np.uint32(31)
    np.multiply(cosine, radius, out=out[:, 0])
    np.multiply(sine, radius, out=out[:, 1])


def _radius(words: Words) -> Floats:
    """sqrt(-2 log u) for u = (word + 1/2) / 2^32, in [2^-33, 1].

    u is 2^k m with m in [sqrt(1/2), sqrt(2)), and log m the series of (m - 1)/(m + 1).
    """
    u = words.astype(np.float32)
    u += np.float32(0.5)
    bits = u.view(np.int32)
    bits -= np.int32(LEAST)
    exponent = (bits >> 23).astype(np.float32)
    bits &= np.int32(0x7FFFFF)
    bits += np.int32(LEAST)
    above = u + np.float32(1)
    u -= np.float32(1)
    u /= above
    logarithm = _polynomial(LOGARITHM, np.multiply(u, u, out=above))
    logarithm *= u
    exponent -= np.float32(32)
    exponent *= np.float32(-2 * math.log(2))
    logarithm += exponent
    return np.sqrt(logarithm, out=logarithm)


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    last, *others = (np.float32(c) for c in reversed(coefficients))
    value = x * last
    for c in others[:-1]:
        value += c
        value *= x
    value += others[-1]
    return value
