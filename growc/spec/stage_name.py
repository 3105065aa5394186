"""What the stages of a run are called, wherever they are: the stage, after the arm, after the point of a sweep.

`pretrain`, `fixed_source/cpt`, `seed=1/pretrain`, `seed=1,from=b.stable/fixed_source/cpt`. The main arm is not named.
The point is the stage's own: the axes on which all points that share it agree. Records have names alone, so that they
are read here as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from growc.spec.baselines import ARMS, MAIN
from growc.spec.points import Point, named


@dataclass(frozen=True)
class StageName:
    """The point, the arm and the stage of the spec that a name is made of."""

    point: Point
    arm: str
    stage: str

    @property
    def name(self) -> str:
        """The name that users see; it is a folder."""
        arm = () if self.arm == MAIN else (self.arm,)
        return "/".join((*((named(self.point),) if self.point else ()), *arm, self.stage))

    @property
    def in_sweep(self) -> str:
        """The name without the point: what stages of several points have in common."""
        return replace(self, point=()).name

    @staticmethod
    def read(name: str) -> StageName:
        """The parts of a name, or of a state's as `seed=1/pretrain.stable`."""
        *before, stage = name.split("/")
        pairs = (pair.partition("=") for pair in (before[0].split(",") if before else ()))
        point = tuple((axis, label) for axis, equals, label in pairs if equals)
        arm = before[-1] if before and before[-1] in ARMS else MAIN
        return StageName(point, arm, stage)
