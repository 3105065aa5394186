"""Colours and dashes. Pictures are drawn in stand-in colours that become CSS variables, so one drawing fits light and
dark; the values are in `report.css`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from growc.report.history import Run, Trail
from growc.spec.baselines import ARMS, CONTROLS, MAIN

INK, MUTED, GRID, SURFACE = "#010101", "#020202", "#030303", "#040404"
PREDICTED, SHARED = "#050505", "#060606"
TRAINING, GROWING, REST = "#070707", "#080808", "#090909"
SERIES = tuple(f"#0a00{i:02x}" for i in range(8))

VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", SURFACE: "surface", PREDICTED: "predicted", SHARED: "shared",
    TRAINING: "training", GROWING: "growing", REST: "rest",
    **{colour: f"s{i}" for i, colour in enumerate(SERIES)},
}  # fmt: skip
"""Stand-in colour -> CSS variable."""

Dashes = Literal["solid"] | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Look:
    """How one trail looks in every picture."""

    colour: str
    dashes: Dashes
    marker: str

    @property
    def variable(self) -> str:
        """The CSS variable of the colour."""
        return VARIABLES[self.colour]

    @property
    def dasharray(self) -> str:
        """The dashes as SVG wants them."""
        return "" if self.dashes == "solid" else " ".join(f"{length:g}" for length in self.dashes[1])


_DASHES: dict[str, Dashes] = {
    "main": "solid", "fixed_source": (0, (5.0, 2.2)), "fixed_target": (0, (1.4, 1.6)),
    "random_allocation": (0, (7.0, 1.6, 1.4, 1.6)), "scaled_top_k": (0, (3.0, 1.4)),
    "random_experts": (0, (3.0, 1.2, 1.2, 1.2, 1.2, 1.2)),
}  # fmt: skip
_MARKERS = {
    "main": "o", "fixed_source": "s", "fixed_target": "^", "random_allocation": "v", "scaled_top_k": "P",
    "random_experts": "X",
}  # fmt: skip
_FIRST = (MAIN, *CONTROLS)
"""The arms whose colours are always the same; all others take the next ones as they come."""


def look_of(arm: str) -> Look:
    """The look of an arm in a picture of one run, whatever its point in a sweep."""
    return Look(SERIES[ARMS.index(arm)], _DASHES[arm], _MARKERS[arm])


def looks(runs: tuple[Run, ...]) -> dict[tuple[str, str], Look]:
    """The look of every trail, by the run's and the trail's label.

    Dashes and markers tell the arms apart. Colours tell the arms of a single run apart, and the runs of several.
    """
    found: dict[tuple[str, str], Look] = {}
    for number, run in enumerate(runs):
        extra = len(_FIRST)
        for trail in run.trails:
            main = trail is run.trail_of(trail.arm)
            fixed = main and trail.arm in _FIRST
            index = number if len(runs) > 1 else _FIRST.index(trail.arm) if fixed else extra
            extra += not fixed
            colour = SERIES[index % len(SERIES)]
            found[run.label, trail.label] = Look(colour, _DASHES[trail.arm], _MARKERS[trail.arm] if main else "D")
    return found


def trail_name(run: Run, trail: Trail, runs: tuple[Run, ...]) -> str:
    """What a legend calls a trail."""
    return trail.label if len(runs) == 1 else f"{run.label}: {trail.label}"
