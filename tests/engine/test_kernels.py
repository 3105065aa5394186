"""Which kernels a model has, and which it takes; what it does not have, or what does not run here, is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from growc.diagnostics import GrowcError
from growc.engine import grouped_gemm
from growc.engine.distribute import local
from growc.engine.kernels import candidates, experts_kernels, hold, taken
from growc.engine.losses import mean_loss
from growc.model import inspect
from growc.spec.kernels import Kernels
from tests.engine.models import LENGTH, built, from_dense, grown, text
from tests.families import FAMILIES

CPU, GPU = torch.device("cpu"), torch.device("cuda")


CONFIGS = {
    **{name: FAMILIES[name] for name in ("llama", "qwen3_moe", "gpt_oss", "llama4_text", "deepseek_v3")},
    "exclusive": grown("glm4_moe"),
    "from gpt2": from_dense("gpt2"),
}
MODELS = {name: inspect(config, LENGTH) for name, config in CONFIGS.items()}


def _asked(**kernels: Any) -> Kernels:
    return Kernels.model_validate(kernels)


def test_kernels_of_experts() -> None:
    found = {name: set(experts_kernels(model)) for name, model in MODELS.items()}
    every = {"eager", "grouped_mm", "batched_mm", "grouped_gemm"}
    assert found.pop("llama4_text") == set()
    assert found.pop("from gpt2") == every - {"eager"}
    assert all(kernels == every for kernels in found.values())


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "kernels",
    [_asked(), _asked(experts="batched_mm"), _asked(experts="grouped_mm"), _asked(attention="eager")],
    ids=str,
)
def test_models_are_built_with_what_is_taken(alone: None, name: str, kernels: Kernels) -> None:
    try:
        hold(kernels, [MODELS[name]], ["fp32"], CPU)
    except GrowcError:
        assert name == "llama4_text"
        return
    config: Any = built(CONFIGS[name], kernels=kernels).config
    found = taken(kernels, [MODELS[name]])
    assert found["attention"] == [config._attn_implementation]
    own = name == "from gpt2" and config._experts_implementation == "eager"  # which then means the default
    assert found["experts"] == ([] if name == "llama" else ["grouped_mm" if own else config._experts_implementation])


@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss", "exclusive"])
def test_all_kernels_give_the_same_gradients(alone: None, name: str) -> None:
    found = []
    for asked in ({}, {"experts": "eager"}, {"experts": "batched_mm"}, {"attention": "eager"}):
        model = built(CONFIGS[name], kernels=_asked(**asked))
        mean_loss(model, text(2)).backward()
        found.append({each: local(p.grad) for each, p in model.named_parameters() if p.grad is not None})
    for other in found[1:]:
        for each, gradient in found[0].items():
            torch.testing.assert_close(other[each], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "asked", "code"),
    [
        ("llama4_text", {"experts": "grouped_mm"}, "GROW605"),
        ("from gpt2", {"experts": "eager"}, "GROW605"),
        ("qwen3_moe", {"experts": "grouped_gemm"}, "GROW606"),
        ("qwen3_moe", {"attention": "flash_attention_2"}, "GROW606"),
        ("qwen3_moe", {"attention": "flash_attention_3"}, "GROW606"),
        ("llama", {"attention": "flex_attention"}, "GROW606"),
        ("gpt_oss", {"attention": "sdpa"}, "GROW607"),
        ("gpt_oss", {"attention": "flash_attention_2"}, "GROW607"),
        ("deepseek_v3", {"attention": "flex_attention"}, None),
        ("llama4_text", {"experts": "eager"}, None),
        ("from gpt2", {"experts": "batched_mm"}, None),
        ("llama", {"experts": "eager", "attention": "sdpa"}, None),
    ],
)
def test_what_does_not_fit_is_refused(name: str, asked: dict[str, Any], code: str | None) -> None:
    if code is None:
        hold(_asked(**asked), [MODELS[name]], ["bf16"], GPU if "flex_attention" in asked.values() else CPU)
        return
    with pytest.raises(GrowcError) as refused:
        hold(_asked(**asked), [MODELS["llama"], MODELS[name]], ["bf16"], CPU)
    assert [d.code for d in refused.value.diagnostics] == [code]


def test_what_the_library_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["qwen3_moe"]
    kernels = _asked(experts="grouped_gemm")
    with pytest.raises(GrowcError, match=r"GROW606.*pip install"):
        hold(kernels, [model], ["bf16"], GPU)
    monkeypatch.setattr(grouped_gemm, "installed", lambda: True)
    with pytest.raises(GrowcError, match=r"GROW606.*bf16"):
        hold(kernels, [model], ["bf16", "fp32"], GPU)
    hold(kernels, [model], ["bf16"], GPU)
    assert "grouped_gemm" in candidates([model], ["bf16"], GPU)
    odd = inspect(FAMILIES["qwen3_moe"] | {"moe_intermediate_size": 20}, LENGTH)
    with pytest.raises(GrowcError, match=r"GROW606.*8 divides"):
        hold(kernels, [odd], ["bf16"], GPU)
    assert "grouped_gemm" not in candidates([model, odd], ["bf16"], GPU)
    assert "grouped_gemm" not in candidates([model], ["bf16", "fp32"], GPU)
    assert candidates([model, MODELS["llama"]], ["bf16"], CPU) == ("grouped_mm", "batched_mm", "eager")
    assert candidates([model, MODELS["from gpt2"]], ["bf16"], CPU) == ("grouped_mm", "batched_mm")
    assert candidates([model, MODELS["llama4_text"]], ["bf16"], CPU) == ()
