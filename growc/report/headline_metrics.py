"""The key figures of a run."""

from __future__ import annotations

from dataclasses import dataclass

from growc.report.history import Run, Stage, mean
from growc.report.numbers import MINUS, NONE, change, duration, error, loss, percent, plain
from growc.spec.baselines import MAIN

ARROW, PLUS_MINUS = "\N{RIGHTWARDS ARROW}", "\N{PLUS-MINUS SIGN}"

MOST_GROWTHS = 2
"""With more grow stages than this, the tiles show the gravest; the pictures show all."""


@dataclass(frozen=True)
class HeadlineMetric:
    """A key figure with its unit, what it is, and what to know about it; `kind` is its class on the page."""

    label: str
    value: str
    note: str
    unit: str = ""
    kind: str = ""


def tiles(run: Run) -> list[HeadlineMetric]:
    """The key figures; those that a run cannot have are left out, those it lacks say why."""
    grown = run.grown(MAIN)
    if len(grown) > MOST_GROWTHS:
        grown = (max(grown, key=_gravity),)
    found = [tile for stage in grown for tile in _growth(run, stage)]
    if found:
        found += _comparison(run)
    where = f"in {run.sessions} sessions" if run.sessions > 1 else run.machine
    return [*found, HeadlineMetric("Total time", duration(run.seconds), where or "from the first stage to the last")]


def _gravity(stage: Stage) -> float:
    """The larger of what a growth did to the loss and what plain duplication would have done, in nats."""
    assert stage.grown
    others = [losses for losses in (stage.grown.val_losses, stage.grown.predicted_val_losses) if losses]
    return max(mean(losses) for losses in others) - mean(stage.grown.val_losses_before)


def _growth(run: Run, stage: Stage) -> list[HeadlineMetric]:
    result = stage.grown
    assert result
    of = f", {stage.name}" if len(run.grown(MAIN)) > 1 else ""
    before, after = mean(result.val_losses_before), mean(result.val_losses)
    measured = f"{loss(before, 4)} {ARROW} {loss(after, 4)}, measured{_limit(run, stage)}"
    if not result.predicted_val_losses:
        return [HeadlineMetric(f"This growth cost{of}", change(after - before), measured, "nats", "grown")]
    predicted = mean(result.predicted_val_losses)
    if any(operation.preserves != "exactly" for operation in stage.planned.operators):
        measured += f"; {change(after - predicted)} nats from the prediction"
    return [
        HeadlineMetric(
            f"Plain duplication would cost{of}",
            change(predicted - before),
            f"{loss(before, 4)} {ARROW} {loss(predicted, 4)}, predicted on the source by the K_eff law{_k_eff(stage)}",
            "nats",
            "predicted",
        ),
        HeadlineMetric(f"This growth cost{of}", change(after - before), measured, "nats", "grown"),
    ]


def _limit(run: Run, stage: Stage) -> str:
    found = next((i for i in run.invariants if i.name == "loss" and i.stage == stage.name), None)
    if found is None or found.limit is None or found.status == "to_measure":
        return ""
    return f"; the limit of {plain(found.limit)} {'held' if found.status == 'held' else 'is broken'}"


def _k_eff(stage: Stage) -> str:
    """What the law says a token meets, in words."""
    assert stage.grown
    if not stage.grown.k_eff:
        return ""
    met = sum(stage.grown.k_eff.values()) / len(stage.grown.k_eff)
    top = stage.planned.model.top_k
    return f": {met:.2f} different experts per token{f' instead of {top}' if top else ''}"


def _comparison(run: Run) -> list[HeadlineMetric]:
    found = run.comparison
    why = found.why_null or ("not measured" if run.complete else "the run is not finished")
    if found.eta is None or found.gap is None:
        closed = HeadlineMetric("Gap closed, \N{GREEK SMALL LETTER ETA}", NONE, why)
    else:
        noise = f" {PLUS_MINUS} {found.eta_noise:.2f}" if found.eta_noise is not None else ""
        width = f"{found.gap:.4f}" + (f" {PLUS_MINUS} {error(found.noise)}" if found.noise is not None else "")
        value = f"{found.eta:.2f}".replace("-", MINUS) + noise
        closed = HeadlineMetric(
            "Gap closed, \N{GREEK SMALL LETTER ETA}", value, f"of {width} nats between the two controls"
        )
    if found.saving is None:
        return [closed]
    return [
        closed,
        HeadlineMetric("Time saved", percent(found.saving), "of the from-scratch arm's seconds, measured"),
        HeadlineMetric(
            "Time saved, source at hand", percent(found.sunk_saving), "not counting the stages before the growth"
        ),
    ]
