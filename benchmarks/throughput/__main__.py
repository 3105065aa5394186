"""How fast growc's loop is beside a bare loop of the same model, and beside transformers' Trainer.

    python -m pip install accelerate      # for the Trainer
    python -m benchmarks.throughput       # on the CPU, or on a GPU where there is one

Loops take turns in processes of their own, and each turn of growc's is compared with its rivals' of the same round.
After them, what micro-batches and checkpointing cost, and a run with a growth in it from end to end; on a GPU also MFU
and memory. The results go to RESULTS.md, or RESULTS-<GPU>.md.
"""

from __future__ import annotations

import sys

from benchmarks.throughput.growth import grown_run
from benchmarks.throughput.report import costs, machine, memory, rivals, write
from benchmarks.throughput.setting import CPU, GPU, device


def main() -> None:
    """Measure, and write down what is known after each part."""
    on_gpu = device().type == "cuda"
    setting = GPU if on_gpu else CPU
    rounds, steps = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (7, 3)
    parts = [machine(setting)]
    for precision in ("bf16",) if on_gpu else ("fp32", "bf16"):
        parts.append(rivals(setting.but(precision=precision), rounds, steps))
        write(parts)
    parts.append(grown_run(setting.but(precision="bf16")))
    if on_gpu:
        parts.append(memory(setting))
    write(parts)
    parts.append(costs(setting, rounds, steps))
    write(parts)


if __name__ == "__main__":
    main()
