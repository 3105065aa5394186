"""The way of every arm through the stages that have begun."""

from __future__ import annotations

from growc.report.history import ARMS, Leg, Stage, Trail

ARM_NAMES = {"main": "grown", "fixed_source": "source alone", "fixed_target": "from scratch"}
"""What the arms are called in pictures and tables."""


def trails(stages: tuple[Stage, ...]) -> tuple[Trail, ...]:
    """One trail per stage that nothing else starts from, the arm's last stage told apart from its branches."""
    by_name = {stage.name: stage for stage in stages}
    started_from = {stage.start for stage in stages}
    ends = [stage for stage in stages if stage.name not in started_from]
    found: list[Trail] = []
    for arm in ARMS:
        mine = [stage for stage in ends if stage.arm == arm]
        for end in mine:
            label = ARM_NAMES[arm] if end is mine[-1] else f"{ARM_NAMES[arm]}, to {end.name}"
            found.append(Trail(arm, label, _legs(end, by_name)))
    return tuple(found)


def _legs(end: Stage, stages: dict[str, Stage]) -> tuple[Leg, ...]:
    """The stages on the way to `end`; each counts as far as the next one took it."""
    way = [(end, end.done_tokens)]
    while (start := way[-1][0].start) is not None and start in stages:
        before, later = stages[start], way[-1][0]
        stable = before.stable_tokens if later.from_stable else None
        way.append((before, before.done_tokens if stable is None else stable))
    legs, offset = list[Leg](), 0.0
    for stage, tokens in reversed(way):
        legs.append(Leg(stage, offset, tokens))
        offset += tokens
    return tuple(legs)
