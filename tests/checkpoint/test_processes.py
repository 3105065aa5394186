"""Killed, concurrent and large: what only shows in processes of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import AutoModelForCausalLM

from growc.checkpoint.command import grow, prepare_in_a_child
from growc.checkpoint.layout import Layout
from growc.checkpoint.request import Request
from growc.diagnostics import GrowcError
from growc.files.staging import open_staging
from growc.model.build import load_config
from tests.checkpoint.folders import Place, place, read
from tests.families import FAMILIES

PREPARE = """
import sys
from pathlib import Path
from growc.checkpoint.compute_tensors import Maker
from growc.checkpoint.prepare import prepare
from growc.checkpoint.request import Request

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

def measured(self):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = peak()
    outputs = make(self)
    print(peak() - before)
    return outputs

make, Maker.make = Maker.make, measured
root = Path(sys.argv[1])
(root / "aside").mkdir()
prepare(Request(root / "test.growth.yaml", "upcycle", root / "source", root / "grown"), root / "aside")
"""


def _forked(act: Callable[[], object]) -> int:
    """Do it in a process of its own, which has all modules; returns its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return child


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.process
@pytest.mark.slow
def test_interrupted_while_a_child_reads_the_model(tmp_path: Path) -> None:
    """A signal to the first process alone, as schedulers send it, ends both without a word too many."""
    there = place(tmp_path, "qwen3_moe", {})
    # A shell that runs the tests in the background has them ignore SIGINT, and what they start too.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{listening}; from growc.cli.main import main; main()"
    command = [sys.executable, "-c", program, "grow", there.spec, "--stage", "upcycle"]
    command += ["--from", there.source, "--to", there.grown]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (found := psutil.Process(child.pid).children()) or found[0].cpu_times().user < 0.5:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert (child.returncode, output) == (3, "interrupted\n")
    assert not any(process.is_running() for process in found)
    assert not there.grown.exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 5))])
def test_killed_at_any_moment_the_next_call_ends_with_the_same_bytes(seed: int, tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {"router": {"init": "split"}}, max_shard_size="100KB")
    there.grow(tmp_path / "undisturbed", shard_bytes=10**5)
    wanted = _files(tmp_path / "undisturbed")
    began = time.monotonic()
    os.waitpid(_forked(lambda: there.grow(tmp_path / "timed", shard_bytes=10**5)), 0)
    lasts, draw = time.monotonic() - began, random.Random(seed)
    cut = 0
    while cut < 20:
        child = _forked(lambda: there.grow(shard_bytes=10**5))
        time.sleep(draw.uniform(0, lasts))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if there.grown.exists():  # it was whole before it was killed, or the name would lie
            lasts *= 0.9
        else:
            lasts *= 1.02  # around the end, whatever else the machine does
            cut += 1
            there.grow(shard_bytes=10**5)
        assert _files(there.grown) == wanted
        shutil.rmtree(there.grown)
        assert not (tmp_path / "grown.partial").exists()


@pytest.mark.slow
def test_two_growths_to_one_place(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    with open_staging(there.grown, "somebody's"), pytest.raises(GrowcError, match="another process"):
        there.grow()
    there.grow()
    assert len(read(there.grown)) == 117


@pytest.mark.nightly(2)
@pytest.mark.process
@pytest.mark.parametrize("layout", ["same", pytest.param("dcp", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_command_moves_bytes_without_torch(tmp_path: Path, layout: Layout) -> None:
    there = place(tmp_path, "qwen3_moe", {"router": {"init": "split"}})
    command = "import sys; from growc.cli.main import main; main(standalone_mode=False); print(sorted(sys.modules))"
    words = ["grow", str(there.spec), "--stage", "upcycle", "--from", str(there.source), "--to", str(there.grown)]
    done = subprocess.run(
        [sys.executable, "-c", command, *words, "--verify", "--layout", layout],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    loaded = done.stdout.splitlines()[-1]
    assert not any(f"'{heavy}'" in loaded for heavy in ("torch", "transformers", "numpy"))
    there.grow(tmp_path / "again", layout=layout)
    with_manifest = _files(there.grown)
    assert with_manifest.pop("growc.manifest.json")
    assert with_manifest == _files(tmp_path / "again")


@pytest.mark.process
@pytest.mark.slow
def test_the_child_hands_on_what_it_found(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    request = Request(there.spec, "upcylce", there.source, there.grown)
    with pytest.raises(GrowcError) as caught:
        grow(request, prepare_in_a_child)
    (found,) = caught.value.diagnostics
    assert (found.code, found.help) == ("GROW640", "did you mean upcycle?")
    assert not list(tmp_path.glob("grown*"))


@pytest.mark.process
@pytest.mark.slow
def test_memory_is_bounded_by_the_largest_tensor_not_by_the_model(tmp_path: Path) -> None:
    config: dict[str, Any] = FAMILIES["qwen3_moe"] | {
        "num_hidden_layers": 32, "hidden_size": 128, "moe_intermediate_size": 256, "num_local_experts": 32,
    }  # fmt: skip
    there = Place(tmp_path)
    AutoModelForCausalLM.from_config(load_config(config)).save_pretrained(there.source)
    stages = [{"name": "upcycle", "grow": [{"op": "expert_upcycling", "experts": {"init": "drop"}}]}]
    there.spec.write_text(json.dumps({"growth": 1, "name": "t", "model": {"config": config}, "stages": stages}))
    done = subprocess.run([sys.executable, "-c", PREPARE, str(tmp_path)], capture_output=True, text=True, check=True)
    grew = int(done.stdout) * 1024
    largest = 64 * 2 * 256 * 128 * 4
    written = sum(file.stat().st_size for file in (tmp_path / "aside").glob("*.safetensors"))
    assert written > 40 * largest
    assert grew > largest, "the measurement sees tensors"
    assert grew < 6 * largest
