"""How a longer axis is made of a shorter one: where every feature comes from, what it holds, and its share of the work.

Feature i comes from `source[i]`, holds `held[i]` times what that one held, and does `share[i]` of its work; the shares
of all that come from one feature sum to 1. A map is isometric where, for every source, the squares of what its copies
hold sum to after / before: then a norm without a mean over the axis finds the same statistic as before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from growc.anatomy.widths import STREAM, WidthAxis


@dataclass(frozen=True)
class AxisMap:
    """A map of one axis; all three have an entry for each of its features after growth."""

    source: tuple[int, ...]
    held: tuple[float, ...]
    share: tuple[float, ...]


def copies(axis: WidthAxis) -> AxisMap:
    """Copies in a circle, with even shares: isometric on the stream, whole copies of what they come from elsewhere."""
    source = _grouped(axis) if axis.groups[0] else tuple(i % axis.before for i in range(axis.after))
    counts = Counter(source)
    share = tuple(1 / counts[one] for one in source)
    if axis.name != STREAM:
        return AxisMap(source, (1.0,) * axis.after, share)
    return AxisMap(source, tuple((axis.after / axis.before * one) ** 0.5 for one in share), share)


def _grouped(axis: WidthAxis) -> tuple[int, ...]:
    """The query heads that every query head comes from: those of a source's group, in a circle over all its copies."""
    groups, after = axis.groups
    size, places = axis.before // groups, axis.after // after
    used: Counter[int] = Counter()
    source = list[int]()
    for copy in range(after):
        group = copy % groups
        source += [group * size + (used[group] + place) % size for place in range(places)]
        used[group] += places
    return tuple(source)


def without_place(axis: WidthAxis) -> list[int]:
    """The features of the source that no feature comes from."""
    return sorted(set(range(axis.before)) - set(copies(axis).source))
