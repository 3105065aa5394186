"""`summary.json`: what every stage reached, and how every arm compares with its controls.

Losses are means over the validation windows, in nats per token; differences are arm minus control, so that below zero
the arm is better. A number is null where it means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from growc.plan.plan import InvariantRecord


@dataclass(frozen=True)
class Comparison:
    """The grown arm against its controls; `why_null` says why there is no share of the gap."""

    eta: float | None = None
    eta_noise: float | None = None
    gap: float | None = None
    noise: float | None = None
    saving: float | None = None
    sunk_saving: float | None = None
    why_null: str | None = None


@dataclass(frozen=True)
class Load:
    """The experts of one layer: the busiest one's load over the mean, and how many get under 1 % of the mean."""

    max_over_mean: float
    dead: int


@dataclass(frozen=True)
class Theorem:
    """The terms of the paper's theorem, a diagnostic; ratios of distances by layer. `why` is of those that are null."""

    phi: float | None = None
    capacity_term: float | None = None
    init_term: dict[int, float | None] = field(default_factory=dict[int, float | None])
    label: str = ""
    why: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """One arm at one point of a sweep; `end` and `controls` are stages. Noise is over validation windows.

    `seconds` and `train_flops` are of training alone, `load` is of the last stage, by layer, and `why` has the reasons
    for figures that are null.
    """

    point: dict[str, str] = field(default_factory=dict[str, str])
    arm: str
    end: str
    seed: int
    controls: dict[str, str] = field(default_factory=dict[str, str])
    val_loss: float
    tokens: int | None = None
    seconds: float | None = None
    train_flops: float | None = None
    vs_source: float | None = None
    vs_source_noise: float | None = None
    vs_target: float | None = None
    vs_target_noise: float | None = None
    eta: float | None = None
    eta_noise: float | None = None
    gap: float | None = None
    noise: float | None = None
    saving: float | None = None
    sunk_saving: float | None = None
    why_null: str | None = None
    why: dict[str, str] = field(default_factory=dict[str, str])
    val_loss_before_growth: float | None = None
    val_loss_after_growth: float | None = None
    predicted_val_loss: float | None = None
    tokens_to_pass_source: int | None = None
    sibling_cosine: dict[int, float] = field(default_factory=dict[int, float])
    load: dict[int, Load] = field(default_factory=dict[int, Load])
    theorem: Theorem | None = None


@dataclass(frozen=True, kw_only=True)
class GroupRecord:
    """Arms that differ in their seed only, with standard errors over seeds; `ends` are their last stages."""

    point: dict[str, str] = field(default_factory=dict[str, str])
    arm: str
    n: int
    seeds: tuple[int, ...]
    ends: tuple[str, ...]
    val_loss: float
    val_loss_se: float | None = None
    eta: float | None = None
    eta_se: float | None = None
    gap: float | None = None
    gap_se: float | None = None
    vs_source: float | None = None
    vs_source_se: float | None = None
    vs_target: float | None = None
    vs_target_se: float | None = None
    saving: float | None = None
    sunk_saving: float | None = None
    why_null: str | None = None


@dataclass(frozen=True)
class Summary:
    """What a summary says of arms and invariants: all that a report takes of it, which knows the stages themselves.

    Summaries of earlier versions have no `arms` and no `groups`.
    """

    comparison: Comparison = Comparison()
    invariants: tuple[InvariantRecord, ...] = ()
    arms: tuple[ArmRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What one stage reached; `origin` is what it started from, and stands under the key `from`."""

    arm: str
    kind: str
    origin: str | list[str]
    val_loss: float
    total_params: int
    active_params: int | None
    seconds: float


@dataclass(frozen=True)
class DryRunRecord:
    """What a release of siblings was foretold to do: the loss, and the share of colliding selections by layer."""

    val_loss: float
    collisions: dict[int, float]


@dataclass(frozen=True)
class SkippingRecord:
    """What dynamic skipping would do to the pruned model: the loss, and by layer beta and the share of calls."""

    val_loss: float
    beta: dict[int, float]
    skipped: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class GrowRecord(StageRecord):
    """What a grow stage reached. Which units every expert keeps is in the journal alone: there may be millions."""

    val_loss_before: float
    val_loss_after: float
    dry_run: DryRunRecord | None
    skipping: SkippingRecord | None
    predicted_val_loss: float | None
    k_eff: dict[int, float] | None
    operators: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class TrainRecord(StageRecord):
    """What a train stage reached; `seconds` are those of its steps."""

    seconds_per_step: float | None
    steps: int
    tokens: int
    load: dict[int, tuple[int, ...]]
    sibling_cosine: dict[int, float]


def summary_json(name: str, stages: Mapping[str, StageRecord], summary: Summary) -> dict[str, Any]:
    """The whole of `summary.json`; `name` is the plan's."""
    return {
        "name": name,
        "stages": {stage: _stage(record) for stage, record in stages.items()},
        "comparison": asdict(summary.comparison),
        "invariants": [invariant.model_dump(exclude={"detail"}) for invariant in summary.invariants],
        "arms": [asdict(arm) for arm in summary.arms],
        "groups": [asdict(group) for group in summary.groups],
    }


def _stage(record: StageRecord) -> dict[str, Any]:
    return {"from" if key == "origin" else key: value for key, value in asdict(record).items()}
