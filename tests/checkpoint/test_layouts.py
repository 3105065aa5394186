"""Layouts: what is stored otherwise than in the source is the same model, and moved where rows are only regrouped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.core_model_loading import ConversionOps, WeightConverter
from typing_extensions import override

from growc.anatomy.grown_format import GROWN
from growc.checkpoint import prepare
from growc.checkpoint.layout import LAYOUTS, Layout
from growc.checkpoint.request import Request
from growc.files.plan import Made, Plan
from tests.checkpoint.folders import EXPLICIT, O_PROJ, Place, converted, grown_model, in_memory, place, read
from tests.checkpoint.test_grow import assert_same, load, logits, logits_of
from tests.checkpoint.test_refusals import nothing_left, refused
from tests.families import MOE_FAMILIES
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(4)

SPLIT: dict[str, Any] = {"router": {"init": "split"}, "layers": [1]}
"""One layer grows and has values of its own; the others only move."""

QUICK = ("qwen3_moe", "granitemoe")
FAMILIES = [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in MOE_FAMILIES]


def restored(there: Place, *, fused: bool) -> None:
    """Saves the source anew, in another layout."""
    model = AutoModelForCausalLM.from_pretrained(there.source)
    model.save_pretrained(there.source, save_original_format=not fused)


@pytest.mark.nightly(2)
@pytest.mark.parametrize("family", MOE_FAMILIES)
@pytest.mark.parametrize("layout", ["fused", "published"])
def test_the_other_layout_is_the_growth_in_memory(tmp_path: Path, family: str, layout: Layout) -> None:
    there = place(tmp_path, family, {"allocation": EXPLICIT})
    model = grown_model(there)
    model.save_pretrained(tmp_path / "in_memory", save_original_format=layout == "published")
    if layout == "published":
        restored(there, fused=True)
    assert there.grow(layout=layout) == []
    assert_same(read(there.grown), read(tmp_path / "in_memory"))
    assert torch.equal(logits(there.grown), logits_of(model))


@pytest.mark.nightly(2)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_fused_between_two_growths_is_as_if_it_had_not_been(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family)
    spec = json.loads(there.spec.read_text())
    ways: list[dict[str, Any]] = [{**EXACT, **SPLIT}, {**EXACT, "router": {"init": "split"}}]
    spec["stages"] = [
        {"name": name, "grow": [{"op": "expert_upcycling", **way}]}
        for name, way in zip(("first", "second"), ways, strict=True)
    ]
    there.spec.write_text(json.dumps(spec))
    ends: list[dict[str, Tensor]] = []
    for layout in LAYOUTS[1:]:
        there.grow(tmp_path / layout, stage="first", layout=layout)
        between = Place(tmp_path / f"after-{layout}")
        between.root.mkdir()
        between.spec.write_text(there.spec.read_text())
        (tmp_path / layout).rename(between.source)
        between.grow(stage="second", layout="published")
        ends.append(read(between.grown))
    assert_same(ends[1], ends[0])
    assert_same(ends[2], ends[0])


@pytest.mark.parametrize("layout", ["fused", "published"])
@pytest.mark.parametrize("init", ["drop", "interpolate"])
def test_computed_experts_in_either_layout(tmp_path: Path, layout: Layout, init: str) -> None:
    there = place(tmp_path, "qwen3_moe", {"experts": {"init": init}, "allocation": EXPLICIT}, dtype=torch.bfloat16)
    wanted = in_memory(there, original_format=layout == "published")
    restored(there, fused=layout == "published")
    there.grow(layout=layout, shard_bytes=50_000)
    assert_same(read(there.grown), wanted)


@pytest.mark.parametrize("layout", ["fused", "published", "dcp"])
@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "phimoe", "granitemoe", "gpt_oss"])
def test_regrouped_rows_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, layout: Layout) -> None:
    there = place(tmp_path, family, {"allocation": EXPLICIT})
    restored(there, fused=layout == "published")
    made: dict[str, int] = {}

    def seen(folder: Path, plan: Plan) -> None:
        for output in plan.outputs:
            made.update({t.name: sum(p.length for p in t.parts if isinstance(p, Made)) for t in output.tensors})
        real(folder, plan)

    real = prepare.write_plan
    monkeypatch.setattr(prepare, "write_plan", seen)
    there.grow(layout=layout)
    frame = made.pop(".metadata", 0) and 2000
    assert made
    assert max(made.values()) <= frame, "nothing but what the format puts around tensors is computed"


def test_the_same_layout_is_that_of_the_source(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    for other in LAYOUTS[1:3]:
        restored(there, fused=other == "fused")
        there.grow(tmp_path / f"same-{other}")
        there.grow(tmp_path / other, layout=other)
        for name in ("model.safetensors", "config.json", "growth.json"):
            assert (tmp_path / f"same-{other}" / name).read_bytes() == (tmp_path / other / name).read_bytes()


def test_calls_for_other_layouts_are_other_calls(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    keys = {Request(there.spec, "upcycle", there.source, there.grown, layout=layout).key() for layout in LAYOUTS}
    assert len(keys) == len(LAYOUTS)


class _Halved(ConversionOps):
    @override
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        return {name: [tensor[: len(tensor) // 2] for tensor in held] for name, held in input_dict.items()}


class _OneWay(ConversionOps):
    """Leads to memory, and not back."""

    @override
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        return input_dict

    @property
    @override
    def reverse_op(self) -> ConversionOps:
        return _Halved()


@pytest.mark.parametrize("layout", ["published", "fused"])
def test_a_layout_that_does_not_lead_back_is_refused(tmp_path: Path, layout: Layout) -> None:
    there = place(tmp_path, "qwen3_moe", {"routing": "free"})
    with converted("qwen3_moe", WeightConverter(O_PROJ, O_PROJ, [_OneWay()])):
        found = refused(lambda: there.grow(layout=layout))
    assert found.code == "GROW664"
    assert "o_proj" in found.message
    assert layout in found.message
    assert nothing_left(there)


def test_a_dense_source_becomes_a_mixture_in_every_layout(tmp_path: Path) -> None:
    there = place(tmp_path, "llama", {"op": "sparse_upcycling", "experts": 4})
    there.grow(layout="fused")
    assert_same(read(there.grown), in_memory(there, original_format=False))
    assert GROWN not in json.loads((there.grown / "config.json").read_text())
    load(there.grown)
