"""A run notes what it runs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from growc.diagnostics import ExitCode, GrowcError
from growc.growth.open import open_spec
from growc.records.folder import RunFolder
from growc.run import command, machine
from growc.run.worker import work
from tests.run import tiny


def test_the_machine_is_described_in_plain_values() -> None:
    found = machine.machine(torch.device("cpu"))
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["threads"] == torch.get_num_threads()
    assert "gpu" not in found
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"].keys() == {"python", "growc", "torch", "transformers"}


@pytest.mark.process  # platform asks `uname`, once in a process
def test_the_name_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\n", encoding="utf-8")
    monkeypatch.setattr(machine, "CPU_INFO", info)
    assert machine.cpu() == "Some CPU @ 2 GHz"
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "none")
    assert machine.cpu()


STAGES: list[dict[str, Any]] = [
    {"name": "plain", "train": {"steps": 1, "data": "pretrain"}},
    {"name": "mixed", "train": {"steps": 1, "data": "pretrain", "precision": "bf16"}},
    {"name": "kept", "train": {"steps": 1, "data": "pretrain", "precision": {"moments": "bf16"}}},
    {"name": "matrices", "train": {"steps": 1, "data": "pretrain", "optimizer": {"name": "muon"}}},
]
TRAINING = {"batch_tokens": 256, "optimizer": {"name": "adamw"}}


def _on_gpu(monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool) -> torch.device:
    """A GPU, as far as anything asks before the first tensor is on it."""

    def answer(including_emulation: bool = True) -> bool:
        return has_bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")  # pyright: ignore[reportUnknownLambdaType]
    return torch.device("cuda")


def test_stages_that_need_bf16_need_a_device_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = open_spec(tiny.spec(tmp_path, stages=STAGES, training=TRAINING)).graph.nodes
    with pytest.raises(GrowcError) as refused:
        machine.check_bf16(_on_gpu(monkeypatch, has_bf16=False), nodes)
    (found,) = refused.value.diagnostics
    assert found.code == "GROW637"
    assert found.message == "Old GPU has no bf16, which is needed by `mixed` and `matrices`"
    machine.check_bf16(torch.device("cuda"), [node for node in nodes if node.name in ("plain", "kept")])
    machine.check_bf16(torch.device("cpu"), nodes)
    machine.check_bf16(_on_gpu(monkeypatch, has_bf16=True), nodes)


@pytest.mark.process  # the rank is this process, with which its lock goes
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_asks_before_its_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = _on_gpu(monkeypatch, has_bf16=False)

    def start() -> torch.device:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", world_size=1, rank=0)
        return device

    def launch(folder: RunFolder, nproc: int, allow_code: bool, lock: int) -> ExitCode:
        return work(folder.path, allow_code=allow_code)

    monkeypatch.setattr("growc.run.worker.distribute.start", start)
    monkeypatch.setattr("growc.run.worker.signal.signal", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(command, "_launch", launch)
    path, lines = tiny.spec(tmp_path, stages=STAGES, training=TRAINING), list[str]()
    try:
        assert command.run(path, tmp_path / "run", 1, (), False, lines.append) == ExitCode.CANNOT_RUN
    finally:
        dist.destroy_process_group()
    outcome = json.loads((tmp_path / "run/outcome.json").read_text(encoding="utf-8"))
    assert [found["code"] for found in outcome["diagnostics"]] == ["GROW637"]
    assert not (tmp_path / "run/stages").exists()
