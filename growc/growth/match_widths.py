"""What every tensor is to an operator that makes axes longer, and which of them it cannot grow."""

from __future__ import annotations

from collections.abc import Iterator

from growc.anatomy.matches import Kept, Match, Widened
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.widths import STREAM, Dims, Role, Segment, Stretch, WidthAxis, Widths
from growc.model.find_widths import find_widths
from growc.operators.claims import Problem


def match_widths(source: ModelGraph, grown: ModelGraph, parents: int) -> Iterator[Match]:
    """One match for every tensor of the grown model, in its order; there are no `unknown_widths`."""
    before, after = find_widths(source), find_widths(grown)
    for name, tensor in grown.tensors.items():
        common = (name, tensor.shape, source, parents)
        if tensor.shape == source.tensors[name].shape and before.dims.get(name) == after.dims.get(name):
            yield Kept(*common)
            continue
        pairs = (zip(*dims, strict=True) for dims in zip(before.dims[name], after.dims[name], strict=True))
        stretches = tuple(tuple(_stretch(before, one, other) for one, other in dim) for dim in pairs)
        yield Widened(*common, stretches, name in before.raised)


def width_axes(source: ModelGraph, grown: ModelGraph) -> tuple[WidthAxis, ...]:
    """The axes that become longer, each once; there are no `unknown_widths`."""
    matches = (match for match in match_widths(source, grown, 1) if isinstance(match, Widened))
    axes = (stretch.axis for match in matches for dim in match.stretches for stretch in dim)
    return tuple(dict.fromkeys(axis for axis in axes if axis.before != axis.after))


def unknown_widths(source: ModelGraph, grown: ModelGraph) -> Iterator[Problem]:
    """Why growc does not know what the features are that `grown` has more of, if it does not."""
    before, after = find_widths(source), find_widths(grown)
    if source.tensors.keys() != grown.tensors.keys() or source.blocks.letters != grown.blocks.letters:
        yield Problem("GROW398", "the grown model would have other layers or tensors than its source", WIDTHS_ONLY)
        return
    for name, tensor in grown.tensors.items():
        if tensor.shape == source.tensors[name].shape and before.dims.get(name) == after.dims.get(name):
            continue
        dims = before.dims.get(name, ()), after.dims.get(name, ())
        if not _fit(dims, (source.tensors[name].shape, tensor.shape)) or not _alike(*dims):
            message = f"growc does not know what the dimensions of {name} hold, which becomes {list(tensor.shape)}"
            yield Problem("GROW398", message, "leave the sizes as they are that this tensor has")
            return
    if before.tied and not any(segment.role is Role.LAST_GAIN for segment in _segments(before)):
        message = "the head is the table of embeddings, and no norm before it can take a factor"
        yield Problem("GROW398", message, "leave the width of the residual stream as it is")


WIDTHS_ONLY = "change sizes of the residual stream, of heads, of units and of experts' units"


def _segments(widths: Widths) -> Iterator[Segment]:
    yield from (segment for dims in widths.dims.values() for dim in dims for segment in dim)


def _fit(dims: tuple[Dims, Dims], shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> bool:
    """Whether the segments of every dimension make up its length before and after; where it stays there may be none."""
    lengths = [tuple(sum(segment.length for segment in dim) for dim in each) for each in dims]
    if any(len(length) != len(shape) for length, shape in zip(lengths, shapes, strict=True)):
        return False
    sizes = zip(zip(*lengths, strict=True), zip(*shapes, strict=True), strict=True)
    return all(made == given or (made == (0, 0) and given[0] == given[1]) for made, given in sizes)


def _alike(before: Dims, after: Dims) -> bool:
    """Whether dimensions hold the same before and after, but for how much of it."""
    kinds = [[[(s.axis, s.role, s.inner, s.outer) for s in dim] for dim in dims] for dims in (before, after)]
    return kinds[0] == kinds[1]


def _stretch(widths: Widths, before: Segment, after: Segment) -> Stretch:
    over_stream = before.axis == STREAM
    axis = WidthAxis(
        before.axis,
        before.size,
        after.size,
        (before.groups, after.groups),
        normed=over_stream or before.axis in widths.normed,
        centred=over_stream and widths.centred,
    )
    return Stretch(axis, before.role, before.inner, before.outer)
