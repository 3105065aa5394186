"""Colours and dashes. Pictures are drawn in stand-in colours that become CSS variables, so one drawing fits light and
dark; the values are in `report.css`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from growc.report.history import ARMS, Run, Trail

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
    "main": "solid", "fixed_source": (0, (5.0, 2.2)), "fixed_target": (0, (1.4, 1.6))
}  # fmt: skip
_MARKERS = {"main": "o", "fixed_source": "s", "fixed_target": "^"}


def looks(runs: tuple[Run, ...]) -> dict[tuple[str, str], Look]:
    """The look of every trail, by the run's and the trail's label.

    Dashes and markers tell the arms apart. Colours tell the arms of a single run apart, and the runs of several.
    """
    found: dict[tuple[str, str], Look] = {}
    for number, run in enumerate(runs):
        extra = len(ARMS)
        for trail in run.trails:
            main = trail is run.trail_of(trail.arm)
            index = number if len(runs) > 1 else ARMS.index(trail.arm) if main else extra
            extra += not main
            colour = SERIES[index % len(SERIES)]
            found[run.label, trail.label] = Look(colour, _DASHES[trail.arm], _MARKERS[trail.arm] if main else "D")
    return found


def trail_name(run: Run, trail: Trail, runs: tuple[Run, ...]) -> str:
    """What a legend calls a trail."""
    return trail.label if len(runs) == 1 else f"{run.label}: {trail.label}"
