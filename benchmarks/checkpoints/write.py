"""`RESULTS.md` from `results.json`: `python -m benchmarks.checkpoints.write`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from growc.files.atomic import read_json
from growc.report.numbers import NONE

TIMES = "\N{MULTIPLICATION SIGN}"

HERE = Path(__file__).parent

Runs = Mapping[str, Sequence[Mapping[str, float]]]

INTRO = """\
Written by `python -m benchmarks.checkpoints.measure`. A synthetic checkpoint with Qwen3-MoE's tensors in bf16 is grown
to twice its experts by its byte plan; `cp -r` copies the very bytes that growth writes. Both end with every file synced
to the disk, and run as processes of their own, whose start counts. They are measured by turns; figures are medians.
*Warm*: what is read lies in memory. *Cold*: it was dropped from there first (`posix_fadvise`) and comes from the disk.
"""


def main() -> None:
    """Write the report anew."""
    write_report(read_json(HERE / "results.json"), HERE / "RESULTS.md")


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write the report of some results."""
    path.write_text("\n".join(report(results)) + "\n", encoding="utf-8")


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the report."""
    machine = results["machine"]
    yield "# Growing checkpoint files, measured\n"
    yield INTRO
    yield f"    {results['command']}\n"
    yield (
        f"{results['date']}; {machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, "
        f"Linux {machine['kernel']}, Python {machine['python']}, {machine['cp']}, {machine['workers']} threads; "
        f"load {machine['load']:.1f} at the start."
    )
    for name, runs in results["file_systems"].items():
        yield from _file_system(name, runs)
    if "without_xfs" in results:
        yield f"\n## On xfs\n\nNot measured: {results['without_xfs']}."
    yield from _planning(results["planning"])
    yield from _noise(results["noise"])


def _file_system(name: str, runs: Runs) -> Iterator[str]:
    checkpoint = runs["checkpoint"][0]
    size, tensors = checkpoint["bytes"], int(checkpoint["tensors"])
    yield f"\n## On {name}: {size / 1e9:.2f} GB, {tensors} tensors, {len(runs['cp warm'])} times each\n"
    yield "| goal | figure | reached |"
    yield "| --- | --- | :---: |"
    new = _median(runs["grow warm"], "disk_bytes") / size
    yield from _shared(runs, tensors, new) if new < 0.5 else _copied(runs)
    peak = max(run["peak_bytes"] for key in ("grow warm", "grow and verify warm") for run in runs[key])
    limit = 64 * 2**20 + 1024 * tensors
    yield f"| memory: at most 64 MiB and 1 KiB a tensor, {_mib(limit)} | {_mib(peak)} | {_reached(peak <= limit)} |"
    yield "\n| what | seconds | least | CPU seconds | peak memory | new disk |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for what, measured in runs.items():
        if what != "checkpoint":
            peak = f"{_mib(_median(measured, 'peak_bytes'))}" if "peak_bytes" in measured[0] else NONE
            disk = f"{_median(measured, 'disk_bytes') / 1e9:.3f} GB" if "disk_bytes" in measured[0] else NONE
            least = min(run["seconds"] for run in measured)
            cpu = _median(measured, "cpu_seconds")
            yield f"| {what} | {_median(measured):.2f} | {least:.2f} | {cpu:.2f} | {peak} | {disk} |"


def _copied(runs: Runs) -> Iterator[str]:
    """Goals where every byte is written."""
    for state, limit in (("warm", 1.15), ("cold", 1.0)):
        ratio = _median(runs[f"grow {state}"]) / _median(runs[f"cp {state}"])
        yield f"| {state}: at most {limit:.2f} {TIMES} `cp` | {ratio:.2f} {TIMES} | {_reached(ratio <= limit)} |"
    extra = (_median(runs["grow and verify warm"]) - _median(runs["grow warm"])) / _median(runs["cp warm"])
    yield f"| `--verify`: at most 1.50 {TIMES} `cp` more | {extra:.2f} {TIMES} | {_reached(extra <= 1.5)} |"


def _shared(runs: Runs, tensors: int, new: float) -> Iterator[str]:
    """Goals where files share their blocks: neither growth nor `cp` writes what is there already."""
    limit = 2 + 2 * tensors / 1e5
    seconds = _median(runs["grow warm"])
    yield f"| at most 2 s, and 2 s more for 100,000 tensors | {seconds:.2f} s | {_reached(seconds <= limit)} |"
    yield f"| new disk: less than 0.1 % | {new:.3%} | {_reached(new < 0.001)} |"


def _planning(runs: Runs) -> Iterator[str]:
    plan, read = runs["plan"][0], runs["read"][0]
    yield "\n## The plan of a very large growth\n"
    seconds, peak = plan["make_seconds"] + plan["write_seconds"], plan["peak_bytes"]
    yield "| goal | figure | reached |"
    yield "| --- | --- | :---: |"
    yield f"| made and written in at most 5 s | {seconds:.1f} s | {_reached(seconds <= 5)} |"
    yield f"| with at most 200 MB | {peak / 1e6:.0f} MB | {_reached(peak <= 200e6)} |\n"
    yield (
        f"Kimi-K2's 61 layers from 384 to 768 experts, {int(plan['tensors'])} tensors: made in "
        f"{plan['make_seconds']:.1f} s and written in {plan['write_seconds']:.1f} s, with {_mib(plan['peak_bytes'])} "
        f"of memory at most; read in {read['read_seconds']:.1f} s, with {_mib(read['peak_bytes'])}. Tracing the "
        "model, which comes before, is not in these figures: `growc grow` does it in a child process with torch."
    )


def _noise(noise: Mapping[str, Any]) -> Iterator[str]:
    found: Mapping[str, Sequence[float]] = noise["ways"]
    torch, fresh = found["torch"], list(found.values())[-1]
    yield "\n## Fresh values\n"
    measured = f"`python -m benchmarks.checkpoints.noise`, {noise['date']}"
    yield f"Normal values rounded to bf16, by turns; medians ({measured}).\n"
    yield "| goal | figure | reached |"
    yield "| --- | --- | :---: |"
    speed = torch[0] / fresh[0]
    yield f"| at the speed of torch's generator or better | {speed:.2f} {TIMES} its speed | {_reached(speed >= 1)} |"
    yield "\n| way | ns an element | CPU ns an element |"
    yield "| --- | ---: | ---: |"
    for way, (wall, cpu) in found.items():
        yield f"| {way} | {wall:.2f} | {cpu:.2f} |"


def _median(runs: Sequence[Mapping[str, float]], key: str = "seconds") -> float:
    return median(run[key] for run in runs)


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"


def _reached(reached: bool) -> str:
    return "yes" if reached else "no"


if __name__ == "__main__":
    main()
