"""Branch-Train-MiX: branches of one dense model, trained apart, become the experts of one model."""

from __future__ import annotations

from typing import ClassVar

from growc.operators.branches import BranchExperts
from growc.operators.claims import Paper, Preserves
from growc.operators.example import Example


class BranchTrainMix(BranchExperts):
    """Branches of one dense model, each trained on its own data, become one model: their feed-forward networks experts.

    Expert i is the network of branch i, in every layer; all other parameters are the unweighted mean over the branches;
    the router is drawn from scratch, and a token gets its top_k experts with gates that are a softmax over just their
    scores. What comes out is to be trained on, with an auxiliary loss that balances the load. The seed itself may be a
    branch (`from: [source, math, code]`): the paper mixed it with three others.

    From notes on the paper, not its text; reconstructed: the router's standard deviation, and that the optimizer starts
    afresh. With `optimizer_state: gradient` an expert keeps the moments of its branch, and what is shared their mean.
    """

    op: ClassVar = "branch_train_mix"
    paper: ClassVar = Paper("2403.07816", "Branch-Train-MiX", 2024)


EXAMPLES = {
    "plain": Example({}, Preserves.NOT, source="dense", parents=3),
    "alternate": Example(
        {"layers": "alternate", "optimizer_state": "gradient"}, Preserves.NOT, source="dense", parents=3
    ),
    "softmax": Example({"gates": "softmax", "optimizer_state": "reset_new"}, Preserves.NOT, source="dense", parents=3),
}
