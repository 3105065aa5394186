"""What an initialisation of the router gives: programs for its rows and for its biases."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field
from typing_extensions import override

from growc.anatomy.matches import PerExpert, SelectionBias
from growc.anatomy.sites import MoeSite
from growc.operators.claims import Problem
from growc.operators.initialisation import Initialisation, Slots
from growc.programs import Add, Expr, Init


class RouterInit(Initialisation):
    """How the router's rows and biases of copies start.

    The rows are those of the router's weight, of shape (slots, hidden). The bias that decides which experts are chosen
    is the selection bias of loss-free balancing, or the bias of the logits where there is no other.
    """

    bias_noise: float = Field(
        default=0.0, ge=0, description="delta of the noise U(-delta, delta) on the bias of copies, in units of the bias"
    )

    @property
    def moves_bias(self) -> bool:
        """Whether the bias that decides differs between siblings."""
        return self.bias_noise > 0

    @override
    def problems(self, site: MoeSite) -> Iterator[Problem]:
        if self.moves_bias and not site.selection_bias and len(site.router_rows) < 2:
            field = "bias_noise" if self.bias_noise else "init"
            yield Problem(
                "GROW305",
                f"{site.router} has no bias to put {'bias_noise' if self.bias_noise else 'anything'} on",
                "leave it out, or break the symmetry with router: {init: split}",
                ("router", field),
            )

    def rows(self, slots: Slots) -> Expr:
        """The grown router's weight over the source's."""
        raise NotImplementedError

    def logit_bias(self, slots: Slots) -> Expr:
        """The grown bias of the logits over the source's, before `bias` where it is the one that decides."""
        return slots.copied

    def bias(self, slots: Slots, start: Expr) -> Expr:
        """The grown bias that decides: `start` with noise on the copies (arXiv 2604.19835 v2, Section 3.1)."""
        if not self.bias_noise:
            return start
        noise = Init((slots.count,), "uniform", self.bias_noise, slots.tensor.name)
        return slots.on_copies(Add(start, noise))

    def program(self, slots: Slots) -> Expr:
        """The grown tensor of one router, or another with a number for each expert, whichever it is."""
        match slots.tensor:
            case tensor if len(tensor.shape) == 2:
                return self.rows(slots)
            case PerExpert():
                return slots.copied
            case SelectionBias():
                return self.bias(slots, slots.copied)
            case tensor:
                start = self.logit_bias(slots)
                return self.bias(slots, start) if tensor.site.selection_bias is None else start
