"""What an operator says of itself and of a growth: where it was published, what it preserves, what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from growc.programs import Expr, sources


class Preserves(StrEnum):
    """What becomes of the model's function at the moment of growth."""

    EXACTLY = "exactly"
    NEARLY = "nearly"
    NOT = "not"

    @property
    def in_words(self) -> str:
        """What is said of a growth."""
        return "does not preserve the model" if self is Preserves.NOT else f"preserves the model {self}"

    def worst(self, other: Preserves) -> Preserves:
        """The class of two operators in a row."""
        order = list(Preserves)
        return max(self, other, key=order.index)


@dataclass(frozen=True)
class Paper:
    """Where an operator was published."""

    arxiv: str
    title: str
    year: int


@dataclass(frozen=True)
class Moments:
    """Programs for an optimizer's state of one tensor: first and second moment (None: zeros), and the step count."""

    first: Expr | None
    second: Expr | None
    keep_step: bool

    def origin(self, name: str) -> str:
        """The tensor of the source whose step count the tensor called `name` keeps: the first that its moments read."""
        read = sources(self.first) if self.first is not None else frozenset[str]()
        return name if name in read or not read else min(read)


@dataclass(frozen=True)
class FreeTopK:
    """What plain top-K over copies makes of a growth: what the K_eff law speaks of (see `growc.nn.duplicates`).

    `alone` says that nothing else changes what is computed, since copies compute what their source does. `apart` names
    what sets siblings apart from the start, if anything does. With `sizes_known` it is known before anything is
    measured how many copies there will be, if not of which expert.
    """

    alone: bool
    apart: str
    sizes_known: bool


@dataclass(frozen=True)
class Problem:
    """Why an operator cannot be applied to a model; `where` is the path of the offending value inside the operator."""

    code: str
    message: str
    help: str
    where: tuple[str | int, ...] = ()
