"""Compare the power of two test suites: how many of 25 small faults does each of them find?

    python -m benchmarks.test_power draw
    git worktree add OLD 7044bfd; git clone . NEW
    python -m benchmarks.test_power run old --tree OLD --out old.jsonl
    python -m benchmarks.test_power run new --tree NEW --out new.jsonl
    python -m benchmarks.test_power table old.jsonl new.jsonl

`suites.toml` has the stages of both suites. `run` writes a mutant into the checkout, runs the stages on it until one
finds it, takes the mutant out, and appends a line for each stage; a call that was interrupted goes on where it ended.
`--targeted` leaves the whole suite out. A mutant counts as found when a test fails, or cannot be collected,
that passes without the mutant; one on which the suite hangs is counted apart. `new.jsonl` has the answers of the new
suite, as of commit bc86ca7, that there are so far.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.test_power.mutants import Mutant, draw
from benchmarks.test_power.stages import FOUND, HUNG, SUITES, SURVIVED, environment, outcome_of, stages_of

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).with_name("mutants.json")
COMMIT = "7044bfd"
"""The last commit with the old suite."""

PATH = click.Path(path_type=Path)


@click.group()
def main() -> None:
    """Compare the power of two test suites by mutants; the module says how."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as after SIGINT, the mutant is taken out


@main.command("draw")
@click.option("--seed", default=0, show_default=True)
def draw_command(seed: int) -> None:
    """Write mutants.json: the mutants of a seed whose lines still stand, and those drawn whose lines are gone."""
    mutants, gone = draw(ROOT, COMMIT, seed)
    for mutant in gone:
        click.echo(f"replaced, since its line is gone: {mutant} {mutant.text.strip()}")
    drawn = {"commit": COMMIT, "seed": seed, "mutants": [*map(asdict, mutants)], "replaced": [*map(asdict, gone)]}
    MUTANTS.write_text(json.dumps(drawn, indent=1) + "\n", encoding="utf-8")


@main.command()
@click.argument("suite", type=click.Choice(list(SUITES)))
@click.option("--tree", type=PATH, required=True, help="A clone or worktree that nothing else uses.")
@click.option("--out", type=PATH, required=True, help="Where results are appended.")
@click.option("--targeted", is_flag=True, help="Leave out the last stage, the whole suite.")
def run(suite: str, tree: Path, out: Path, targeted: bool) -> None:
    """Run a suite on every mutant that `out` has no answer of."""
    tree = tree.resolve()
    _check(tree)
    for mutant in _mutants():
        for stage in stages_of(suite, mutant.folder):
            known = _results(out).get(str(mutant), [])
            answered = any(r["outcome"] != SURVIVED or r["arguments"] == stage.arguments for r in known)
            if answered or (targeted and stage.whole):
                continue
            began = time.monotonic()
            outcome, by = outcome_of(stage, mutant, tree)
            seconds = round(time.monotonic() - began)
            result = {"mutant": str(mutant), "suite": suite, "arguments": stage.arguments, "whole": stage.whole}
            result |= {"outcome": outcome, "by": by, "seconds": seconds}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            click.echo(f"{mutant}  {outcome}  {seconds} s  {by}  [{stage.arguments}]")


@main.command()
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
def table(old: Path, new: Path) -> None:
    """Print what each suite found, as markdown; fail if the new one misses what the old one found."""
    sides = [_results(old), _results(new)]
    totals: list[Counter[str]] = [Counter(), Counter()]
    missed: list[Mutant] = []
    click.echo("| mutant | change | old suite | new suite |\n| --- | --- | --- | --- |")
    for mutant in _mutants():
        answers = [_answer(side.get(str(mutant), [])) for side in sides]
        for total, (outcome, _) in zip(totals, answers, strict=True):
            total[outcome] += 1
        if answers[0][0] in (FOUND, HUNG) and answers[1][0] not in (FOUND, HUNG):
            missed.append(mutant)
        change = f"`{mutant.text.strip()}`: `{mutant.before.strip()}` to `{mutant.after.strip()}`"
        cells = [f"{mutant.file}:{mutant.line}", change, *(f"{outcome} {by}".strip() for outcome, by in answers)]
        click.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for name, total in zip(("old", "new"), totals, strict=True):
        click.echo(f"\nThe {name} suite: " + ", ".join(f"{count} {outcome}" for outcome, count in total.items()))
    if missed:
        raise click.ClickException(f"found by the old suite alone: {', '.join(map(str, missed))}")


def _check(tree: Path) -> None:
    """Refuse a checkout that others work in, that a killed run has left changed, or whose growc is not imported."""
    if tree.samefile(ROOT):
        raise click.ClickException("mutants are written into the checkout: make another one with `git worktree add`")
    if subprocess.check_output(["git", "-C", str(tree), "status", "--porcelain", "growc"]):
        raise click.ClickException(f"{tree}/growc has changes; take them back with `git -C {tree} checkout growc`")
    command = [sys.executable, "-c", "import growc; print(growc.__path__[0])"]
    place = subprocess.check_output(command, cwd="/", env=environment(tree), text=True).strip()
    if Path(place) != tree / "growc":
        raise click.ClickException(f"growc would be imported from {place}")


def _mutants() -> list[Mutant]:
    return [Mutant(**values) for values in json.loads(MUTANTS.read_text(encoding="utf-8"))["mutants"]]


def _results(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What a file of results says of each mutant, in order."""
    results: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        result = json.loads(line)
        results.setdefault(result["mutant"], []).append(result)
    return results


def _answer(results: list[dict[str, Any]]) -> tuple[str, str]:
    """The outcome of all stages: a mutant has survived only if the whole suite passed."""
    if not results:
        return "not run", ""
    last = results[-1]
    if last["outcome"] == SURVIVED and not last["whole"]:
        return "not run to its end", ""
    return last["outcome"], last["by"] and f"by `{last['by']}`"


if __name__ == "__main__":
    main()
