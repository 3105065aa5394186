"""Runs small enough for tests: a tiny mixture of experts on a text that the test writes itself."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load as load_dcp

from tests import pool
from tests.families import FAMILIES
from tests.operators_cases import EXACT

TEXT = "the grown model computes what its source did until the copies of an expert go ways of their own"

PLAIN: dict[str, Any] = {"batch_tokens": 256, "balance": {"method": "none"}}
"""Training for models without experts."""


def corpus(folder: Path, documents: int = 24, words: int = 400) -> Path:
    """A folder of text files with some structure to learn, the same ones every time."""
    draw = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(documents):
        text = " ".join(draw.choice(TEXT.split()) for _ in range(words))
        (folder / f"{index:03}.txt").write_text(text + "\n", encoding="utf-8")
    return folder


def spec(folder: Path, family: str = "glm4_moe", **changes: Any) -> Path:
    """Write a spec that trains, doubles the experts and trains on; `changes` replace sections.

    SGD: with Adam, discrete routing turns rounding differences between layouts into real ones within ten steps.
    """
    values: dict[str, Any] = {
        "growth": 1,
        "name": "tiny",
        "model": {"config": FAMILIES[family]},
        "data": {
            "tokenizer": "bytes",
            "sequence_length": 32,
            "train": {"kind": "text", "path": str(corpus(folder / "corpus"))},
            "parts": {"pretrain": 0.5, "cpt": 0.5},
            "validation": {"fraction": 0.1, "sequences": 16},
        },
        "training": {
            "batch_tokens": 256,
            "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9},
            "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
            "balance": {"method": "loss_free", "rate": 1e-3},
        },
        "stages": [
            {"name": "pretrain", "train": {"steps": 10, "data": "pretrain"}},
            {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **EXACT}]},
            {"name": "cpt", "train": {"steps": 10, "data": "cpt"}},
        ],
    }
    path = folder / "tiny.growth.yaml"
    path.write_text(yaml.safe_dump(values | changes, sort_keys=False), encoding="utf-8")
    return path


def with_parts(path: Path, parts: dict[str, float]) -> Path:
    """The spec at `path` with other parts of its data."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["data"]["parts"] = parts
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def start(
    spec_path: Path, run_dir: Path, nproc: int = 1, *overrides: str, options: tuple[str, ...] = ()
) -> pool.Forked:
    """Start `growc run` in the pool, one thread a rank."""
    command = [*_command(spec_path, run_dir, nproc, overrides), *options]
    return pool.start(command, {**os.environ, "OMP_NUM_THREADS": "1"})


def start_process(spec_path: Path, run_dir: Path, nproc: int = 1, *overrides: str) -> subprocess.Popen[str]:
    """Start `growc run` as a user would, one thread a rank: for tests marked `process`."""
    return subprocess.Popen(
        [sys.executable, "-m", "growc", *_command(spec_path, run_dir, nproc, overrides)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _command(spec_path: Path, run_dir: Path, nproc: int, overrides: tuple[str, ...]) -> list[str]:
    words = ["run", str(spec_path), "--run-dir", str(run_dir), "--nproc", str(nproc)]
    return [*words, *(part for override in overrides for part in ("--set", override))]


def run(
    spec_path: Path, run_dir: Path, nproc: int = 1, *overrides: str, code: int = 0, options: tuple[str, ...] = ()
) -> str:
    """Run to the end and return the output; the exit code must be `code`."""
    child = start(spec_path, run_dir, nproc, *overrides, options=options)
    output, _ = child.communicate(timeout=300)
    assert child.returncode == code, output
    return output


def kill_when(child: subprocess.Popen[str] | pool.Forked, ready: Callable[[], bool], *, limit: float = 120) -> None:
    """SIGKILL the launcher and every rank as soon as `ready` says so."""
    end = time.monotonic() + limit
    while not ready():
        assert child.poll() is None, child.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.01)
    kill_tree(child.pid)
    child.communicate()


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all that descend from it, at once."""
    import psutil

    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.suspend()
    for process in family:
        os.kill(process.pid, signal.SIGKILL)


def rows(run_dir: Path, stage: str, key: str = "loss") -> dict[int, float]:
    """One column of a stage's metrics, by step."""
    path = run_dir / "stages" / stage / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["step"]: row[key] for row in map(json.loads, lines) if key in row}


def summary(run_dir: Path) -> dict[str, Any]:
    """The summary of a finished run."""
    return json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))


def tensors(state: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a training state, whole, by name."""
    reader = FileSystemReader(state / "shards")
    found = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)  # pyright: ignore[reportAttributeAccessIssue]
        for name, entry in reader.read_metadata().state_dict_metadata.items()
        if hasattr(entry, "size")
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load_dcp(found, storage_reader=reader, no_dist=True)
    return found
