"""A run notes what it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from growc.run import machine


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
