"""Changes inputs at random for a while, and reports every outcome that must not be; exits with 1 if there is one."""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic

from transformers.utils import logging

from tests.checkpoint.mutations.scene import Waited
from tests.fuzz import growing, readers
from tests.fuzz.outcome import Target, place

TARGETS: Mapping[str, Target] = {**readers.TARGETS, "grow": growing.whole}
BATCH = {"grow": 1}
"""Inputs of a target in each round; the readers take a hundredth of the time that a growth does."""


@dataclass
class Found:
    """How often each outcome was seen, and the first input of each that must not be, with its traceback."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    findings: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def run(self, target: str, seed: str) -> None:
        """One input, which the seed alone decides."""
        try:
            with TemporaryDirectory(prefix="growc-fuzz-") as folder:
                outcome = TARGETS[target](Path(folder), Random(seed))
        except (Exception, Waited) as error:  # noqa: BLE001  (whatever else comes is what is looked for)
            outcome = place(error)
            self.findings.setdefault(f"{target}: {outcome}: {error}"[:200], (seed, traceback.format_exc()))
        self.outcomes[f"{target}: {outcome}"] += 1

    def report(self) -> str:
        """Outcomes by how often they were seen, then the findings."""
        lines = [f"{sum(self.outcomes.values())} inputs"]
        lines += [f"{count:8} {outcome}" for outcome, count in sorted(self.outcomes.items())]
        lines.append(f"{len(self.findings)} findings")
        lines += [f"\n{what}\nseed {seed}\n{trace}" for what, (seed, trace) in self.findings.items()]
        return "\n".join(lines)


def fuzz(seconds: float, seed: str, targets: tuple[str, ...] = tuple(TARGETS)) -> Found:
    """Run all targets in turn until the time is over."""
    # Half a million configs and headers make transformers and torch say much that is of no interest here.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found, end, number = Found(), monotonic() + seconds, 0
    with warnings.catch_warnings(action="ignore"):
        while monotonic() < end:
            for target in targets:
                for _ in range(BATCH.get(target, 20)):
                    found.run(target, f"{seed}/{number}")
                    number += 1
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; can be repeated")
    parser.add_argument("--input", help="only the input of this seed, as a report gives it; needs one --target")
    asked = parser.parse_args()
    if asked.input:
        found = Found()
        found.run(asked.target[0], asked.input)
    else:
        found = fuzz(asked.seconds, asked.seed, tuple(asked.target or TARGETS))
    sys.stdout.buffer.write((found.report() + "\n").encode(errors="backslashreplace"))
    sys.exit(bool(found.findings))


if __name__ == "__main__":
    main()
