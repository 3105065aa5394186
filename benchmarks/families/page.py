"""`docs/families.md` from the results of a sweep."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.families.sweep import Result

INTRO = """\
# Every family, grown

Written by `make families` (`python -m benchmarks.families`). For every causal language model that transformers has, a
small checkpoint with random weights is grown by `growc grow --verify`, file to file, and compared with its source by
transformers alone, in float64 where it runs a family so: growc's own checks and twins take no part.

- *exact*: the grown model's logits are the source's, up to 1e-5 of their spread (routers take their softmax in
  float32; 1e-3 where all is float32), and its tensors are the source's or rows of them.
- *near, as claimed*: freely routed copies. The grown folder is bit for bit the stock model of its config with the
  source's rows repeated, and its loss is the one that growc foretells, to 1e-5 nats (compared in float64 alone).
- *as claimed*: pruned experts (the stock model of the grown config with the rows that `growth.json` says were kept),
  and routers made anew in a mixture (all other tensors are the source's).
- *refused*: growc says by a code why it does not grow the model so.
- *WRONG* and *TRACEBACK*: what must not be.

Configs are made small by rules that speak of no family, see `benchmarks/families/rules.py`. `doge+is_moe` is
doge with that field of its config set. Layers: a letter for every layer, equal for layers that are built alike, and
small where the layer has a mixture of experts.
"""


def write(results: Sequence[Result], path: Path) -> None:
    """Write the page."""
    _write(path, "\n".join(page(results)) + "\n")


def write_results(results: Sequence[Result], path: Path) -> None:
    """Write results as lines of JSON, in the order of the families' names."""
    ordered = sorted(results, key=lambda result: result["family"])
    _write(path, "".join(json.dumps(result) + "\n" for result in ordered))


def _write(path: Path, text: str) -> None:
    from growc.files.atomic import write_text  # not before all is compared: growc is to be known to no model until then

    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def page(results: Sequence[Result]) -> Iterator[str]:
    """The lines of the page."""
    yield INTRO
    ordered = sorted(results, key=lambda result: result["family"])
    grown = [result for result in ordered if "verdicts" in result]
    yield f"{len(ordered)} families, {len(grown)} of which could be built small.\n"
    counts = Counter((name, _kind(told)) for result in grown for name, told in result["verdicts"].items())
    kinds = sorted({kind for _, kind in counts})
    yield f"| operator | {' | '.join(kinds)} |"
    yield f"| --- |{' ---: |' * len(kinds)}"
    for name in dict.fromkeys(name for result in grown for name in result["verdicts"]):
        yield f"| {name} | {' | '.join(str(counts[name, kind]) for kind in kinds)} |"
    for title, mixed in (("Mixtures of experts", True), ("Dense models", False)):
        yield from _table(title, [result for result in grown if bool(result["mixtures"]) == mixed])
    yield "\n## Not built\n"
    for result in ordered:
        if "verdicts" not in result:
            yield from lines(result)


def lines(result: Result) -> Iterator[str]:
    """One result, as lines of text."""
    name = result["family"]
    if "verdicts" not in result:
        yield f"- `{name}`: {result.get('unbuilt') or 'died, ' + result['died']}"
        return
    for told in dict.fromkeys(result["verdicts"].values()):
        alike = [growth for growth, words in result["verdicts"].items() if words == told]
        yield f"- `{name}` ({layers(result)}) {'; '.join(alike)}: {told}"


def layers(result: Result) -> str:
    """The letters of a result's layers."""
    return "".join(c.lower() if i in result["mixtures"] else c for i, c in enumerate(result["kinds"]))


def _table(title: str, results: Sequence[Result]) -> Iterator[str]:
    names = list(dict.fromkeys(name for result in results for name in result["verdicts"]))
    yield f"\n## {title}\n"
    yield f"| family | layers | {' | '.join(names)} | why not |"
    yield f"| --- | --- |{' --- |' * (len(names) + 1)}"
    for result in results:
        told = [result["verdicts"].get(name, "") for name in names]
        why = dict.fromkeys(words.partition(" ")[2] for words in told if _kind(words) not in PLAIN)
        yield f"| {result['family']} | {layers(result)} | {' | '.join(map(_short, told))} | {_cell('; '.join(why))} |"


PLAIN = ("exact", "near, as claimed", "as claimed")


def _kind(told: str) -> str:
    return told if told in PLAIN else told.partition(" ")[0].rstrip(":")


def _short(told: str) -> str:
    """A verdict without its reason, but for the code of a refusal."""
    return " ".join(told.split()[:2]).rstrip(":") if told.startswith("refused") else _kind(told)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
