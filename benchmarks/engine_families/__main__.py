"""Train a step of every causal language model of transformers on growc's engine, beside transformers' own model.

    python -m benchmarks.engine_families                 # all families; goes on where a call with the same growc ended
    python -m benchmarks.engine_families olmo3 mixtral   # these alone, anew; no page is written

Results are kept in `runs/engine_families/results.jsonl`; when every family has one, RESULTS.md is written from them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.engine_families import page
from benchmarks.engine_families.judge import judge
from benchmarks.families.configs import families
from benchmarks.families.sweep import code, read, sweep

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main() -> None:
    """Sweep and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="of transformers' mapping; all if none is named")
    parser.add_argument("--at-once", type=int, default=1, help="families that are tried at the same time")
    parser.add_argument("--results", type=Path, default=ROOT / "runs/engine_families/results.jsonl")
    given = parser.parse_args()
    every = families()
    if unknown := {*given.families} - {*every}:
        sys.exit(f"transformers has no causal language model of type {', '.join(sorted(unknown))}")
    done = {result["family"] for result in read(given.results) if result["code"] == code()}
    waiting = given.families or [name for name in every if name not in done]
    sweep(waiting, given.results, given.at_once, lambda result: print(page.line(result), flush=True), judge)
    if not given.families:
        page.write(read(given.results), HERE / "RESULTS.md")


if __name__ == "__main__":
    main()
