"""What was measured, as text."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import transformers

from benchmarks.memory import formulas
from benchmarks.throughput.setting import Setting, device
from benchmarks.throughput.turns import Contender, Taken, take_turns
from growc.engine.layout import Layout
from growc.model import inspect

HEAD = """# Throughput

Written by `python -m benchmarks.throughput`. Ratios are speeds, growc's loop over another's in the same round: the
median of all rounds, and the least and the most in brackets.
"""


BF16_PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12}
"""Dense FLOPs per second of bf16 matrix products, by their makers' data sheets."""


def results() -> Path:
    """The file of this machine's results."""
    kind = f"-{torch.cuda.get_device_name().replace(' ', '-')}" if device().type == "cuda" else ""
    return Path(__file__).with_name(f"RESULTS{kind}.md")


def write(parts: Iterable[str]) -> None:
    """All that is known so far."""
    results().write_text("\n".join([HEAD, *parts]), encoding="utf-8")


def machine(setting: Setting) -> str:
    """What was measured, on what."""
    name = (
        torch.cuda.get_device_name()
        if device().type == "cuda"
        else f"{_processor()}, {torch.get_num_threads()} threads"
    )
    config = setting.config
    return (
        f"{name}; torch {torch.__version__}, transformers {transformers.__version__}. A {config['model_type']} of "
        f"{config['num_hidden_layers']} layers, width {config['hidden_size']}, {config['num_experts']} experts of "
        f"width {config['moe_intermediate_size']} ({config['num_experts_per_tok']} per token), vocabulary "
        f"{config['vocab_size']}; batches of {setting.sequences} x {setting.length} tokens.\n"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if platform.system() == "Linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def rivals(setting: Setting, rounds: int, steps: int) -> str:
    """The loop of growc, the bare loop and the Trainer."""
    contenders = {name: Contender(name, setting) for name in ("growc", "bare", "trainer")}
    taken = take_turns(contenders, rounds, steps)
    lines = [f"## {setting.precision}, {rounds} rounds of {steps} steps\n",
             "| loop | tokens/s | growc's speed over it |", "| --- | ---: | ---: |"]  # fmt: skip
    lines += [f"| {name} | {each.tokens_per_second(setting):,.0f} | {_ratio(taken['growc'], each)} |"
              for name, each in taken.items()]  # fmt: skip
    if device().type == "cuda":
        lines += ["", *_of_gpu(setting, taken)]
    return _shown(lines)


def _of_gpu(setting: Setting, taken: Mapping[str, Taken]) -> list[str]:
    """MFU, which counts 3 times the forward's FLOPs, and the most memory that torch had allocated."""
    graph = inspect(setting.config, setting.length)
    peak = next((flops for kind, flops in BF16_PEAKS.items() if kind in torch.cuda.get_device_name()), None)
    lines = ["| loop | MFU | most memory, GB |", "| --- | ---: | ---: |"]
    for name, each in taken.items():
        done = 3 * graph.cost.flops_per_token * each.tokens_per_second(setting)
        lines.append(f"| {name} | {f'{done / peak:.1%}' if peak else 'unknown'} | {each.memory / 1e9:.2f} |")
    return lines


def memory(setting: Setting) -> str:
    """Growc's peak with full checkpointing, which the formulas are for, as torch counts it."""
    full = setting.but(checkpointing="full", micro_batch=1)
    seen = take_turns({"growc": Contender("growc", full)}, 1, 2)["growc"].memory
    graph, layout = inspect(full.config, full.length), Layout(1, 1)
    states = formulas.STATES["fp32"] * formulas.held(graph, layout)
    kept = formulas.kept_by_a_layer(full.config, full.length) * full.config["num_hidden_layers"]
    told = states + kept + formulas.transient(graph, layout)
    return _shown([
        "## Memory with full checkpointing, one sequence at a time\n",
        f"max_memory_allocated {seen / 1e9:.2f} GB, formulas {told / 1e9:.2f}, states alone {states / 1e9:.2f}.",
    ])  # fmt: skip


def costs(setting: Setting, rounds: int, steps: int) -> str:
    """The loop of growc with smaller micro-batches, and with activation checkpointing."""
    contenders: Mapping[str, Contender] = {
        f"micro-batches of {setting.micro_batch}": Contender("growc", setting),
        f"micro-batches of {setting.micro_batch // 2}": Contender(
            "growc", setting.but(micro_batch=setting.micro_batch // 2)
        ),
        "micro-batches of 1": Contender("growc", setting.but(micro_batch=1)),
        "selective checkpointing": Contender("growc", setting.but(checkpointing="selective")),
        "full checkpointing": Contender("growc", setting.but(checkpointing="full")),
    }
    taken = take_turns(contenders, rounds, steps)
    first = next(iter(taken.values()))
    lines = [f"## Cost of micro-batches and of checkpointing, {setting.precision}\n",
             "| growc with | tokens/s | speed over the first |", "| --- | ---: | ---: |"]  # fmt: skip
    lines += [f"| {name} | {each.tokens_per_second(setting):,.0f} | {_ratio(each, first)} |"
              for name, each in taken.items()]  # fmt: skip
    return _shown(lines)


def _ratio(one: Taken, other: Taken) -> str:
    median, least, most = one.over(other)
    return f"{median:.3f} ({least:.3f} to {most:.3f})"


def _shown(lines: list[str]) -> str:
    print("\n".join(lines), flush=True)
    return "\n".join([*lines, ""])
