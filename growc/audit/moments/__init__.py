"""What becomes of an optimizer's state at growth, as `optimizer_state` declares it."""

from __future__ import annotations

from typing import Any

from growc.audit.moments.copies import of_copies, of_merged
from growc.audit.moments.dense import of_experts
from growc.audit.moments.dense_growth import of_axes, of_layers
from growc.audit.moments.kept import Kept, Moments, kept
from growc.audit.readings import reading
from growc.audit.readings.deepen import order_of as deepened
from growc.audit.readings.stack import order_of as stacked
from growc.audit.step import Step
from growc.operators.deepen import Deepen
from growc.operators.dense_to_moe import FromDense
from growc.operators.expert_pruning import ExpertPruning
from growc.operators.expert_slimming import ExpertSlimming
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.operators.grove import Grove
from growc.operators.merge_duplicates import MergeDuplicates
from growc.operators.release_siblings import ReleaseSiblings
from growc.operators.router_upcycling import RouterUpcycling
from growc.operators.stack import Stack
from growc.operators.widening import Widening

__all__ = ["Kept", "Moments", "moments"]


def moments(step: Step[Any], *, second: bool) -> Moments:
    """What is declared of one kind of moments: those of `step.source`, under the names of the tensors.

    Args:
        step: what is grown; its source has the moments of one kind.
        second: whether they are means of squares.
    """
    after = step.after.tensors
    match step.operator:
        case ReleaseSiblings():
            return {}
        case ExpertPruning() | ExpertSlimming():
            # Rows and units that stay keep theirs.
            return {name: kept(told.row, name) for name, told in reading(step.operator.op)(step).items()}
        case Grove():
            return dict.fromkeys(name for name in after if name not in step.before.tensors)
        case ExpertUpcycling(optimizer_state="reset") | MergeDuplicates(optimizer_state="reset"):
            return dict.fromkeys(after)
        case ExpertUpcycling():
            return of_copies(step, second=second)
        case MergeDuplicates():
            return of_merged(step, second=second)
        case RouterUpcycling() if step.before.moe:
            reset = step.operator.optimizer_state == "reset"
            return dict.fromkeys(after if reset else reading(step.operator.op)(step))
        case Deepen():
            return of_layers(step, deepened(step))
        case Stack():
            return of_layers(step, stacked(step))
        case Widening():
            return of_axes(step, second=second)
        case FromDense():
            return of_experts(step, second=second)
        case _:
            raise AssertionError(step.operator.op)
