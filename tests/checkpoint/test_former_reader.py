"""A reader of transformers 4 computes with a grown folder what today's does: it has its own words for the config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.checkpoint.folders import place

FORMER = (
    "transformers==4.57.*", "huggingface-hub==0.36.*", "tokenizers==0.22.*",
    "requests", "urllib3", "idna", "certifi", "charset-normalizer",
)  # fmt: skip

READER = """
import sys, torch, transformers
from transformers import AutoModelForCausalLM
assert transformers.__version__.startswith("4.57"), transformers.__version__
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad():
    torch.save(model(torch.load(sys.argv[2])).logits, sys.argv[3])
"""


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which Python imports transformers 4.57 before what is installed."""
    folder = tmp_path_factory.mktemp("former")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *FORMER]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"transformers 4.57 is not to be had here: {done.stderr[-300:]}")
    return os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_an_older_reader_computes_the_same(tmp_path: Path, former: dict[str, str], family: str) -> None:
    there = place(tmp_path, family, {"routing": "free", "router": {"init": "split"}})
    path = there.source / "config.json"
    config = json.loads(path.read_text())
    del config["rope_parameters"], config["dtype"]
    words = {"rope_theta": 1000000.0, "rope_scaling": None, "torch_dtype": "float32", "num_experts": 8}
    path.write_text(json.dumps(config | words))
    there.spec.write_text(json.dumps(json.loads(there.spec.read_text()) | {"model": {"path": "source"}}))
    there.grow()
    ids = torch.randint(0, 256, (2, 64), generator=torch.Generator().manual_seed(1))
    torch.save(ids, tmp_path / "ids.pt")
    command = [sys.executable, "-c", READER, there.grown, tmp_path / "ids.pt", tmp_path / "logits.pt"]
    done = subprocess.run(command, env=former, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(there.grown, attn_implementation="eager").eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), model(ids).logits, rtol=0, atol=1e-5)
        model.config.rope_parameters["rope_theta"] = 10000.0
        other = AutoModelForCausalLM.from_config(model.config).eval()
        other.load_state_dict(model.state_dict())
        assert (other(ids).logits - model(ids).logits).abs().max() > 1e-3, "the rotary base shows in the logits"
