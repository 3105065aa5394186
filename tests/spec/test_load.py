"""Specs that are right: what they become, their defaults, inheritance between stages, and places."""

from __future__ import annotations

from pathlib import Path

import pytest

from growc.diagnostics import Span
from growc.operators import operator
from growc.spec import load
from growc.spec.schema import AdamW, Constant, Jsonl, Precision, Sgd, Text, Wsd
from tests.spec.conftest import Load
from tests.spec.examples import FULL, HEAD, SMALL, STAGES, small


def test_the_whole_example(load_text: Load) -> None:
    loaded = load_text(FULL)
    spec = loaded.spec
    assert spec.name == "upcycle-8-to-16"
    assert spec.model.source == "config"
    assert [stage.kind for stage in spec.stages] == ["train", "grow", "train"]
    assert spec.stages[1].from_ == "pretrain.stable"
    assert spec.stages[1].grow is not None
    assert isinstance(spec.stages[1].grow[0], operator("expert_upcycling"))
    assert spec.invariants.total_params is not None
    assert spec.invariants.total_params.max == 14_000_000_000
    assert spec.baselines == ("fixed_source", "fixed_target")
    assert spec.data is not None
    assert spec.data.validation.fraction == 0.02
    assert loaded.text == FULL
    assert loaded.base_dir == loaded.path.parent


def test_places(load_text: Load) -> None:
    loaded = load_text(FULL)
    file = str(loaded.path)
    assert loaded.span("stages", 1, "grow", 0, "factor") == Span(file, 29, 17, 1)
    assert loaded.span("training", "optimizer", "lr") == Span(file, 16, 32, 4)
    assert loaded.spans["stages", 1, "name"] == Span(file, 25, 11, 7)
    nearest = loaded.span("stages", 1, "grow", 0, "allocation", "cap", 3)
    assert nearest == loaded.spans["stages", 1, "grow", 0, "allocation"]
    assert loaded.span("nothing") == loaded.span() == Span(file, 1, 1)


def test_defaults(load_text: Load) -> None:
    spec = load_text(HEAD + STAGES).spec
    assert spec.data is None
    assert spec.training.optimizer == AdamW(name="adamw")
    assert spec.training.schedule == Wsd(name="wsd", warmup=0.02, anneal=0.1)
    assert spec.parallel.fsdp == "auto"
    assert spec.invariants.loss is None


def test_a_spec_is_frozen(load_text: Load) -> None:
    spec = load_text(SMALL).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_stages_override_training(load_text: Load) -> None:
    inherited = "batch_tokens: 128, optimizer: {name: adamw, lr: 2e-3, beta1: 0.8}, validate_every: 5"
    a = "data: a, optimizer: {name: adamw, lr: 1e-4}, schedule: {name: constant}, validate_every: null"
    b = "data: b, optimizer: {name: sgd}, balance: {rate: 0.5}"
    text = SMALL.replace("batch_tokens: 128", inherited).replace("data: a", a).replace("data: b", b)
    spec = load_text(text).spec
    first, last = spec.training_for(spec.stages[0]), spec.training_for(spec.stages[2])
    assert first.optimizer == AdamW(name="adamw", lr=1e-4, beta1=0.8)
    assert first.schedule == Constant(name="constant")
    assert first.validate_every is None
    assert first.batch_tokens == last.batch_tokens == 128
    assert last.optimizer == Sgd(name="sgd")
    assert last.balance.rate == 0.5
    assert last.balance.method == "loss_free"
    assert last.validate_every == 5


def test_a_precision_is_a_type_or_two(load_text: Load) -> None:
    """A type alone means fp32 moments; keys override one by one, and what means the same is known by the same hash."""

    def stages(inherited: str, own: str) -> Precision:
        text = SMALL.replace("batch_tokens: 128", f"batch_tokens: 128, precision: {inherited}")
        spec = load_text(text.replace("data: b}", f"data: b, precision: {own}}}")).spec
        return spec.training_for(spec.stages[2]).precision

    both = "{compute: bf16, moments: bf16}"
    assert stages(both, "null") == Precision(compute="bf16", moments="bf16")
    assert stages(both, "bf16") == stages("fp32", "bf16") == Precision(compute="bf16")
    assert stages(both, "{moments: fp32}") == Precision(compute="bf16")
    assert stages(both, "{compute: fp32}") == Precision(moments="bf16")
    assert stages("bf16", "{moments: bf16}") == Precision(compute="bf16", moments="bf16")
    for kind in ("fp32", "bf16"):
        for text in (kind, f"{{compute: {kind}}}", f"{{compute: {kind}, moments: fp32}}"):
            assert stages("fp32", text).model_dump(mode="json") == kind
    assert stages(both, "{}").model_dump(mode="json") == {"compute": "bf16", "moments": "bf16"}


def test_validation_from_a_source_of_its_own(load_text: Load) -> None:
    inline = "validation: {kind: jsonl, path: v.jsonl, field: body, sequences: 8}"
    loaded = load_text(small("sequence_length: 64", f"sequence_length: 64, {inline}"))
    assert loaded.spec.data is not None
    validation = loaded.spec.data.validation
    assert validation.source == Jsonl(kind="jsonl", path="v.jsonl", field="body")
    assert (validation.fraction, validation.sequences) == (None, 8)
    nested = "validation: {source: {kind: text, path: v.txt}}"
    loaded = load_text(small("sequence_length: 64", f"sequence_length: 64, {nested}"))
    assert loaded.spec.data is not None
    assert loaded.spec.data.validation.source == Text(kind="text", path="v.txt")


def test_whole_floats_are_counts_but_stay_floats_in_a_config(load_text: Load) -> None:
    text = small("llama", "llama, rope_theta: 1e4").replace("steps: 10, data: b", "steps: 1e1, data: b")
    loaded = load_text(text)
    assert loaded.spec.stages[2].train is not None
    assert loaded.spec.stages[2].train.steps == 10
    assert isinstance(loaded.spec.model.config, dict)
    assert isinstance(loaded.spec.model.config["rope_theta"], float)


def test_operators_dump_as_their_yaml(load_text: Load) -> None:
    spec = load_text(FULL).spec
    dumped = spec.model_dump(mode="json", by_alias=True)
    step = dumped["stages"][1]["grow"][0]
    assert step["op"] == "expert_upcycling"
    assert step["router"]["bias_noise"] == 1e-3
    assert type(spec).model_validate(dumped) == spec


def test_code_is_allowed_when_asked(load_text: Load) -> None:
    loaded = load_text(HEAD.replace("hub: h", "module: a.b:c") + STAGES, allow_code=True)
    assert loaded.spec.model.module == "a.b:c"


def test_a_byte_order_mark_is_no_character(load_text: Load) -> None:
    assert load_text(b"\xef\xbb\xbf" + SMALL.encode()).span("growth").column == 9


def test_relative_to_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.growth.yaml"
    path.parent.mkdir()
    path.write_text(SMALL)
    assert load(path).base_dir == tmp_path / "deep"


def test_upcycling_is_the_published_one_with_split_rows_unless_said() -> None:
    """No recipe ended lower by three standard errors (benchmarks/expert_upcycling), so none takes their place."""
    grows = operator("expert_upcycling")
    assert grows.model_validate({}) == grows.model_validate({"routing": "free", "router": {"init": "split"}})
    assert grows.model_validate({"router": {"bias_noise": 1e-3}}).model_dump()["router"]["init"] == "split"
