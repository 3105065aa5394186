"""Which control an arm is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from growc.anatomy.grown_format import without_siblings
from growc.anatomy.model_graph import ModelGraph
from growc.run.summary.ways import Way
from growc.spec.baselines import Control


def control(way: Way, ways: Sequence[Way], name: Control) -> Way | str:
    """The control called `name` of an arm, or why it has none.

    It is that of the arm's own point of the sweep. Where the point has none, it is one of the same seed and as many
    training tokens that starts from the same source (fixed_source) or is a model of the same size (fixed_target), if
    there is exactly one such.
    """
    named = [other for other in ways if other.path.arm == name]
    if not named:
        return f"there is no {name}: add it to baselines"
    own = [other for other in named if other.path.point == way.path.point]
    if own:
        return own[0]
    fitting = {other.end.node.name: other for other in named if _fits(way, other, name)}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    alike = f"of seed {way.path.seed}, {way.tokens} training tokens and the same model"
    if not fitting:
        return f"there is no {name} {alike}"
    return f"there are {len(fitting)} different {name} {alike}, none of this arm's own point"


def _fits(way: Way, other: Way, name: Control) -> bool:
    if other.path.seed != way.path.seed or other.tokens != way.tokens:
        return False
    if name == "fixed_source":
        return other.path.source.config == way.path.source.config
    return _plain(other.end.node.after) == _plain(way.end.node.after)


def _plain(model: ModelGraph) -> dict[str, Any]:
    return without_siblings(model.config, model.expert_field) if model.expert_field else dict(model.config)
