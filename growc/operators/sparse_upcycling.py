"""Sparse upcycling: a dense model becomes a mixture of experts."""

from __future__ import annotations

from typing import ClassVar

from growc.operators.claims import Paper, Preserves
from growc.operators.dense_to_moe import DenseToMoe
from growc.operators.example import Example


class SparseUpcycling(DenseToMoe):
    """Every chosen feed-forward network becomes a mixture of copies of itself, with a router drawn from scratch.

    With gates that sum to 1, and every token getting its experts, the function stays what it was: top_k copies of one
    network, weighted, are the network. Without, each mixture is the network times the sum of the token's gates.

    From the paper and the published configuration: experts copied, routers and all optimizer state drawn anew
    (`optimizer_state: reset`), every second layer (`layers: alternate`). From memory: the router's standard deviation
    of 0.02. Not part of growc: Expert Choice routing with a capacity, which drops tokens.
    """

    op: ClassVar = "sparse_upcycling"
    paper: ClassVar = Paper("2212.05055", "Sparse Upcycling", 2022)


EXAMPLES = {
    "plain": Example({"experts": 4}, Preserves.EXACTLY, source="dense"),
    "alternate": Example(
        {"experts": 4, "layers": "alternate", "optimizer_state": "gradient"}, Preserves.EXACTLY, source="dense"
    ),
    "softmax": Example({"experts": 4, "gates": "softmax"}, Preserves.NEARLY, source="dense"),
}
