"""Sparse upcycling: every expert is the dense network, and the router is drawn."""

from __future__ import annotations

from growc.audit.readings.dense import copies, drawn_router, read_dense
from growc.audit.step import Reading, Step
from growc.operators.sparse_upcycling import SparseUpcycling


def read(step: Step[SparseUpcycling]) -> Reading:
    """See `growc.audit.readings`."""
    return read_dense(step, copies, drawn_router(step))
