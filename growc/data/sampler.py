"""Batches of windows over tokens: a function of the seed and the step, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from growc.data.order import shuffled
from growc.diagnostics import fail

Ids = npt.NDArray[np.int64]


class Tokens:
    """The tokens of one part: one or several arrays, which may be memory-mapped and far larger than memory.

    A window is `sequence_length` + 1 tokens: the inputs, and the same moved on by one as targets. Windows
    start every `sequence_length` tokens, so that each token but the first of an array is a target once. They
    never reach from one array into the next; up to `sequence_length` tokens at the end of an array are not
    used.
    """

    def __init__(self, name: str, arrays: Sequence[npt.NDArray[np.unsignedinteger[Any]]]) -> None:
        """Args: `name` is for messages; each of `arrays` has shape (tokens,)."""
        self.name = name
        self._arrays = tuple(arrays)
        self._lengths = np.array([array.size for array in self._arrays], dtype=np.int64)

    def __len__(self) -> int:
        """Tokens in all arrays."""
        return int(self._lengths.sum())

    def count(self, sequence_length: int) -> int:
        """How many windows there are: the length of an epoch, in sequences."""
        return int(self._ends(sequence_length)[-1])

    def batch(self, seed: int, step: int, sequences: int, sequence_length: int, rank: int = 0, ranks: int = 1) -> Ids:
        """One rank's rows of one step's batch.

        Each epoch visits every window once, in an order of its own; a batch may end one epoch and begin the
        next. The batch is a function of (`seed`, `step`) alone: the rows of ranks 0, 1, ... together are what
        a single rank gets.

        Args:
            seed: Of the order, at least 0.
            step: Which batch, from 0.
            sequences: Rows of the whole batch.
            sequence_length: Inputs in a row.
            rank: Which share of the batch.
            ranks: How many equal shares there are.

        Returns:
            Shape (sequences // ranks, sequence_length + 1).

        Raises:
            GrowcError: GROW511 if the part has fewer windows than a batch, GROW512 if the ranks' shares are
                unequal.
        """
        assert step >= 0 and 0 <= rank < ranks
        windows = self.count(sequence_length)
        if sequences > windows:
            fail(
                "GROW511",
                f"a batch has {sequences} sequences, {self.name} has {windows} of {sequence_length} tokens",
                help="lower `batch_tokens`, or give this part more data",
            )
        if sequences % ranks:
            fail(
                "GROW512",
                f"a batch of {sequences} sequences does not divide among {ranks} ranks",
                help="change `batch_tokens` or the number of processes",
            )
        share = sequences // ranks
        samples = step * sequences + rank * share + np.arange(share)
        epochs, places = np.divmod(samples, windows)
        chosen = np.empty(share, dtype=np.int64)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            chosen[now] = shuffled(places[now], windows, seed, int(epoch))
        return self._read(chosen, sequence_length)

    def windows(self, sequence_length: int, limit: int) -> Ids:
        """At most `limit` windows, evenly spread and always the same: shape (n, sequence_length + 1)."""
        windows = self.count(sequence_length)
        number = min(limit, windows)
        return self._read(np.arange(number, dtype=np.int64) * windows // max(number, 1), sequence_length)

    def _ends(self, sequence_length: int) -> Ids:
        """For each array, the number of windows in it and all before it."""
        return np.cumsum(np.maximum(self._lengths - 1, 0) // sequence_length)

    def _read(self, chosen: Ids, sequence_length: int) -> Ids:
        ends = self._ends(sequence_length)
        which = np.searchsorted(ends, chosen, side="right")
        first = np.concatenate([np.zeros(1, dtype=np.int64), ends])[which]
        rows = np.empty((chosen.size, sequence_length + 1), dtype=np.int64)
        for row, array, start in zip(rows, which, (chosen - first) * sequence_length, strict=True):
            row[:] = self._arrays[array][start : start + sequence_length + 1]
        return rows
