"""What a run found, in a sentence and in a few key figures."""

from __future__ import annotations

from dataclasses import dataclass

from growc.report.history import Run, Stage, Trail, mean
from growc.report.numbers import NONE, change, count, duration, loss, percent, plain

KEPT = 1e-3
"""Nats; a growth that moves the loss by less is said to keep it."""


@dataclass(frozen=True)
class Tile:
    """A key figure with its unit, what it is, and what to know about it."""

    label: str
    value: str
    note: str
    unit: str = ""
    kind: str = ""


def verdict(run: Run) -> str:
    """One sentence, or two for a run that is not finished."""
    grown, ends = (
        run.grown(),
        [trail for arm in ("main", "fixed_source", "fixed_target") if (trail := run.trail_of(arm))],
    )
    reached = [_reached(run, trail) for trail in ends if trail.end.loss is not None]
    said = _joined(reached)
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
    return f"{said}. The run is not finished: {done} of {len(run.planned.stages)} stages are done."


def _reached(run: Run, trail: Trail) -> str:
    value = loss(trail.end.loss)
    if trail.arm == "main":
        return f"the grown arm ended at {value}" if run.grown() else f"stage {trail.end.name} ended at {value}"
    if trail.arm == "fixed_source":
        return f"the source alone at {value}"
    experts = trail.end.planned.model.experts
    return f"the {f'{experts}-expert' if experts else 'grown'} model from scratch at {value}"


def _joined(parts: list[str]) -> str:
    return ", ".join(parts)


def _what(run: Run, grown: tuple[Stage, ...]) -> str:
    first, last = run.before(grown[0]), grown[-1].planned.model
    times = f" in {len(grown)} stages" if len(grown) > 1 else ""
    if first and first.model.experts and last.experts and first.model.experts != last.experts:
        return f"{first.model.experts} to {last.experts} experts{times}"
    if first:
        return f"{count(first.model.total_params)} to {count(last.total_params)} parameters{times}"
    copies = [len(r) for s in grown[:1] if s.result for o in s.result.operators for r in o.replicas.values()]
    if copies and last.experts:
        return f"{max(copies)} to {last.experts} experts{times}"
    return f"to {count(last.total_params)} parameters{times}"


def increase(stage: Stage) -> float:
    """The measured change of the validation loss at a growth, in nats."""
    assert stage.result and stage.result.val_losses_before
    return mean(stage.result.val_losses) - mean(stage.result.val_losses_before)


def tiles(run: Run) -> list[Tile]:
    """The key figures; those that a run cannot have are left out, those it lacks say why."""
    found = [tile for stage in run.grown() for tile in _growth(run, stage)]
    if found:
        found += _comparison(run)
    rest = f"in {run.sessions} sessions" if run.sessions > 1 else run.machine
    return [*found, Tile("Total time", duration(run.seconds), rest or "from the first stage to the last")]


def _growth(run: Run, stage: Stage) -> list[Tile]:
    result = stage.result
    assert result and result.val_losses_before
    of = "" if len(run.grown()) == 1 else f", {stage.name}"
    limit = next((i for i in run.invariants if i.name == "loss" and i.stage == stage.name), None)
    held = f", limit {plain(limit.limit)}: {limit.status}" if limit and limit.limit is not None else ""
    before, after = mean(result.val_losses_before), mean(result.val_losses)
    found: list[Tile] = []
    if result.predicted_val_losses:
        predicted = mean(result.predicted_val_losses)
        found.append(
            Tile(
                f"Plain duplication would cost{of}", change(predicted - before),
                f"{loss(before, 4)} \N{RIGHTWARDS ARROW} {loss(predicted, 4)}, predicted on the source by the K_eff law{_k_eff(stage)}",
                "nats", "predicted",
            )
        )  # fmt: skip
    found.append(
        Tile(
            f"This growth cost{of}", change(after - before),
            f"{loss(before, 4)} \N{RIGHTWARDS ARROW} {loss(after, 4)}, measured{held}", "nats", "grown",
        )
    )  # fmt: skip
    return found


def _k_eff(stage: Stage) -> str:
    """What the law says a token meets, in words."""
    assert stage.result
    if not stage.result.k_eff:
        return ""
    met = sum(stage.result.k_eff.values()) / len(stage.result.k_eff)
    top = stage.planned.model.top_k
    return f": {met:.2f} different experts per token{f' instead of {top}' if top else ''}"


def _comparison(run: Run) -> list[Tile]:
    found = run.comparison
    why = found.why_null or ("the run is not finished" if not run.complete else "not measured")
    noise = f" \N{PLUS-MINUS SIGN} {found.eta_noise:.2f}" if found.eta_noise is not None else ""
    gap = (
        f"share of the gap of {change(found.gap)} \N{PLUS-MINUS SIGN} {plain(found.noise)} nats between the controls that growth closed"
        if found.gap is not None and found.eta is not None
        else why
    )
    eta = NONE if found.eta is None else f"{found.eta:.2f}".replace("-", "\N{MINUS SIGN}")
    tiles = [Tile("Gap closed, \N{GREEK SMALL LETTER ETA}", f"{eta}{noise}", gap)]
    if found.saving is not None or found.why_null is None:
        without = "needs the from-scratch control" if run.complete else why
        tiles += [
            Tile("Time saved", percent(found.saving), "of the from-scratch arm's seconds, measured" if found.saving is not None else without),
            Tile(
                "Time saved, source at hand", percent(found.sunk_saving),
                "not counting the stages before the growth" if found.sunk_saving is not None else without,
            ),
        ]  # fmt: skip
    return tiles
