"""What a training step needs of one device's memory: by formulas, and as the engine allocates it on fake tensors.

    python -m benchmarks.memory

A process that holds no weights plays rank 0 of as many as the layout has (torch's fake process group), and the engine
builds, shards and trains a model with one layer of each kind, and one with a mixture more, on tensors without numbers:
bf16, full activation checkpointing, one sequence of 4,096 tokens, and experts that get equally many tokens. What one
more mixture adds is taken for every layer of the whole model. The results go to RESULTS.md.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from benchmarks.memory import formulas
from benchmarks.memory.cases import CASES, TOKENS, Case
from benchmarks.memory.tracked import step
from growc.model import inspect

GB = 1e9
RESULTS = Path(__file__).with_name("RESULTS.md")

HEAD = """# Memory of one device

Written by `python -m benchmarks.memory`: Adam, bf16 over fp32 shards, full activation checkpointing, one sequence of
4,096 tokens at a time, GB (1e9 bytes). *Seen* is what the engine allocates on fake tensors on rank 0 of a fake process
group, which is the fullest; no GPU was there. What one more mixture adds is taken for every layer. *Formula* is
`formulas.py`. Not in it: the CUDA context, NCCL, fragmentation, and experts that get more tokens than the mean.

| model | devices | states, seen | formula | inputs of layers, seen | formula | transient, seen | formula | peak |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def row(case: Case) -> str:
    """One line of the table."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=case.layout.ranks)
    whole, few, more = case.grown(), case.grown(0), case.grown(1)
    depth, shown = whole["num_hidden_layers"], few["num_hidden_layers"]
    one, two = (step(config, case.layout, "full", TOKENS, config["num_experts_per_tok"]) for config in (few, more))
    graph = inspect(whole, TOKENS)
    # Layers without experts that are not in the small model count as mixtures in what is seen, which hold more.
    elements = one.elements + (two.elements - one.elements) * (depth - shown)
    kept = (two.after_forward - one.after_forward) * depth
    states = formulas.STATES[case.moments]
    peak = states * elements + kept + max(one.most, two.most) - (two.after_forward - one.after_forward)
    texts = [case.name, str(case.layout)]
    figures = [
        states * elements, states * formulas.held(graph, case.layout),
        kept, formulas.kept_by_a_layer(whole, TOKENS) * depth,
        one.most - (two.after_forward - one.after_forward), formulas.transient(graph, case.layout),
        peak,
    ]  # fmt: skip
    dist.destroy_process_group()
    return "| " + " | ".join([*texts, *(f"{figure / GB:.2f}" for figure in figures)]) + " |"


def main() -> None:
    """Each case in a process of its own: a fake process group cannot be left."""
    if len(sys.argv) > 1:
        print(row(CASES[int(sys.argv[1])]))
        return
    lines: list[str] = []
    for number in range(len(CASES)):
        command = [sys.executable, "-m", "benchmarks.memory", str(number)]
        lines.append(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]
        )
        print(lines[-1], flush=True)
    RESULTS.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
