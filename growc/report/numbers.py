"""Numbers as a reader wants them: sensible digits, a unit, and a real minus sign."""

from __future__ import annotations

import math

from growc.diagnostics.invariant import bound

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""Stands where there is no number."""

_PREFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def loss(value: float | None, digits: int = 3) -> str:
    """A loss in nats per token."""
    return NONE if value is None else _minus(f"{value:.{digits}f}")


def change(value: float | None) -> str:
    """A difference of losses in nats, with its sign; of what is rounding alone, only that."""
    if value is None:
        return NONE
    most = bound("loss", value)
    return f"below {most:.0e}" if most else signed(value)


def signed(value: float) -> str:
    """A number with its sign, as on an axis; small ones in powers of ten."""
    if value == 0 or not math.isfinite(value):
        return _minus(f"{value:+.0f}")
    return _minus(f"{value:+.4f}" if abs(value) >= 1e-3 else f"{value:+.1e}")


def error(value: float) -> str:
    """A standard error in nats, to go with `loss` of four digits or `change`."""
    if math.isnan(value):
        return NONE
    return f"{value:.4f}" if value >= 1e-4 or value == 0 else f"{value:.0e}"


def plain(value: float | None) -> str:
    """A number whose size is not known beforehand, such as the limit of an invariant."""
    if value is None:
        return NONE
    return count(value) if abs(value) >= 1e4 else _minus(f"{value:.3g}")


def count(value: float | None) -> str:
    """Parameters, tokens or FLOPs to three digits: 83.7 k, 30.5 B."""
    if value is None:
        return NONE
    for size, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * size:
            return _minus(f"{_three(value / size)} {prefix}")
    return _minus(f"{value:.3g}" if value != int(value) else f"{int(value)}")


def tick(value: float) -> str:
    """A count on an axis: without zeros that say nothing."""
    number, _, prefix = count(value).partition(" ")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number}\N{NO-BREAK SPACE}{prefix}" if prefix else number


def percent(value: float | None, *, signed: bool = False) -> str:
    """A share: 0.0123 is 1.2 %."""
    if value is None:
        return NONE
    digits = 0 if abs(value) >= 0.1 else 1 if abs(value) >= 0.01 else 2
    return _minus(f"{100 * value:{'+' if signed else ''}.{digits}f} %")


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest:02d} s"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h" if days else f"{hours} h {minutes:02d} min"


def _three(value: float) -> str:
    """Three digits, without an exponent."""
    size = abs(value)
    return f"{value:.2f}" if size < 9.995 else f"{value:.1f}" if size < 99.95 else f"{value:.0f}"


def _minus(text: str) -> str:
    return MINUS + text[1:] if text.startswith("-") else text
