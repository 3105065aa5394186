"""`RESULTS.md` and its plots, from the result files: `python benchmarks/expert_upcycling/write.py`.

What the figures mean is written by hand, in `findings.md`: its sections, each under the key of one of ours, are put
where they belong.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.expert_upcycling import plots, prediction, table
from benchmarks.expert_upcycling.lines import Line, axes_of, beside, contrasts, lines
from benchmarks.expert_upcycling.paper import Paper, PaperSection, read_paper
from benchmarks.expert_upcycling.prediction import Correlation
from benchmarks.expert_upcycling.results import HERE, RESULTS, Result, read_results
from benchmarks.expert_upcycling.sections import SECTIONS, Section
from growc.report.numbers import MINUS, NONE, count, duration, percent

SUMMARY, PREDICTION = "summary", "prediction"
"""Keys of findings beside those of the sections."""

PAPERS_OWN = ("table4_duplication", "table8_experts", "table8_routers")
"""The sections whose arms the paper took its rank correlation over: utilities and heuristics."""

INTRO = f"""\
Written by `python benchmarks/expert_upcycling/write.py`; the prose is in `findings.md`. To measure anew: the command
of a section, then `python benchmarks/expert_upcycling/collect.py RUN_DIR`, then the first again.

Losses are in nats per byte on held-out text, differences are arm minus control: below zero the arm is better.
Every difference is taken seed by seed, between runs that share their trunk, their batches and their validation
text, and comes with its standard error over seeds ({table.WINDOWS}: of a single seed, over validation windows).
*growth* is what the growth did to the loss at once. *gap closed* is the share of the gap between the fixed
source and the fixed target, the large model from its first token, at equal tokens; it is left out where the gap
is under three standard errors. *time saved* is against the fixed target, by measured seconds per step on the
machine named. The paper's columns are at its own scale, a thousand times ours and more; what it does not
report, or we cannot read, is left out ({NONE})."""


def main(results: Path = RESULTS, into: Path = HERE, findings: Path = HERE / "findings.md") -> None:
    """Write the report and its plots into a folder."""
    found, paper = read_results(results), read_paper()
    prose = read_findings(findings)
    known = {section.key for section in SECTIONS}
    if strange := sorted({result.name for result in found if result.section not in known}):
        sys.exit(f"no section is for the results {', '.join(strange)}: add one to sections.py")
    text = "\n".join(report(found, paper, prose, into / "plots"))
    (into / "RESULTS.md").write_text(text + "\n", encoding="utf-8")


def read_findings(path: Path) -> dict[str, str]:
    """The hand-written prose by section; a heading that is no section's ends the program."""
    if not path.exists():
        return {}
    _, *parts = re.split(r"^## +(\S+) *$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    prose = {key: text.strip() for key, text in zip(parts[::2], parts[1::2], strict=True)}
    known = {SUMMARY, PREDICTION, *(section.key for section in SECTIONS)}
    if strange := sorted(prose.keys() - known):
        sys.exit(f"{path}: no section is called {', '.join(strange)}; there are {', '.join(sorted(known))}")
    return prose


def report(results: Sequence[Result], paper: Paper, prose: dict[str, str], pictures: Path) -> Iterator[str]:
    """The lines of the report; plots are drawn on the way."""
    yield "# Expert upcycling, measured\n"
    yield INTRO
    yield from _prose(prose, SUMMARY)
    yield from _glance(results, paper)
    for section in SECTIONS:
        for result in [result for result in results if result.section == section.key]:
            yield from _section(section, result, paper.sections.get(section.key), pictures)
        yield from _prose(prose, section.key)
    yield from _prediction(results, paper, pictures)
    yield from _prose(prose, PREDICTION)
    missing = [section.key for section in SECTIONS if section.key not in {result.section for result in results}]
    if missing:
        yield "\n## Not run\n"
        yield from (f"- `specs/expert_upcycling/{key}.growth.yaml`" for key in missing)


def _prose(prose: dict[str, str], key: str) -> Iterator[str]:
    if key in prose:
        yield "\n" + prose[key]


def _glance(results: Sequence[Result], paper: Paper) -> Iterator[str]:
    """All that the paper has a figure for, beside ours."""
    rows: list[list[str]] = []
    for section in SECTIONS:
        theirs = paper.sections.get(section.key)
        for result in [result for result in results if result.section == section.key and theirs]:
            assert theirs is not None
            rows += [
                [
                    f"{theirs.table}: {line.name}" + (f" ({result.name})" if result.name != section.key else ""),
                    str(line.group.n), table.difference(line.vs_source), table.share(line.closed),
                    table.printed(line.paper.vs_source), percent(line.paper.closed),
                ]
                for line in lines(result, section, theirs)
                if line.group and line.paper
            ]  # fmt: skip
    if rows:
        head = (
            "arm",
            "seeds",
            f"ours: {MINUS} fixed source",
            "ours: gap closed",
            f"paper: {MINUS} fixed source",
            "paper: gap closed",
        )
        yield "\n## At a glance: ours beside the paper's\n"
        yield from table.markdown(head, rows)


def _section(section: Section, result: Result, theirs: PaperSection | None, pictures: Path) -> Iterator[str]:
    shown = lines(result, section, theirs)
    yield f"\n## {section.title}" + (f" ({result.name})" if result.name != section.key else "") + "\n"
    yield f"    {result.command}\n"
    yield _circumstances(result) + "\n"
    reference = ", ".join(section.reference[1:]) if section.reference else ""
    yield from table.arms(shown, axes_of(result), reference)
    yield from _reasons(shown)
    if pairs := [f"{name}: {table.difference(figure)}" for name, figure in contrasts(result, section)]:
        yield "\nSeed by seed: " + "; ".join(pairs) + "."
    if theirs:
        yield " ".join(
            filter(None, (f"\nThe paper: {theirs.table}, {theirs.model}.", theirs.note, _more(result, theirs)))
        )
    picture = pictures / f"{result.name}.svg"
    if plots.draw(section, shown, picture):
        yield f"\n![{section.title}]({picture.parent.name}/{picture.name})"


def _more(result: Result, theirs: PaperSection) -> str:
    """What the paper has at points that we did not run."""
    left = [row for row in theirs.rows if row not in beside(result, theirs)]
    axes = axes_of(result)[:-1]
    points = dict.fromkeys(", ".join(f"{axis} {row.point[axis]}" for axis in axes if axis in row.point) for row in left)
    return f"It also has {'; '.join(points)}." if left else ""


def _reasons(shown: Sequence[Line]) -> Iterator[str]:
    """Why shares are left out, each reason with its arms."""
    reasons: dict[str, list[str]] = {}
    for line in shown:
        if line.group and line.group.why_null and line.jump:
            reasons.setdefault(line.group.why_null, []).append(line.name)
    if reasons:
        yield "\nNo share of the gap: " + "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())


def _circumstances(result: Result) -> str:
    seeds = f"{len(result.seeds)} seed{'s' * (len(result.seeds) != 1)} ({', '.join(map(str, result.seeds))})"
    commit = f"commit {result.commit[:10]}" if result.commit else "code that is in no commit"
    machines = "; ".join(map(_machine, result.machines))
    return (
        f"{result.date}, {seeds}, {count(result.train_tokens)} training tokens in {duration(result.wall_seconds)}; "
        f"{machines}; {commit}. {result.model[:1].upper()}{result.model[1:]}."
    )


def _machine(machine: dict[str, Any]) -> str:
    ranks, threads, cores = machine.get("ranks", 1), machine.get("threads"), machine.get("cores")
    parts = [str(machine.get("gpu") or machine.get("cpu") or f"a {machine.get('device', 'cpu')} that was not noted")]
    parts += [f"{cores} cores"] if cores else []
    parts += [f"{ranks} rank{'s' * (ranks != 1)}" + (f" of {threads} threads" if threads and threads > 1 else "")]
    parts += [f"{name} {version}" for name, version in machine.get("versions", {}).items()]
    return ", ".join(parts)


def _prediction(results: Sequence[Result], paper: Paper, pictures: Path) -> Iterator[str]:
    arms = prediction.grown(results)
    own = [arm for arm in arms if arm.section in PAPERS_OWN]
    found = {
        "all arms that grow": prediction.over_all(arms),
        "all, against arms of the same trunks and budget": prediction.within_families(arms),
        "the paper's kinds of arm alone (Tables 4 and 8), likewise": prediction.within_families(own),
    }
    if not any(found.values()):
        return
    yield "\n## Does the loss right after growth predict the final one?\n"
    yield "Spearman's rank correlation over arms (means over seeds), with a 95 % bootstrap interval over arms.\n"
    printed = paper.rank_correlation
    yield from table.markdown(
        ("over", "arms", "rank correlation"),
        [
            *([name, str(each.n), _rho(each)] for name, each in found.items() if each),
            [f"the paper: {printed.of}", str(printed.n), f"{printed.val_loss:.2f}"],
        ],
    )
    plots.draw_prediction(arms, pictures / "prediction.svg")
    yield f"\n![Loss right after growth and final loss]({pictures.name}/prediction.svg)"


def _rho(found: Correlation) -> str:
    return f"{found.rho:.2f} ({found.low:.2f} to {found.high:.2f})".replace("-", MINUS)


if __name__ == "__main__":
    main()
