"""How many wrong growths does `growc grow --verify` refuse? Each has one fault in one tensor program.

    python -m benchmarks.spoilt_growths --count 300 --seed 0

First every example grows as it should, and must pass. Then growths are drawn and spoilt: a row, a factor, a seed, a
term, a source tensor. What is spoilt and gives the right bytes all the same (rows that are equal, a factor that rounds
away) is left out. A spoilt growth that is accepted is told with all that it takes to make it again, and fails the call.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import click
import torch

from benchmarks.spoilt_growths.growing import Outcome, grown, spoilt_growth
from benchmarks.spoilt_growths.scenes import Scene, all_scenes


@click.command()
@click.option("--count", default=300, show_default=True, help="Spoilt growths.")
@click.option("--seed", default="0", show_default=True)
@click.option("--only", default="", help="Scenes whose name has this in it.")
@click.option("--skip-right", is_flag=True, help="Leave out the growths that are not spoilt.")
def main(count: int, seed: str, only: str, skip_right: bool) -> None:
    """Spoil growths, and count those that are refused."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    scenes = [scene for scene in all_scenes() if only in str(scene)]
    failed = False
    with TemporaryDirectory(prefix="growc-spoilt-") as folder:
        if not skip_right:
            failed = _right(scenes, Path(folder))
        failed |= _spoilt(scenes, Path(folder), count, seed)
    sys.exit(failed)


def _right(scenes: list[Scene], root: Path) -> bool:
    began, failed = time.monotonic(), 0
    for scene in scenes:
        told = grown(scene, root)
        if told is not None:
            failed += 1
            click.echo(f"REFUSED THOUGH RIGHT: {scene}\n  {told}\n  {list(scene.operators)}")
    took = time.monotonic() - began
    click.echo(f"{len(scenes)} growths as they should be: {len(scenes) - failed} pass, {took / len(scenes):.2f} s each")
    return failed > 0


def _spoilt(scenes: list[Scene], root: Path, count: int, seed: str) -> bool:
    began, counts, kinds, number = time.monotonic(), Counter[Outcome](), Counter[tuple[str, Outcome]](), 0
    while counts[Outcome.REFUSED] + counts[Outcome.ACCEPTED] < count:
        rng = Random(f"{seed}/{number}")
        scene = rng.choice(scenes)
        scene = replace(scene, dtype=rng.choice(("fp32", "bf16")))
        outcome, fault, told = spoilt_growth(scene, root, rng)
        counts[outcome] += 1
        kinds[fault.kind, outcome] += 1
        if outcome is Outcome.ACCEPTED:
            click.echo(f"ACCEPTED: seed {seed}/{number}: {scene}\n  {list(scene.operators)}\n  {fault}\n  {told}")
        number += 1
    took = time.monotonic() - began
    each = took / max(1, number)
    click.echo(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome) + f"; {each:.2f} s each")
    for kind in sorted({kind for kind, _ in kinds}):
        click.echo(f"  {kind:18}" + "".join(f" {kinds[kind, outcome]:4} {outcome}" for outcome in Outcome))
    return counts[Outcome.ACCEPTED] > 0


if __name__ == "__main__":
    main()
