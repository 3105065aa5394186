"""Release: no weight is touched."""

from __future__ import annotations

from growc.audit.record import recorded_replicas
from growc.audit.step import Reading, Step
from growc.operators.release_siblings import ReleaseSiblings


def read(step: Step[ReleaseSiblings]) -> Reading:
    """See `growc.audit.readings`."""
    for site in step.before.moe:
        if site.siblings:
            recorded_replicas(step, site.layer, [1] * site.num_experts)
    return {}
