"""Grow a small checkpoint of every causal language model of transformers, and say what became of it.

    python -m benchmarks.families                 # all families; goes on where a call with the same growc ended
    python -m benchmarks.families olmo3 mixtral   # these alone, anew; no page is written

Results are kept in `runs/families/results.jsonl` while the sweep runs; when every family has one they go beside this
file, and `docs/families.md` is written from them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.families import page
from benchmarks.families.configs import families
from benchmarks.families.sweep import Result, code, family, read, sweep

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

FIRST = (
    *("olmo3", "afmoe", "ernie4_5_moe", "hunyuan_v1_moe", "dots1", "lfm2_moe", "minimax_m2", "llama4_text"),
    *("gemma3_text", "gpt_oss", "qwen3_next", "jamba", "granitemoehybrid", "cohere2", "gemma2", "smollm3"),
    *("exaone4", "flex_olmo", "bamba", "doge"),
)
"""Families that come first, since more than one way of telling layers apart or of routing meets in them."""


def main() -> None:
    """Sweep and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="of transformers' mapping; all if none is named")
    parser.add_argument("--at-once", type=int, default=2, help="families that are grown at the same time")
    parser.add_argument("--results", type=Path, default=ROOT / "runs/families/results.jsonl")
    given = parser.parse_args()
    every = [*FIRST, *(name for name in families() if name not in FIRST)]
    if unknown := {*given.families} - {*every}:
        sys.exit(f"transformers has no causal language model of type {', '.join(sorted(unknown))}")
    done = {result["family"] for result in read(given.results) if result["code"] == code()}
    sweep(given.families or [name for name in every if name not in done], given.results, given.at_once, _tell, family)
    results = read(given.results)
    if not given.families:
        page.write_results(results, HERE / "results.jsonl")
        page.write(results, ROOT / "docs/families.md")
        given.results.unlink()


def _tell(result: Result) -> None:
    for line in page.lines(result):
        print(line, flush=True)


if __name__ == "__main__":
    main()
