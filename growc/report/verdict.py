"""What a run found, in a sentence."""

from __future__ import annotations

from growc.report.history import Run, Stage, Trail
from growc.report.numbers import change, count, loss
from growc.spec.baselines import CONTROLS, MAIN

KEPT = 1e-3
"""Nats; a growth that moves the loss by less is said to keep it."""


def verdict(run: Run) -> str:
    """One sentence, or two for a run that is not finished."""
    grown, ends = (
        run.grown(MAIN),
        [trail for arm in (MAIN, *CONTROLS) if (trail := run.trail_of(arm))],
    )
    reached = [_reached(run, trail) for trail in ends if trail.end.loss is not None]
    said = ", ".join(reached)
    if grown:
        worst = max((increase(stage) for stage in grown), key=abs)
        verb = "kept the validation loss to" if abs(worst) < KEPT else "moved the validation loss by"
        start = f"Growing {_what(run, grown)} {verb} {change(worst)} nats"
        said = f"{start}; {said}" if said and ends[0].end.loss is not None and not ends[0].end.grows else start
    else:
        said = said[:1].upper() + said[1:]
    if run.complete:
        return f"{said}."
    done = sum(stage.result is not None for stage in run.stages)
    return f"{said}. The run is not finished: {done} of {len(run.plan.stages)} stages are done."


def _reached(run: Run, trail: Trail) -> str:
    value = loss(trail.end.loss)
    if trail.arm == MAIN:
        return f"the grown arm ended at {value}" if run.grown(MAIN) else f"stage {trail.end.name} ended at {value}"
    if trail.arm == "fixed_source":
        return f"the source alone at {value}"
    experts = trail.end.planned.model.experts
    return f"the {f'{experts}-expert' if experts else 'grown'} model from scratch at {value}"


def _what(run: Run, grown: tuple[Stage, ...]) -> str:
    first, last = run.growth(grown[0]).before, grown[-1].planned.model
    times = f" in {len(grown)} stages" if len(grown) > 1 else ""
    if first.experts and last.experts and first.experts != last.experts:
        return f"{first.experts} to {last.experts} experts{times}"
    return f"{count(first.total_params)} to {count(last.total_params)} parameters{times}"


def increase(stage: Stage) -> float:
    """The measured change of the validation loss at a growth, in nats."""
    assert stage.grown
    return stage.grown.increase
