"""Grown models packed: fresh copies take next to nothing, trained ones less than they are, and all bytes come back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.checkpoint.lineage import LINEAGE, told_siblings
from growc.checkpoint.packing import pack
from growc.files.folder import PACKED, read_folder
from growc.files.headers import Entry, read_header
from growc.files.packing.unpack import unpack
from tests.checkpoint.folders import EXPLICIT, Place, place
from tests.checkpoint.test_grow import logits
from tests.families import MOE_FAMILIES
from tests.files.packings import contents
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(3)

BESIDES_NAMES = 300
"""Bytes that a tensor takes in the header of a packed file and in the index, but for its name (once in each) and for
what is known of each piece: two dozen in punctuation and words, three offsets or lengths, dtype, shape and digest."""


def packed_bytes(folder: Path) -> int:
    """What is stored of the weights."""
    return sum(path.stat().st_size for path in (*folder.glob("*.safetensors.packed"), folder / PACKED))


def packed_entries(path: Path) -> list[Entry]:
    """The tensors of a packed file, without the header that is stored along."""
    if not path.name.endswith(".safetensors.packed"):
        return []
    return [entry for name, entry in read_header(path).tensors.items() if name.startswith("tensor.")]


def there_and_back(folder: Path, root: Path) -> int:
    """The bytes that the weights of a folder take packed, once they have come back."""
    found, warnings = pack(folder, root / "packed")
    assert warnings == ()
    assert unpack(root / "packed", root / "back") == found.whole
    assert contents(root / "back") == contents(folder)
    shutil.rmtree(root / "back")
    return packed_bytes(root / "packed")


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_a_growth_of_copies_takes_what_its_source_takes(tmp_path: Path, family: str) -> None:
    """And what is new in it: rows of the router, and what each tensor and piece takes to be told of."""
    there = place(tmp_path, family, {"allocation": EXPLICIT}, dtype=torch.bfloat16, max_shard_size="100KB")
    there.grow(shard_bytes=150_000)
    size = there_and_back(there.grown, tmp_path)
    source, grown = read_folder(there.source), read_folder(there.grown)
    entries = [entry for header in grown.headers.values() for entry in header.tensors.values()]
    rows = sum(e.end - e.start for e in entries if "expert" not in e.name and e.shape[:1] == (16,))
    stored = [entry for path in (tmp_path / "packed").glob("*.packed") for entry in packed_entries(path)]
    before = [entry for header in source.headers.values() for entry in header.tensors.values()]
    assert sum(e.end - e.start for e in stored) <= sum(e.end - e.start for e in before) + rows
    told = sum(BESIDES_NAMES + 2 * len(entry.name) + 24 * 16 * (len(entry.shape) > 2) for entry in entries)
    assert told < 1024 * len(entries)
    assert size <= sum(header.size for header in source.headers.values()) + rows + told


def trained(there: Place, lr: float) -> Path:
    """The grown model after three steps of AdamW, as transformers writes it, beside its lineage."""
    model: Any = AutoModelForCausalLM.from_pretrained(there.grown)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for step in range(3):
        ids = torch.randint(0, 256, (4, 32), generator=torch.Generator().manual_seed(step))
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = there.root / "trained"
    model.save_pretrained(folder)
    shutil.copy(there.grown / LINEAGE, folder)
    return folder


@pytest.mark.parametrize("family", ["qwen3_moe", "gpt_oss", "granitemoe"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_copies_that_were_trained_are_deltas(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    there = place(tmp_path, family, {"routing": "free", "router": {"init": "split"}}, dtype=dtype)
    there.grow()
    folder = trained(there, 1e-6)
    with_lineage = there_and_back(folder, tmp_path)
    (folder / LINEAGE).unlink()
    shutil.rmtree(tmp_path / "packed")
    without = there_and_back(folder, tmp_path)
    assert with_lineage < 0.95 * without


def test_transformers_refuses_a_packed_folder(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {}, max_shard_size="100KB")
    (there.source / "pytorch_model.bin").write_bytes(b"what transformers would turn to")
    for shard_bytes, name in ((10**9, "single"), (150_000, "shards")):
        there.grow(there.root / name, shard_bytes=shard_bytes)
        packed = there.root / f"{name}-packed"
        pack(there.root / name, packed)
        with pytest.raises(OSError, match=r"model\.safetensors"):
            AutoModelForCausalLM.from_pretrained(packed)
        unpack(packed, there.root / f"{name}-back")
        assert torch.equal(logits(there.root / f"{name}-back"), logits(there.root / name))
    pack(there.source, there.root / "source-packed")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(there.root / "source-packed")


# -- the lineage -----------------------------------------------------------------------------------------------


def test_the_lineage_of_growths_in_a_row(tmp_path: Path) -> None:
    """Pruned layers have no siblings any more, others keep those of before."""
    there = place(tmp_path, "qwen3_moe", {"allocation": EXPLICIT, "routing": "free"})
    there.grow()
    again = Place(tmp_path / "again")
    shutil.copytree(there.grown, again.source)
    pruning = {"op": "expert_pruning", "keep": 15, "layers": [1], "choose": {"by": "score", "score": "weight_norm"}}
    lineage = json.loads((there.grown / LINEAGE).read_text())
    operators = [pruning | {"replicas": {"1": [1] * 15 + [0]}}]
    (again.source / LINEAGE).write_text(json.dumps({"operators": operators, "source": {"lineage": lineage}}))
    assert told_siblings(again.source) == ({0: tuple(EXPLICIT["replicas"])}, ())


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ('{"growc": "0.1.0", "siblings": {"3": [2, 1]}, "operators": [{}]}', {3: (2, 1)}),
        ('{"growc": "0.1.0", "stage": "pretrain"}', {}),
    ],
)
def test_lineages_of_runs(tmp_path: Path, text: str, groups: dict[int, tuple[int, ...]]) -> None:
    (tmp_path / LINEAGE).write_text(text)
    assert told_siblings(tmp_path) == (groups, ())


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '"siblings"', '{"siblings": {"0": [-1]}}', '{"siblings": {"0": [1.5]}}', '{"siblings": [1]}',
        '{"siblings": {"x": [1]}}', '{"siblings": {"0": 4}}', '{"operators": [{"op": "unheard_of", "replicas": {}}]}',
        '{"operators": [{"op": "expert_upcycling"}]}', '{"operators": [{"op": "grove", "width": [], "replicas": {}}]}',
        '{"source": []}', '{"operators": 7}', '{"operators": [[]]}', None,
    ],
)  # fmt: skip
def test_a_lineage_that_tells_nothing_is_told_of(tmp_path: Path, text: str | None) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    if text is None:
        (there.source / LINEAGE).mkdir()
    else:
        (there.source / LINEAGE).write_text(text)
    _, (warning,) = pack(there.source, tmp_path / "packed")
    assert (warning.code, warning.severity.name) == ("GROW670", "WARNING")
    unpack(tmp_path / "packed", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(there.source)


def test_a_chain_of_settings_is_what_each_operator_takes(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {**EXACT, "layers": [0]}, {"op": "release_siblings"})
    there.grow()
    assert told_siblings(there.grown) == ({0: (2,) * 8}, ())
