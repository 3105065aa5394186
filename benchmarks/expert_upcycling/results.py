"""A result file: what one finished run found, and all that is needed to find it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"

Point = dict[str, str]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Arm(_Record):
    """An entry of `arms` in a `summary.json`; losses in nats per token, differences arm minus control."""

    point: Point
    arm: str
    seed: int
    end: str
    val_loss: float
    tokens: int
    eta_noise: float | None = None
    vs_source: float | None = None
    vs_source_noise: float | None = None
    vs_target: float | None = None
    vs_target_noise: float | None = None
    val_loss_before_growth: float | None = None
    val_loss_after_growth: float | None = None
    tokens_to_pass_source: int | None = None


class Group(_Record):
    """An entry of `groups`: arms that differ in their seed only. Errors are standard errors over seeds."""

    point: Point
    arm: str
    n: int
    seeds: tuple[int, ...]
    ends: tuple[str, ...]
    val_loss: float
    val_loss_se: float | None
    eta: float | None
    eta_se: float | None
    vs_source: float | None
    vs_source_se: float | None
    vs_target: float | None
    vs_target_se: float | None
    saving: float | None
    sunk_saving: float | None
    why_null: str | None


class Result(_Record):
    """A result file. `commit` is the commit whose growc ran, None if that code was never committed.

    `machines` are those that the run went on, one entry for each that differs, as `growc.run.machine` describes them,
    with the ranks and the layout.
    """

    name: str
    spec: str
    command: str
    date: str
    wall_seconds: float
    commit: str | None
    machines: tuple[dict[str, Any], ...]
    model: str
    train_tokens: int
    arms: tuple[Arm, ...]
    groups: tuple[Group, ...]

    @property
    def section(self) -> str:
        """The spec that ran, by its file's name: runs of one spec with other settings stand in one section."""
        return Path(self.spec).name.removesuffix(".growth.yaml")

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds."""
        return tuple(sorted({arm.seed for arm in self.arms}))

    def members(self, group: Group) -> tuple[Arm, ...]:
        """The arms of a group, by seed."""
        ends = set(group.ends)
        found = {arm.seed: arm for arm in self.arms if arm.arm == group.arm and arm.end in ends and fits(arm, group)}
        return tuple(found[seed] for seed in sorted(found))


def fits(arm: Arm, group: Group) -> bool:
    """Whether an arm is at the group's point, whatever its seed."""
    return group.point.items() <= arm.point.items()


def read_results(folder: Path = RESULTS) -> tuple[Result, ...]:
    """All result files of a folder, by name."""
    return tuple(Result.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json")))
