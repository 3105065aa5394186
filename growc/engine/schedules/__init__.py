"""What acts on a model while a stage trains it, beside the learning rate: one file each, and the table of them."""

from __future__ import annotations

from collections.abc import Callable

from growc.engine.schedules.copy_rates import copy_rates
from growc.engine.schedules.schedule import Schedule, Stage
from growc.engine.schedules.sibling_release import sibling_release

SCHEDULES: tuple[Callable[[Stage], Schedule], ...] = (copy_rates, sibling_release)
"""Each gives what acts during a stage; where it has nothing to do there, that does nothing."""

__all__ = ["SCHEDULES", "Schedule", "Stage"]
