"""What a training step needs of one device's memory: by formulas, and as the engine allocates it on fake tensors.

    python -m benchmarks.memory

A process that holds no weights plays rank 0 of as many as the layout has (torch's fake process group), and the engine
builds, shards and trains a model with one layer of each kind, and one with a mixture more, on tensors without numbers:
bf16, full activation checkpointing, one sequence of 4,096 tokens, and experts that get equally many tokens. What one
more mixture adds is taken for every layer of the whole model. The growth before it is done in the same way. The results
go to RESULTS.md.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from benchmarks.memory import formulas
from benchmarks.memory.cases import CASES, TOKENS, Case
from benchmarks.memory.growing import growth
from benchmarks.memory.tracked import step

GB = 1e9
RESULTS = Path(__file__).with_name("RESULTS.md")

HEAD = """# Memory of one device

Written by `python -m benchmarks.memory`: Adam, bf16 over fp32 shards, full activation checkpointing, one sequence of
4,096 tokens at a time, GB (1e9 bytes). *Seen* is what the engine allocates on fake tensors on rank 0 of a fake process
group, which is the fullest; no GPU was there. What one more mixture adds is taken for every layer. *Formula* is
`formulas.py`, and every part is within {near} of it. Not in it: the CUDA context, NCCL, fragmentation, and experts that
get more tokens than the mean.

*Growth* is the most that is alive while the source becomes the grown model in the same layout: the shards and moments
of both. *Step* is the most in a training step of the grown model.

| model | devices | states, seen | formula | inputs of layers, seen | formula | transient, seen | formula | step, seen \
| formula | growth, seen | formula |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""

NEAR = 0.15
"""How far any part may be from its formula, relative to it."""


def row(case: Case) -> str:
    """One line of the table."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=case.layout.ranks)
    whole, few, more = case.planned(), case.planned(0), case.planned(1)
    config = whole.grown.config
    depth, shown = config["num_hidden_layers"], few.grown.config["num_hidden_layers"]
    top_k = config["num_experts_per_tok"]
    one, two = (step(each.grown.config, case.layout, "full", TOKENS, top_k) for each in (few, more))
    small, large = (growth(each, case.layout, case.moments) for each in (few, more))
    # Layers without experts that are not in the small model count as mixtures in what is seen, which hold more.
    per_element = formulas.STATES[case.moments]
    states = per_element * (one.elements + (two.elements - one.elements) * (depth - shown))
    kept = two.after_forward - one.after_forward
    parts = [
        (states, per_element * formulas.held(whole.grown, case.layout)),
        (kept * depth, formulas.kept_by_a_layer(config, TOKENS) * depth),
        (max(one.most, two.most - kept) - kept, formulas.transient(whole.grown, case.layout)),
    ]
    parts.append((sum(seen for seen, _ in parts), sum(formula for _, formula in parts)))
    grows = small.most + (large.most - small.most) * (depth - shown)
    parts.append((grows, formulas.growing(whole.source, whole.grown, case.layout, case.moments)))
    assert all(abs(seen - formula) <= NEAR * formula for seen, formula in parts), parts
    dist.destroy_process_group()
    figures = [f"{figure / GB:.2f}" for part in parts for figure in part]
    return "| " + " | ".join([case.name, str(case.layout), *figures]) + " |"


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
    head = HEAD.replace("\\\n", "").format(near=f"{NEAR:.0%}")
    RESULTS.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
