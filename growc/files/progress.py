"""How far a pass over bytes has come: lines for logs, one moving line with a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

BAR = 24
"""Characters of the bar."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done, bytes done and bytes in all, bytes per second in this call, and seconds left if known."""

    what: str
    done: int
    total: int
    speed: float
    left: float | None


Listener = Callable[[Progress], None]


class Meter:
    """Counts the bytes of one pass and tells a listener; `done` bytes were done by an earlier call."""

    def __init__(self, listener: Listener | None, what: str, total: int, done: int = 0) -> None:
        self._listener, self._what, self._total, self._done = listener, what, total, done
        self._before, self._began = done, time.monotonic()

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        self._done += count
        if self._listener is None:
            return
        moved, passed = self._done - self._before, time.monotonic() - self._began
        speed = moved / passed if passed > 0 else 0.0
        left = (self._total - self._done) / speed if speed else None
        self._listener(Progress(self._what, self._done, self._total, speed, left))


class Printer:
    """A listener that writes to stderr, at most every `every` seconds (every fifth of one on a terminal)."""

    def __init__(self, every: float = 5.0) -> None:
        self._every = every
        self._last = 0.0
        self._open = False

    def __call__(self, progress: Progress) -> None:
        """Show it, if it is time or the end."""
        terminal, now = sys.stderr.isatty(), time.monotonic()
        end = progress.done >= progress.total
        if not end and now - self._last < (0.2 if terminal else self._every):
            return
        self._last = now
        moving = terminal and not end
        clear = "\r\x1b[2K" if self._open else ""
        sys.stderr.write(clear + line(progress, bar=moving) + ("" if moving else "\n"))
        sys.stderr.flush()
        self._open = moving


def line(progress: Progress, *, bar: bool) -> str:
    """Progress in words."""
    from rich.filesize import decimal

    share = progress.done / progress.total if progress.total else 1.0
    drawn = f" [{'#' * int(share * BAR):<{BAR}}]" if bar else ""
    left = f"  {_clock(progress.left)} left" if progress.left is not None and share < 1 else ""
    done, total, speed = map(decimal, (progress.done, progress.total, round(progress.speed)))
    return f"{progress.what}:{drawn} {done} of {total}  {speed}/s{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
