"""How much training a growth needs until it has paid for itself: when the grown arm passes the source that went on."""

from __future__ import annotations

from growc.run.summary.ways import Way


def tokens_to_pass(grown: Way, source: Way) -> tuple[int | None, str | None]:
    """Training tokens after the growth from which on the grown arm is better, or None and the reason.

    Both arms are compared at equal tokens, wherever both were validated: the answer is the first such point at which
    the grown arm's loss is lower and from which on it stays lower, so it is as fine as `validate_every`. Losses before
    the anneal count as they are.
    """
    growth = grown.growth
    assert growth is not None
    mine, theirs = _curve(grown), _curve(source)
    points = sorted(tokens for tokens in mine.keys() & theirs.keys() if tokens > growth.offset)
    if len(points) < 2:
        return None, "the arms were validated only at their end: set training.validate_every"
    passed: int | None = None
    for tokens in reversed(points):
        if not mine[tokens] < theirs[tokens]:
            break
        passed = tokens
    if passed is None:
        return None, "the grown arm ends no better than fixed_source"
    return passed - growth.offset, None


def _curve(way: Way) -> dict[int, float]:
    """Validation losses by training tokens, as far as the way goes along each stage."""
    return {
        segment.offset + step * segment.stage.batch_tokens: loss
        for segment in way.segments
        for step, loss in segment.stage.validations
        if step <= segment.steps
    }
