"""Units of several models that are matched by what they do, when the models are there."""

from __future__ import annotations

from dataclasses import dataclass

from growc.anatomy.sites import FfnSite


@dataclass(frozen=True)
class ByActivations:
    """Units are matched by their activations over `batches` of each part of the data that the models were trained on.

    What is decided are the `units` of every network, for every model but the first: all of them, in another order.
    """

    batches: int


def order_of(network: FfnSite, parent: int) -> str:
    """What the order of the units of a network is called in programs, in the model numbered `parent`."""
    return f"{network.name}/units/{parent}"
