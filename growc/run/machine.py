"""What a run runs on, for its journal: figures of time and of the last digits mean nothing without it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from growc.diagnostics import fail
from growc.growth.graph import GrowNode, TrainNode
from growc.spec.schema import Muon
from growc.spec.wording import listed

CPU_INFO = Path("/proc/cpuinfo")


def machine(device: torch.device) -> dict[str, Any]:
    """The processor, its cores, the threads of this rank, the accelerator if there is one, and versions."""
    found: dict[str, Any] = {"cpu": cpu(), "cores": cores(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found | {"versions": versions()}


def check_bf16(device: torch.device, nodes: Sequence[TrainNode | GrowNode]) -> None:
    """Refuse stages that compute in bf16 on a GPU without it. CPUs have it, if not all of them in hardware.

    Errors: GROW637.
    """
    if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return
    iterating = {
        node.name for node in nodes if isinstance(node, TrainNode) and isinstance(node.training.optimizer, Muon)
    }
    found = [n.name for n in nodes if n.training.precision.compute == "bf16" or n.name in iterating]
    if found:
        fail("GROW637", f"{torch.cuda.get_device_name(device)} has no bf16, which is needed by {listed(found)}",
             help="set training.precision to fp32, and the optimizer to adamw where it is muon")  # fmt: skip


def cpu() -> str:
    """The processor's name; its architecture where the system does not say more."""
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip():
                return name.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """What the figures of a run depend on, beside the code of growc itself."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("growc", "torch", "transformers")}}
