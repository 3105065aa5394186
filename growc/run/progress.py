"""Progress on stderr: lines for logs, one moving line on a terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from growc.growth.graph import GrowthGraph, TrainNode


@dataclass
class Progress:
    """Which stage of how many, steps, loss, speed, and the time left for all stages that are still to train.

    Time left assumes that the remaining training FLOPs go at the mean rate of those done in this process.
    """

    graph: GrowthGraph
    quiet: bool
    every: float = 5.0
    _began: float = field(default_factory=time.monotonic)
    _last: float = 0.0
    _open: bool = False
    _spent: float = 0.0

    def skip(self, node: str) -> None:
        """A stage that an earlier call finished."""
        self.line(f"{self._label(node)} done already")

    def step(self, node: TrainNode, step: int, start: int, loss: float, speed: float) -> None:
        """One training step is done."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._last < (0.2 if terminal else self.every) and step < node.steps:
            return
        self._last = now
        done = self._spent + self._cost(node) * (step - start) / node.steps
        left = ""
        if done > 0:
            remaining = self._cost(node) * (1 - step / node.steps) + self._after(node)
            left = f"  {_clock((now - self._began) * remaining / done)} left"
        text = f"{self._label(node.name)} step {step}/{node.steps}  loss {loss:.4f}  {_rate(speed)} tok/s{left}"
        self._write(text, moving=terminal)
        if step == node.steps:
            self._spent += self._cost(node) * (step - start) / node.steps

    def line(self, text: str) -> None:
        """A line that stays."""
        self._write(text, moving=False)

    def stage(self, node: str, text: str) -> None:
        """A line about a stage."""
        self.line(f"{self._label(node)} {text}")

    def _write(self, text: str, *, moving: bool) -> None:
        if self.quiet:
            return
        clear = "\r\x1b[2K" if self._open else ""
        sys.stderr.write(clear + text + ("" if moving else "\n"))
        sys.stderr.flush()
        self._open = moving

    def _label(self, node: str) -> str:
        names = [n.name for n in self.graph.nodes]
        return f"[{names.index(node) + 1}/{len(names)}] {node}:"

    def _cost(self, node: TrainNode) -> float:
        return node.tokens * node.after.cost.flops_per_token

    def _after(self, node: TrainNode) -> float:
        position = [n.name for n in self.graph.nodes].index(node.name)
        return sum(self._cost(n) for n in self.graph.nodes[position + 1 :] if isinstance(n, TrainNode))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rate(speed: float) -> str:
    return f"{speed / 1000:.1f}k" if speed >= 1000 else f"{speed:.0f}"
