"""From a matplotlib figure to SVG inside the page: real text, the page's fonts and colours, always the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import matplotlib.style
from markupsafe import Markup
from matplotlib.figure import Figure

from growc.report.palette import GRID, INK, MUTED, VARIABLES

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a stage's name is a dollar
    "font.family": "DejaVu Sans",  # ships with matplotlib: the layout is the same on every machine
    "font.size": 11.0,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": 10.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 2.6,
    "lines.dash_capstyle": "butt",
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
}

WIDE, HALF, NARROW = 860, 400, 360
"""Widths in pixels: the page, half of it, and a phone."""


@dataclass(frozen=True)
class Picture:
    """One picture in one or two widths, with what it shows in words for those who do not see it."""

    key: str
    title: str
    caption: str
    wide: Markup
    narrow: Markup | None = None


Painter = Callable[[Figure], None]
"""Draws on an empty figure."""


def picture(
    key: str, title: str, caption: str, painter: Painter, wide: tuple[int, int], narrow: tuple[int, int] | None = None
) -> Picture:
    """Draw in both sizes (in pixels); without a narrow one, the wide one shrinks on a phone."""
    return Picture(
        key, title, caption,
        _draw(f"{key}-wide", title, painter, wide),
        _draw(f"{key}-narrow", title, painter, narrow) if narrow else None,
    )  # fmt: skip


def is_narrow(figure: Figure) -> bool:
    """Whether the figure is for a phone."""
    return figure.get_figwidth() * 72 <= NARROW


def _draw(key: str, title: str, painter: Painter, size: tuple[int, int]) -> Markup:
    # One point of the drawing is one pixel of the page, so sizes of fonts are in pixels.
    with matplotlib.style.context(["default", _STYLE | {"svg.hashsalt": key}]), warnings.catch_warnings():
        # Names may be in any script; the browser has the glyphs, DejaVu is only asked for their width.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
        painter(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(file.getvalue(), title, size)


def _inline(text: str, title: str, size: tuple[int, int]) -> Markup:
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*|<style .*?</style>", "", body, flags=re.DOTALL)
    head = (
        f'<svg viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}" role="img" '
        f'aria-label="{escape(title)}">'
    )
    body = head + body[body.index(">") + 1 :]
    body = re.sub('(<g) id="[^"]*"', r"\1", body)  # nothing refers to groups, and the names repeat
    return Markup(re.sub(r'style="[^"]*"', lambda found: _variables(found[0]), body))


def _variables(style: str) -> str:
    style = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", style)
    return re.sub(
        r"#[0-9a-f]{6}", lambda found: f"var(--{VARIABLES[found[0]]})" if found[0] in VARIABLES else found[0], style
    )
