"""torch distributed checkpoints: grown from whatever ranks wrote them, and read back by torch itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.core_model_loading import Transpose, WeightConverter

from growc.checkpoint.distributed import read_distributed
from growc.checkpoint.training import read_meta
from growc.diagnostics import GrowcError
from growc.files import copying
from growc.files.beside import TRAINING
from growc.files.order import CONGRUENCE
from growc.files.verify import verify
from growc.model import inspect
from tests.checkpoint.distributed import distribute, loaded, save, save_on_ranks
from tests.checkpoint.folders import (
    EXPLICIT,
    O_PROJ,
    Place,
    converted,
    grown_model,
    in_memory,
    place,
    read,
    rewrites,
    source_model,
)
from tests.checkpoint.mutations.scene import add_training
from tests.checkpoint.test_grow import assert_same, load
from tests.families import FAMILIES, MOE_FAMILIES

pytestmark = pytest.mark.share(3)

UNEVEN: dict[str, Any] = {"allocation": EXPLICIT, "router": {"init": "split"}}
QUICK = ("qwen3_moe", "gpt_oss", "granitemoe")
EVERY = [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in MOE_FAMILIES]


@pytest.mark.nightly(2)
@pytest.mark.parametrize("family", EVERY)
def test_in_and_out(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, UNEVEN)
    wanted, state = in_memory(there), grown_model(there).state_dict()
    there.grow(tmp_path / "out", layout="dcp")
    assert_same(loaded(tmp_path / "out", state), state)
    distribute(there.source, prefix="app.model.")
    assert there.grow(verify=True) == []
    assert_same(loaded(there.grown, state, prefix="app.model."), state)
    assert verify(there.grown).tensors > len(state) - len(wanted)
    there.grow(tmp_path / "published", layout="published")
    assert_same(read(tmp_path / "published"), wanted)
    load(tmp_path / "published")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "ranks", "dim"),
    [("qwen3_moe", 1, 0), ("qwen3_moe", 3, 0), ("qwen3_moe", 2, 1), ("qwen3_moe", 2, 2)]
    + [(family, 2, 0) for family in ("qwen3_moe", "gpt_oss", "mixtral", "granitemoe")],
)
def test_what_ranks_saved(tmp_path: Path, family: str, ranks: int, dim: int) -> None:
    there = place(tmp_path, family, UNEVEN)
    wanted, state = in_memory(there), grown_model(there).state_dict()
    save_on_ranks(there.source, tmp_path / "saved", ranks, dim)
    shutil.copyfile(there.source / "config.json", tmp_path / "saved/config.json")
    shutil.rmtree(there.source)
    (tmp_path / "saved").rename(there.source)
    assert len(list(there.source.glob("*.distcp"))) >= ranks
    there.grow(shard_bytes=50_000)
    assert len(list(there.grown.glob("*.distcp"))) > 2
    assert_same(loaded(there.grown, state), state)
    there.grow(tmp_path / "published", layout="published")
    assert_same(read(tmp_path / "published"), wanted)


@pytest.mark.parametrize("prefix", ["", "model.", "app.model."])
def test_any_one_prefix(tmp_path: Path, prefix: str) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    wanted = in_memory(there)
    distribute(there.source, prefix)
    there.grow(layout="published")
    assert_same(read(there.grown), wanted)


@pytest.mark.parametrize("init", ["drop", "interpolate"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_computed_experts(tmp_path: Path, init: str, dtype: torch.dtype) -> None:
    there = place(tmp_path, "qwen3_moe", {"experts": {"init": init}}, dtype=dtype)
    state = grown_model(there).state_dict()
    distribute(there.source)
    there.grow(shard_bytes=50_000)
    assert_same(loaded(there.grown, state), state)


def test_tensors_that_are_turned_on_disk(tmp_path: Path) -> None:
    with converted("qwen3_moe", WeightConverter(O_PROJ, O_PROJ, [Transpose(0, 1)])):
        there = place(tmp_path, "qwen3_moe", {"routing": "free"})
        name = "model.layers.0.self_attn.o_proj.weight"
        assert torch.equal(read(there.source)[name], source_model("qwen3_moe").state_dict()[name].T)
        wanted, state = in_memory(there), grown_model(there).state_dict()
        there.grow(tmp_path / "out", layout="dcp")
        assert_same(loaded(tmp_path / "out", state), state)
        distribute(there.source)
        there.grow(layout="published")
        assert_same(read(there.grown), wanted)


def test_views_keep_their_order(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    state = grown_model(there).state_dict()
    model = distribute(there.source)
    turned = {n: t.T.contiguous().T if t.dim() == 2 else t for n, t in model.state_dict().items()}
    save(turned, there.source)
    there.grow()
    assert_same(loaded(there.grown, state), state)


def test_copies_lie_as_in_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growc.checkpoint.arrangement.LARGE", 1024)
    there = place(tmp_path, "qwen3_moe", {})
    state = grown_model(there).state_dict()
    distribute(there.source)
    there.grow(verify=True)
    assert_same(loaded(there.grown, state), state)
    verify(there.grown)
    folders = (there.source, inspect(FAMILIES["qwen3_moe"], 16)), (there.grown, rewrites(there)[-1].grown)
    before, after = (read_distributed(*folder) for folder in folders)
    large = [n for n in before.names if before.kind(n) == after.kind(n) and before.extents(n)[0].length >= 1024]
    assert len(large) > 5
    assert all((before.extents(n)[0].start - after.extents(n)[0].start) % CONGRUENCE == 0 for n in large)


def test_equal_calls_give_equal_bytes_whatever_stops_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = place(tmp_path, "gpt_oss", UNEVEN)
    there.grow(tmp_path / "undisturbed", layout="dcp", shard_bytes=50_000)
    copies, real = 0, copying.Copier.copy

    def failing(*arguments: Any) -> None:
        nonlocal copies
        copies += 1
        if copies == 20:
            raise OSError(28, "No space left on device")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("growc.files.copying.Copier.copy", failing)
        with pytest.raises(GrowcError, match="GROW653"):
            there.grow(layout="dcp", shard_bytes=50_000)
    assert not there.grown.exists()
    there.grow(layout="dcp", shard_bytes=50_000)
    files = {path.name: path.read_bytes() for path in (tmp_path / "undisturbed").iterdir()}
    assert {path.name: path.read_bytes() for path in there.grown.iterdir()} == files
    assert len(files) > 5


def test_a_training_state_comes_along(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    add_training(there.source)
    there.grow(layout="dcp")
    assert read_meta(there.grown / TRAINING).moments


def test_the_card_says_how_it_is_read(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    there.grow(layout="dcp")
    card = (there.grown / "README.md").read_text()
    assert "`torch.distributed.checkpoint.load` reads" in card
    assert "As safetensors files it needs `import growc` to load" in card
    lineage = json.loads((there.grown / "growth.json").read_text())
    assert [file["name"] for file in lineage["source"]["files"]] == ["model.safetensors"]


@pytest.mark.parametrize("what", ["flipped", "cut", "gone", "more"])
def test_verify_finds_what_changed(tmp_path: Path, what: str) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    there.grow(layout="dcp", verify=True, shard_bytes=100_000)
    shards = sorted(there.grown.glob("*.distcp"))
    assert len(shards) > 1
    for path in (*shards, there.grown / ".metadata"):
        data = path.read_bytes()
        match what:
            case "flipped":
                places = (0, len(data) // 3, len(data) - 1)
                for at in places:
                    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
                    _differs(there, path.name)
            case "cut":
                path.write_bytes(data[:-1])
                _differs(there, path.name)
            case "gone":
                path.unlink()
                _differs(there, path.name)
            case _:
                (there.grown / "__9_0.distcp").write_bytes(data)
                _differs(there, "__9_0.distcp")
                (there.grown / "__9_0.distcp").unlink()
        path.write_bytes(data)
    verify(there.grown)


def _differs(there: Place, name: str) -> None:
    with pytest.raises(GrowcError) as caught:
        verify(there.grown)
    assert {found.code for found in caught.value.diagnostics} == {"GROW657"}
    assert any(name in found.message for found in caught.value.diagnostics)


@pytest.mark.parametrize("change", ["start", "end"])
def test_a_manifest_that_leaves_bytes_out_is_refused(tmp_path: Path, change: str) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    there.grow(layout="dcp", verify=True)
    path = there.grown / "growc.manifest.json"
    manifest = json.loads(path.read_text())
    manifest["tensors"][".metadata"]["bytes"][change == "end"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(GrowcError, match="GROW656"):
        verify(there.grown)
