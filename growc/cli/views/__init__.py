"""How findings and plans are shown; one file per output format, each imported when it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, cast

from growc.cli.options import FormatChoice
from growc.diagnostics import Diagnostic

if TYPE_CHECKING:
    from growc.plan.plan import InvariantRecord, Plan


class View(ABC):
    """One output format; `overrides` are the `--set` values that diagnostics may point into."""

    def __init__(self, overrides: tuple[str, ...]) -> None:
        self.overrides = overrides

    @abstractmethod
    def failed(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Show why a command could not do what it should, or what stands beside its result."""

    @abstractmethod
    def findings(
        self,
        specs: Sequence[str],
        diagnostics: Sequence[Diagnostic],
        invariants: Sequence[tuple[str, InvariantRecord]],
    ) -> None:
        """Show what was found on `specs`; invariants come with the spec that they belong to."""

    @abstractmethod
    def plan(self, plan: Plan) -> None:
        """Show a plan and its findings."""


def view(output_format: FormatChoice, overrides: tuple[str, ...]) -> View:
    """The view of an output format."""
    module = import_module(f"growc.cli.views.{output_format}")
    return cast(type[View], module.Shown)(overrides)
