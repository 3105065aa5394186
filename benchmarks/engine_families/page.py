"""RESULTS.md from the results of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.engine_families.judge import RUNS
from benchmarks.families.sweep import Result
from growc.files.atomic import write_text

INTRO = """\
# Every family through the engine

Written by `python -m benchmarks.engine_families`: a training step of a small model of every causal language model of
transformers, on growc's engine and by the plain model, in training mode, without dropout, on the CPU over gloo.

- *right*: the loss and every gradient are the plain model's, to 2e-5 of a tensor's largest element, and so are
  buffers that no checkpoint holds. In bf16: finite, and the loss within 2 %.
- *refused*: the engine says by a code why it does not train the family so.
- *WRONG* and *TRACEBACK*: what must not be.

Two ranks are for mixtures of experts. `selective` and `full` are activation checkpointing.
"""


def write(results: Sequence[Result], path: Path) -> None:
    """Write the page."""
    write_text(path, "\n".join(page(results)) + "\n")


def page(results: Sequence[Result]) -> Iterator[str]:
    """The lines of the page."""
    yield INTRO
    ordered = sorted(results, key=lambda result: result["family"])
    built = [result for result in ordered if "verdicts" in result]
    mixtures = sum(result["mixture"] for result in built)
    yield f"{len(ordered)} families, {len(built)} of which could be built small, {mixtures} of these mixtures.\n"
    counts = Counter((name, kind(words)) for result in built for name, words in result["verdicts"].items())
    kinds = sorted({each for _, each in counts}, key=lambda each: (each != "right", each))
    yield f"| run | {' | '.join(kinds)} |"
    yield f"| --- |{' ---: |' * len(kinds)}"
    for run in map(str, RUNS):
        yield f"| {run} | {' | '.join(str(counts[run, each]) for each in kinds)} |"
    yield "\n## Not right\n"
    yield "| family | runs | |"
    yield "| --- | --- | --- |"
    for result in built:
        for words in dict.fromkeys(result["verdicts"].values()):
            if words != "right":
                alike = [run for run, other in result["verdicts"].items() if other == words]
                runs = "all" if len(alike) == len(result["verdicts"]) else "; ".join(alike)
                yield f"| {result['family']} | {runs} | {words.replace('|', '/')} |"
    yield "\n## Not built\n"
    for result in ordered:
        if "verdicts" not in result:
            yield line(result)


def kind(words: str) -> str:
    """The first word of a verdict."""
    return words.split(maxsplit=1)[0].rstrip(":")


def line(result: Result) -> str:
    """One result as a line of text."""
    if "verdicts" not in result:
        return f"- `{result['family']}`: {result.get('unbuilt') or 'died, ' + result['died']}"
    by_words: dict[str, list[str]] = {}
    for run, words in result["verdicts"].items():
        by_words.setdefault(words, []).append(run)
    return f"- `{result['family']}` " + "; ".join(f"{', '.join(runs)}: {words}" for words, runs in by_words.items())
