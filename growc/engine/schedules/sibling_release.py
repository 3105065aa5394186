"""The annealed release of siblings: from exclusive to free over the first steps of a training stage."""

from __future__ import annotations

from transformers import PreTrainedModel
from typing_extensions import override

from growc.anatomy.grown_format import GROWN, opened_to, release_of
from growc.engine.schedules.schedule import Schedule, Stage
from growc.nn.exclusive import exclusive_routers


class Release(Schedule):
    """Holds losers back less and less; the model's config says how far it is, so that every saved state is right.

    It never goes back: a stage that starts from a state half released, such as the one before an anneal, stays there
    until it has come as far itself.

    Args:
        model: laid out over the ranks.
        steps: of the whole stage.
    """

    def __init__(self, model: PreTrainedModel, steps: int) -> None:
        self.model, self.routers = model, list(exclusive_routers(model).values())
        section = getattr(model.config, GROWN, None)
        over = release_of({GROWN: section}) if section else None
        self.steps = None if over is None else round(over * steps)
        self.reached = min((router.open for router in self.routers), default=0.0)

    @override
    def at(self, done: int) -> None:
        if self.steps is None:
            return
        how_far = max(self.reached, min(1.0, done / self.steps)) if self.steps else 1.0
        for router in self.routers:
            router.open = how_far
        setattr(self.model.config, GROWN, opened_to({GROWN: getattr(self.model.config, GROWN)}, how_far)[GROWN])


def sibling_release(stage: Stage) -> Release:
    """The release that the model's config asks for."""
    return Release(stage.model, stage.steps)
