"""The run folder: where everything lies, and what its files are called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run folder. A stage's folder is named after its node; arms have folders of their own."""

    path: Path

    @property
    def plan(self) -> Path:
        """The frozen plan that runs here."""
        return self.path / "plan.json"

    @property
    def journal(self) -> Path:
        """Append-only events."""
        return self.path / "journal.jsonl"

    @property
    def summary(self) -> Path:
        """What every stage reached."""
        return self.path / "summary.json"

    @property
    def outcome(self) -> Path:
        """How the ranks ended, for the launcher."""
        return self.path / "outcome.json"

    @property
    def stop(self) -> Path:
        """A file here asks all ranks to save and stop."""
        return self.path / "stop"

    @property
    def lock(self) -> Path:
        """Held by the launcher while it runs."""
        return self.path / "lock"

    @property
    def lock_of_rank0(self) -> Path:
        """Held by the first rank, which may outlive the launcher."""
        return self.path / "lock.rank0"

    @property
    def data(self) -> Path:
        """The tokenized data."""
        return self.path / "data"

    def source(self, key: str, seed: int | None) -> Path:
        """A source model's state, as the first stages load it; `seed` is that of its weights, if they are drawn."""
        return self.path / "source" / (key[:16] + ("" if seed is None else f"-{seed}"))

    def scratch(self, node: str) -> Path:
        """The fresh state from which node `node` starts."""
        return self.stage(node) / "scratch"

    def stage(self, node: str) -> Path:
        """The folder of one node."""
        return self.path / "stages" / node

    def result(self, node: str) -> Path:
        """What a finished node measured."""
        return self.stage(node) / "result.json"

    def metrics(self, node: str) -> Path:
        """A row for every step of a node that trains, and for every validation."""
        return self.stage(node) / "metrics.jsonl"

    def checkpoint(self, node: str) -> Path:
        """The state after the node: a Hugging Face folder plus the training state."""
        return self.stage(node) / "checkpoint"

    def stable(self, node: str) -> Path:
        """The state before the node's anneal."""
        return self.stage(node) / "stable"

    def steps(self, node: str) -> Path:
        """Folders `step-N` of a stage under way."""
        return self.stage(node) / "steps"
