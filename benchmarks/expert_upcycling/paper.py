"""The paper's own figures, from `paper.json`: losses in nats per token. What we cannot read is not there."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.expert_upcycling.results import HERE, Group, Point


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PaperRow(_Record):
    """One arm of the paper, with its controls; `eta` is the share of the gap that it prints."""

    point: Point
    arm: str = "main"
    label: str | None = None
    upcycled: float
    fixed_source: float | None = None
    fixed_target: float | None = None
    eta: float | None = None

    @property
    def vs_source(self) -> float | None:
        """Upcycled minus fixed source."""
        return None if self.fixed_source is None else self.upcycled - self.fixed_source

    @property
    def gap(self) -> float | None:
        """Fixed source minus fixed target."""
        known = self.fixed_source is not None and self.fixed_target is not None
        return self.fixed_source - self.fixed_target if known else None  # pyright: ignore[reportOperatorIssue]

    @property
    def closed(self) -> float | None:
        """The share of the gap: as printed, else from the losses."""
        if self.eta is not None or self.gap is None or self.vs_source is None:
            return self.eta
        return -self.vs_source / self.gap

    def is_of(self, group: Group) -> bool:
        """Whether a group of ours is the counterpart."""
        return self.point == group.point and self.arm == group.arm


class PaperSection(_Record):
    """What the paper has beside one of our specs."""

    table: str
    model: str
    note: str = ""
    rows: tuple[PaperRow, ...]


class RankCorrelation(_Record):
    """Spearman's coefficient, as printed."""

    val_loss: float
    n: int
    of: str


class Paper(_Record):
    """All of `paper.json`."""

    paper: str
    rank_correlation: RankCorrelation
    sections: dict[str, PaperSection]


def read_paper(path: Path = HERE / "paper.json") -> Paper:
    """Read the paper's figures."""
    return Paper.model_validate_json(path.read_bytes())
