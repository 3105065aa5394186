"""Drop-Upcycling: every expert is the dense network with a share of its units drawn anew."""

from __future__ import annotations

from growc.audit.readings.dense import Place, drawn_router, read_dense
from growc.audit.readings.experts import SPREAD, layout
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed
from growc.numerics.functions.units import drop_units
from growc.numerics.matrices import one_thread
from growc.numerics.random import Stream
from growc.operators.drop_upcycling import DropUpcycling


def read(step: Step[DropUpcycling]) -> Reading:
    """See `growc.audit.readings`."""
    how = step.operator

    def expert(place: Place, number: int) -> Value:
        own, units = place.expert(), place.units
        if units is None:
            return own
        settings = {**layout(units), "fraction": how.ratio, "fresh": "normal", "down": int(units.down)}
        # The same units of all matrices of an expert, or others in each of them.
        of = f"{place.site.experts}/units" if how.shared else f"{place.name}/units"
        noise, stream = step.normal(place.name, number, place.shape), Stream(step.seed_of(of), number)
        with one_thread():
            made = drop_units([own.wide, noise], settings if how.shared else {**settings, "apart": 1}, stream)
        return computed(made, f"{own.says} with {how.ratio:g} of its units drawn anew", own, gain=SPREAD)

    return read_dense(step, expert, drawn_router(step))
