"""Killed, concurrent and large: what only shows in processes of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from growc.checkpoint.staging import staged
from growc.diagnostics import GrowcError
from growc.model.build import load_config
from tests.checkpoint.folders import Place, place, read
from tests.families import FAMILIES

GROW = """
import sys
from pathlib import Path
import growc.checkpoint.write as write
from growc.checkpoint.command import grow
from growc.checkpoint.shards import ShardWriter

root, stop_after = Path(sys.argv[1]), int(sys.argv[2])
real, written = ShardWriter.write, []

def counted(self, name, tensor):
    real(self, name, tensor)
    written.append(name)
    if len(written) == stop_after:
        print("here", flush=True)
        sys.stdin.read()

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

def measured(*arguments):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = peak()
    real_weights(*arguments)
    print(peak() - before)

ShardWriter.write = counted
import growc.checkpoint.command as command
real_weights, command.write_weights = command.write_weights, measured
grow(root / "test.growth.yaml", "upcycle", root / "source", root / "grown", [], False, shard_bytes=10**7)
"""


def start(there: Place, stop_after: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", GROW, str(there.root), str(stop_after)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 30, 105])
def test_a_killed_growth_leaves_no_destination_and_the_next_replaces_its_folder(
    tmp_path: Path, stop_after: int
) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    with start(there, stop_after) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.send_signal(signal.SIGKILL)
    assert not there.grown.exists()
    assert (tmp_path / "grown.partial").is_dir()
    there.grow()
    assert len(read(there.grown)) == 117
    assert not (tmp_path / "grown.partial").exists()


@pytest.mark.slow
def test_two_growths_to_one_place(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    with start(there, 30) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        with pytest.raises(GrowcError, match="another process"):
            there.grow()
        child.communicate()
    assert child.returncode == 0
    assert len(read(there.grown)) == 117


def test_a_folder_that_is_being_filled_is_refused(tmp_path: Path) -> None:
    with staged(tmp_path / "grown", 0), pytest.raises(GrowcError, match="GROW642"), staged(tmp_path / "grown", 0):
        pass
    assert (tmp_path / "grown").is_dir()


@pytest.mark.slow
def test_memory_is_bounded_by_the_largest_tensor_not_by_the_model(tmp_path: Path) -> None:
    config: dict[str, Any] = FAMILIES["qwen3_moe"] | {
        "num_hidden_layers": 32, "hidden_size": 128, "moe_intermediate_size": 256, "num_local_experts": 32,
    }  # fmt: skip
    there = Place(tmp_path)
    AutoModelForCausalLM.from_config(load_config(config)).save_pretrained(there.source)
    stages = [{"name": "upcycle", "grow": [{"op": "expert_upcycling"}]}]
    there.spec.write_text(json.dumps({"growth": 1, "name": "t", "model": {"config": config}, "stages": stages}))
    with start(there, -1) as child:
        assert child.stdout is not None
        grew = int(child.stdout.read()) * 1024
    largest = 64 * 2 * 256 * 128 * 4
    written = sum(file.stat().st_size for file in there.grown.glob("*.safetensors"))
    assert written > 40 * largest
    assert grew > largest, "the measurement sees tensors"
    assert grew < 6 * largest
