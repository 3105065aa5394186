"""Fresh values against torch's generator: `python benchmarks/checkpoints/noise.py [--elements N] [--threads T]`.

Both make normal values in float32 and round them to bfloat16. The ways take turns, so that what else the machine does
meets them alike; shown are the medians of wall and CPU time per element, and their ratios to torch's (below 1: faster).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from growc.numerics.random import normal


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=2**24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    found = measured(given.elements, given.threads, given.rounds)
    for name, (wall, cpu) in found.items():
        shares = [
            f"{mine:6.2f} ns ({mine / other:.2f})" for mine, other in zip((wall, cpu), found["torch"], strict=True)
        ]
        print(f"{name:16}  wall {shares[0]}  CPU {shares[1]}")


def measured(count: int, threads: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Medians over `rounds` of wall and CPU nanoseconds per element, of `count`, by the name of the way."""
    generator = torch.Generator().manual_seed(0)

    def fresh(own: int) -> None:
        torch.set_num_threads(own)
        normal("noise", 0, count).bfloat16()

    def torchs() -> None:
        torch.set_num_threads(threads)
        torch.randn(count, generator=generator).bfloat16()

    ways: dict[str, Callable[[], None]] = {"torch": torchs, "fresh, 1 thread": lambda: fresh(1)}
    if threads > 1:
        ways[f"fresh, {threads} threads"] = lambda: fresh(threads)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: [statistics.median(each) for each in zip(*times, strict=True)] for name, times in taken.items()}
    return {name: (wall / count * 1e9, cpu / count * 1e9) for name, (wall, cpu) in medians.items()}


if __name__ == "__main__":
    main()
