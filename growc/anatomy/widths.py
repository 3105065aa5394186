"""Which features each dimension of a tensor holds, and what it does with them: what growth in width asks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

STREAM, HEADS, KV_HEADS = "stream", "heads", "kv_heads"
"""Axes that a model has once: the residual stream, the query heads, the key-value heads of all layers. Others are
those of the units of one feed-forward network, or of the experts of one mixture, and are called as it is.
"""


class Role(StrEnum):
    """What a dimension of a tensor does with the features of an axis."""

    WRITE = "write"
    """It makes them: outputs of linear maps, columns of embeddings, biases of linear maps."""
    READ = "read"
    """It sums over them: inputs of linear maps, routers, the head."""
    GAIN = "gain"
    """A factor on each, behind or before which they are normalised; a number for each that copies share."""
    NORM_BIAS = "norm_bias"
    """What a norm adds to each."""
    LAST_GAIN = "last_gain"
    """The gain of the last norm, where the head is the table of embeddings."""
    LAST_BIAS = "last_bias"
    """Its bias."""


@dataclass(frozen=True)
class Segment:
    """A dimension, or a part of it, that holds `size` features of an axis, `inner` positions each, `outer` times.

    Position i of feature f in turn o is `(o * size + f) * inner + i`: a head has as many positions as it is wide, a
    gate and an up projection in one tensor are two turns, or two positions of each unit. `groups` is how many key-value
    heads query heads share, each as many in a row; 0 of other axes.
    """

    axis: str
    role: Role
    size: int
    inner: int = 1
    outer: int = 1
    groups: int = 0

    @property
    def length(self) -> int:
        """The number of positions."""
        return self.outer * self.size * self.inner


@dataclass(frozen=True)
class WidthAxis:
    """An axis and its length before and after growth.

    `groups` are the numbers of key-value heads before and after that query heads share, or none of other axes. With
    `normed` a norm goes over the axis, and with `centred` it subtracts the mean.
    """

    name: str
    before: int
    after: int
    groups: tuple[int, int] = (0, 0)
    normed: bool = False
    centred: bool = False


@dataclass(frozen=True)
class Stretch:
    """A segment that grows with its axis, or stays as long as it is."""

    axis: WidthAxis
    role: Role
    inner: int
    outer: int


Dims = tuple[tuple[Segment, ...], ...]
"""For every dimension of a tensor its segments, in order; none where it holds features of no axis."""


@dataclass(frozen=True)
class Widths:
    """The dimensions of all tensors of a model whose features are known, by name.

    With `centred` a norm over the stream subtracts the mean; `raised` are the gains that are stored less 1, and
    `normed` the axes other than the stream that a norm goes over. With `tied` the head is the table of embeddings.
    """

    dims: Mapping[str, Dims]
    centred: bool
    raised: tuple[str, ...]
    normed: tuple[str, ...]
    tied: bool
