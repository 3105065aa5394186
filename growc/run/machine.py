"""What a run runs on, for its journal: figures of time and of the last digits mean nothing without it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

CPU_INFO = Path("/proc/cpuinfo")


def machine(device: torch.device) -> dict[str, Any]:
    """The processor, its cores, the threads of this rank, the accelerator if there is one, and versions."""
    found: dict[str, Any] = {"cpu": cpu(), "cores": cores(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found | {"versions": versions()}


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
