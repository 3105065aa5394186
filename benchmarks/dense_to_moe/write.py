"""`RESULTS.md` from `results.json` and `findings.md`: `python -m benchmarks.dense_to_moe.write`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from growc.files.atomic import read_json

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
BASE, DENSE = "sparse", "fixed_source"

INTRO = """\
Written by `python -m benchmarks.dense_to_moe.write`; the prose is in `findings.md`. To measure anew:

    OMP_NUM_THREADS=1 growc run specs/dense_to_moe/systems.growth.yaml --run-dir runs/systems
    OMP_NUM_THREADS=1 python -m benchmarks.dense_to_moe.measure runs/systems

One dense checkpoint per seed, taken before its anneal, becomes 8 experts of which a token gets 2 (virtual groups: 16
half as wide, of which it gets 4), and is trained on for the same tokens in the same order. Losses are in nats per byte
on held-out text. Differences are taken seed by seed; ± is their standard error over seeds. *growth* is what the growth
did to the loss at once; *entropy* that of a token's scores over all experts (the most is ln 8 = 2.08, or ln 16 = 2.77);
*load* the busiest expert's tokens over the mean; *sets* how many different pairs (sets of four) of experts carry 90
% of the tokens; all three are means over layers, on held-out text. *step* is the time of a forward and a backward pass
over that of the linear router's model (sparse), medians of passes in turns."""


def report(results: Mapping[str, Any], findings: str) -> Iterator[str]:
    """The lines of the report."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for arm in results["arms"]:
        arms.setdefault(arm["arm"], []).append(arm)
    seeds, machine = sorted({arm["seed"] for arm in results["arms"]}), results["machine"]
    yield "# From one dense model to mixtures of experts\n"
    yield f"{INTRO}\n"
    days = sorted({arm["date"] for arm in results["arms"]})
    yield (
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, {len(seeds)} seeds ({', '.join(map(str, seeds))}); "
        f"{machine['cpu']}, {machine['threads']} thread, python {machine['python']}, torch {machine['torch']}.\n"
    )
    if findings:
        yield f"{findings}\n"
    yield "| arm | growth | final loss | - dense trained on | - sparse | entropy | load | sets | step |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name in (DENSE, *(name for name in arms if name != DENSE)):
        yield _row(name, arms, results["step_seconds"])


def _row(name: str, arms: Mapping[str, Sequence[dict[str, Any]]], seconds: Mapping[str, float]) -> str:
    mine = {arm["seed"]: arm for arm in arms[name]}
    routed = [arm["routing"] for arm in mine.values() if arm["routing"]]
    cells = [
        "dense, trained on" if name == DENSE else name,
        f"{mean(a['after'] - a['before'] for a in mine.values()):+.1e}" if mine and _grew(mine) else "",
        f"{mean(a['val_loss'] for a in mine.values()):.4f}",
        "" if name == DENSE else _difference(mine, arms[DENSE]),
        "" if name in (DENSE, BASE) else _difference(mine, arms[BASE]),
        *(f"{mean(r[key] for r in routed):.2f}" if routed else "" for key in ("entropy", "load")),
        f"{mean(r['sets'] for r in routed):.1f}" if routed else "",
        f"{seconds[name] / seconds[BASE]:.2f}" if name in seconds else "",
    ]
    return f"| {' | '.join(cells)} |"


def _grew(mine: Mapping[int, dict[str, Any]]) -> bool:
    return all(arm["after"] is not None for arm in mine.values())


def _difference(mine: Mapping[int, dict[str, Any]], other: Sequence[dict[str, Any]]) -> str:
    pairs = [mine[arm["seed"]]["val_loss"] - arm["val_loss"] for arm in other if arm["seed"] in mine]
    error = f" ± {stdev(pairs) / len(pairs) ** 0.5:.4f}" if len(pairs) > 1 else ""
    return f"{mean(pairs):+.4f}{error}"


def main() -> None:
    """Write the report."""
    prose = HERE / "findings.md"
    findings = prose.read_text(encoding="utf-8").strip() if prose.exists() else ""
    (HERE / "RESULTS.md").write_text("\n".join(report(read_json(RESULTS), findings)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
