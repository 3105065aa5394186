"""Run a suite on every mutant: `python -m benchmarks.test_power run --tree CHECKOUT --out FILE STAGE...`.

A stage is one argument list of pytest, in quotes; stages run in order until one fails, the likely and cheap ones first
and the whole suite last. `{room}` stands for the mutant's folder under growc/. `draw` prints the mutants, and
`table OLD NEW` compares two result files. A call that was interrupted goes on with the mutants that are left.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.test_power.mutants import Mutant, draw

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).with_name("mutants.json")
FOUND, SURVIVED = 1, 0
"""pytest's exit codes."""


@click.group()
def main() -> None:
    """See the module."""


@main.command("draw")
@click.option("--tree", type=click.Path(path_type=Path), default=ROOT, help="The checkout to draw from.")
@click.option("--seed", default=0, show_default=True)
def draw_command(tree: Path, seed: int) -> None:
    """Write mutants.json."""
    mutants = [asdict(mutant) for mutant in draw(tree, seed)]
    MUTANTS.write_text(json.dumps(mutants, indent=1) + "\n", encoding="utf-8")


@main.command()
@click.option("--tree", type=click.Path(path_type=Path), required=True, help="A checkout that nothing else uses.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where results are appended.")
@click.option("--limit", default=1800, show_default=True, help="Seconds for one stage.")
@click.argument("stages", nargs=-1, required=True)
def run(tree: Path, out: Path, limit: int, stages: tuple[str, ...]) -> None:
    """Run the stages on every mutant that `out` has no result of."""
    known = [json.loads(line)["mutant"] for line in out.read_text().splitlines()] if out.exists() else []
    for number, mutant in enumerate(map(_read, json.loads(MUTANTS.read_text(encoding="utf-8")))):
        if number in known:
            continue
        began = time.monotonic()
        result: dict[str, Any] = {"mutant": number, **_result(mutant, tree, stages, limit)}
        result["seconds"] = round(time.monotonic() - began)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        click.echo(f"{number:2} {result['outcome']:9} {result['seconds']:5} s  {result['by']}")


def _read(values: dict[str, Any]) -> Mutant:
    return Mutant(**values)


def _result(mutant: Mutant, tree: Path, stages: tuple[str, ...], limit: int) -> dict[str, Any]:
    try:
        whole = mutant.apply(tree)
    except LookupError:
        return {"outcome": "gone", "by": ""}
    try:
        for stage in stages:
            outcome, by = _pytest(tree, shlex.split(stage.format(room=Path(mutant.file).parts[1])), limit)
            if outcome != "survived":
                return {"outcome": outcome, "by": by}
        return {"outcome": "survived", "by": ""}
    finally:
        (tree / mutant.file).write_text(whole, encoding="utf-8")


def _pytest(tree: Path, arguments: list[str], limit: int) -> tuple[str, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "GROWC_CACHE": "off"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return "hung", shlex.join(arguments)
    if done.returncode == SURVIVED:
        return "survived", ""
    if done.returncode in (FOUND, 2, 4):  # 2 and 4: a module that cannot be imported, which is found too
        words = ("FAILED", "SUBFAILED", "ERROR")
        told = [line for line in done.stdout.splitlines() if line.startswith(words)]
        return "found", told[0][:160] if told else done.stdout[-160:]
    raise click.ClickException(f"pytest ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


@main.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
def table(old: Path, new: Path) -> None:
    """Print what each suite found, as markdown."""
    results = [{r["mutant"]: r for r in map(json.loads, path.read_text().splitlines())} for path in (old, new)]
    click.echo("| mutant | change | old suite | new suite, by |\n| --- | --- | --- | --- |")
    for number, mutant in enumerate(map(_read, json.loads(MUTANTS.read_text(encoding="utf-8")))):
        before, after = (side.get(number, {"outcome": "not run", "by": ""}) for side in results)
        change = f"`{mutant.before.strip()}` -> `{mutant.after.strip()}`".replace("|", "\\|")
        by = after["by"].partition("::")[2][:90]
        place = f"{mutant.file.removeprefix('growc/')}:{mutant.line}"
        click.echo(f"| {place} | {change} | {before['outcome']} | {after['outcome']} {by} |")
    counts = [sum(result["outcome"] in ("found", "hung") for result in side.values()) for side in results]
    click.echo(f"\nFound by the old suite: {counts[0]}; by the new: {counts[1]}.")


if __name__ == "__main__":
    main()
