"""Every arm of a run: what it reached, what it cost, and what it is worth against its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from growc.records.summary import ArmRecord, Load, Theorem
from growc.run.summary.break_even import tokens_to_pass
from growc.run.summary.statistics import Closure, Floats, closure, mean_and_error
from growc.run.summary.ways import Way
from growc.spec.baselines import CONTROLS, Control

DEAD = 0.01
"""An expert with less than this share of the mean load counts as dead."""


@dataclass(frozen=True)
class Arm:
    """An arm with its controls; in place of a control stands the reason why there is none."""

    way: Way
    controls: dict[Control, Way | str]
    theorem: Theorem | None

    @property
    def losses(self) -> Floats:
        """Validation losses at the end, by window, in nats."""
        return self.way.end.losses

    @property
    def grows(self) -> bool:
        """Whether the arm is one that grows, and so has a share of the gap to close."""
        return self.way.path.arm not in CONTROLS and self.way.growth is not None

    def control(self, name: Control) -> Way | None:
        """A control, if there is one."""
        found = self.controls[name]
        return found if isinstance(found, Way) else None

    def missing(self, *names: Control) -> str | None:
        """Why controls are missing, if they are."""
        reasons = [reason for name in names if isinstance(reason := self.controls[name], str)]
        return "; ".join(reasons) or None

    @property
    def idle(self) -> str:
        """Why an arm that does not grow has no share of a gap and no saving."""
        return "a control" if self.way.path.arm in CONTROLS else "nothing grows"

    def closure(self) -> Closure:
        """The share of the gap between its controls that this arm closed, with the noise over validation windows."""
        if not self.grows:
            return Closure(why_null=self.idle)
        source, target = (self.control(name) for name in CONTROLS)
        if source is None or target is None:
            return Closure(why_null=f"eta needs both controls: {self.missing(*CONTROLS)}")
        return closure(source.end.losses, self.losses, target.end.losses, over="window")

    def savings(self) -> tuple[float, float] | str:
        """The shares of fixed_target's seconds that were saved, all stages counted, and with the source at hand.

        1 - C(arm) / C(fixed_target) (arXiv 2604.19835, Eq. 1-2), by measured seconds per step (`ways.paces`).
        """
        if not self.grows:
            return self.idle
        target = self.control("fixed_target")
        if target is None:
            return str(self.missing("fixed_target"))
        mine, rest, theirs = self.way.seconds(), self.way.seconds(after_growth=True), target.seconds()
        if mine is None or rest is None or not theirs:
            return "the metrics of a stage are gone, and with them its seconds"
        return 1 - mine / theirs, 1 - rest / theirs


def record(arm: Arm) -> ArmRecord:
    """An entry of `arms`."""
    way, path, why = arm.way, arm.way.path, dict[str, str]()
    closed, saved = arm.closure(), arm.savings()
    if closed.why_null:
        why["eta"] = closed.why_null
    if isinstance(saved, str):
        why["saving"] = saved
    passed = _passed(arm, why)
    growth = way.growth.stage.grown if way.growth and arm.grows else None
    predicted = growth.predicted_val_losses if growth else None
    if growth and not predicted:
        why["predicted_val_loss"] = "the K_eff law does not speak of this growth"
    vs_source, vs_source_noise = _difference(arm, "fixed_source")
    vs_target, vs_target_noise = _difference(arm, "fixed_target")
    trained = way.end.trained
    return ArmRecord(
        point=dict(path.point),
        arm=path.arm,
        end=path.nodes[-1],
        seed=path.seed,
        controls={name: found.path.nodes[-1] for name in CONTROLS if (found := arm.control(name))},
        val_loss=float(arm.losses.mean()),
        tokens=way.tokens,
        seconds=way.seconds(),
        train_flops=way.flops,
        vs_source=vs_source,
        vs_source_noise=vs_source_noise,
        vs_target=vs_target,
        vs_target_noise=vs_target_noise,
        eta=closed.eta,
        eta_noise=closed.eta_error,
        gap=closed.gap,
        noise=closed.gap_error,
        saving=None if isinstance(saved, str) else saved[0],
        sunk_saving=None if isinstance(saved, str) else saved[1],
        why_null=closed.why_null,
        why=why,
        val_loss_before_growth=_mean(growth.val_losses_before if growth else None),
        val_loss_after_growth=_mean(growth.val_losses if growth else None),
        predicted_val_loss=_mean(predicted),
        tokens_to_pass_source=passed,
        sibling_cosine=trained.sibling_cosine if trained else {},
        load={layer: _load(counts) for layer, counts in trained.load.items()} if trained else {},
        theorem=arm.theorem,
    )


def _difference(arm: Arm, name: Control) -> tuple[float | None, float | None]:
    """Arm minus control, with its noise over validation windows."""
    control = arm.control(name)
    if control is None or arm.way.path.arm == name:
        return None, None
    return mean_and_error(arm.losses - control.end.losses)


def _passed(arm: Arm, why: dict[str, str]) -> int | None:
    source = arm.control("fixed_source")
    if not arm.grows:
        return None
    if source is None:
        why["tokens_to_pass_source"] = str(arm.missing("fixed_source"))
        return None
    passed, reason = tokens_to_pass(arm.way, source)
    if reason:
        why["tokens_to_pass_source"] = reason
    return passed


def _mean(losses: Sequence[float] | None) -> float | None:
    return float(np.mean(losses)) if losses else None


def _load(counts: Sequence[int]) -> Load:
    """The busiest expert's load over the mean, and how many experts get under `DEAD` of the mean."""
    array = np.array(counts, dtype=np.float64)
    mean = float(array.mean())
    return Load(
        max_over_mean=float(array.max() / mean) if mean else 0.0,
        dead=int((array < DEAD * mean).sum()) if mean else len(counts),
    )
