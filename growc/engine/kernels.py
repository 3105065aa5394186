"""Which kernels a model has, which run here, and which are taken: what does not fit is refused before a run begins.

transformers itself falls back where it can, to other kernels or to some that it fetches. What a spec asks for is what
it gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from growc.anatomy.grown_format import ADJUGATES, DELTAS, MIXTURE, modules_of
from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import fail
from growc.engine import grouped_gemm
from growc.model.build import load_config
from growc.spec.kernels import Kernels
from growc.spec.training import FloatType

EXPERTS = ("grouped_mm", "batched_mm", grouped_gemm.NAME, "eager")
"""Kernels for experts, the default first."""

LIBRARIES = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3"}
"""What has to be installed."""

INSTALL = (
    "GROUPED_GEMM_CUTLASS=1 TORCH_CUDA_ARCH_LIST=8.0 pip install --no-build-isolation 'growc[grouped-gemm]' "
    "(built otherwise, it is a loop over experts, too)"
)

AMPERE = (8, 0)
"""The oldest GPUs that flash attention runs on."""


def implementations(kernels: Kernels) -> dict[str, str]:
    """The arguments by which transformers builds a model with these kernels; `auto` leaves it its own choice."""
    grouped_gemm.register()
    found: dict[str, str] = {}
    if kernels.experts not in ("auto", EXPERTS[0]):  # which it refuses for classes without, growc's experts or not
        found["experts_implementation"] = kernels.experts
    if kernels.attention != "auto":
        found["attn_implementation"] = kernels.attention
    return found


def experts_kernels(model: ModelGraph) -> tuple[str, ...]:
    """The kernels among which a model's experts can choose; none where they have code of their own alone.

    A model without experts has all. Those that growc puts into a model have no code but transformers' kernels.
    """
    changed = [{change["kind"] for change in modules_of(model.config, site.layer).values()} for site in model.moe]
    stock = any(not kinds & {MIXTURE, DELTAS} for kinds in changed)
    if stock and not _class_of(model)._can_set_experts_implementation():  # noqa: SLF001
        return ()
    ours = any(kinds & {MIXTURE, DELTAS, ADJUGATES} for kinds in changed)
    return tuple(name for name in EXPERTS if name != "eager" or not ours)


def hold(kernels: Kernels, models: Sequence[ModelGraph], precisions: Iterable[FloatType], device: torch.device) -> None:
    """Refuse kernels that some model does not have or that do not run on `device`.

    Args:
        kernels: what the spec asks for.
        models: all models of the plan.
        precisions: of all stages.
        device: of this rank.

    Errors: GROW605 (experts), GROW606 (not here), GROW607 (attention).
    """
    bf16 = _all_bf16(precisions)
    for model in models:
        _hold_experts(kernels.experts, model)
        _hold_attention(kernels.attention, model)
    experts = _grouped_gemm_lacks(models, bf16, device) if kernels.experts == grouped_gemm.NAME else None
    for key, asked, lacks in (
        ("experts", kernels.experts, experts),
        ("attention", kernels.attention, _attention_lacks(kernels.attention, bf16, device)),
    ):
        if lacks:
            fail("GROW606", f"kernels.{key}: {asked} needs {lacks}", help=f"see to it, or set kernels.{key} to auto")


def taken(kernels: Kernels, models: Sequence[ModelGraph]) -> dict[str, Any]:
    """The kernels by which the models of a run are computed, for its journal; models may differ where it is auto."""
    experts, attention = set[str](), set[str]()
    for model in models:
        own = "sdpa" if _class_of(model)._supports_sdpa else "eager"  # noqa: SLF001
        attention.add(own if kernels.attention == "auto" else kernels.attention)
        if model.moe:
            own = (experts_kernels(model) or ("eager",))[0]
            experts.add(own if kernels.experts == "auto" else kernels.experts)
    return {"experts": sorted(experts), "attention": sorted(attention), "compile": kernels.compile}


def candidates(models: Sequence[ModelGraph], precisions: Iterable[FloatType], device: torch.device) -> tuple[str, ...]:
    """The kernels that the experts of all models have and that run on `device`."""
    lacks = _grouped_gemm_lacks(models, _all_bf16(precisions), device)
    left = [name for name in EXPERTS if name != grouped_gemm.NAME or not lacks]
    return tuple(name for name in left if all(name in experts_kernels(model) for model in models))


def _all_bf16(precisions: Iterable[FloatType]) -> bool:
    return all(precision == "bf16" for precision in precisions)


def _class_of(model: ModelGraph) -> Any:
    return MODEL_FOR_CAUSAL_LM_MAPPING[cast(Any, type(load_config(model.config)))]


def _hold_experts(asked: str, model: ModelGraph) -> None:
    have = experts_kernels(model)
    if model.moe and asked not in ("auto", *(have or ("eager",))):  # code of their own is what eager is
        fail("GROW605", f"the experts of {model.model_type} cannot be computed by {asked}",
             help=f"set kernels.experts to {' or '.join(('auto', *have))}")  # fmt: skip


def _hold_attention(asked: str, model: ModelGraph) -> None:
    kind = _class_of(model)
    compatible = getattr(kind, "_compatible_flash_implementations", None)
    flash = kind._supports_flash_attn and (compatible is None or asked in compatible)  # noqa: SLF001
    known = {"sdpa": kind._supports_sdpa, "flex_attention": kind._supports_flex_attn}  # noqa: SLF001
    if not (asked in ("auto", "eager") or known.get(asked, flash)):
        rest = "auto, sdpa or eager" if kind._supports_sdpa else "auto or eager"  # noqa: SLF001
        fail("GROW607", f"the attention of {model.model_type} cannot be computed by {asked}",
             help=f"set kernels.attention to {rest}")  # fmt: skip


def _grouped_gemm_lacks(models: Sequence[ModelGraph], bf16: bool, device: torch.device) -> str | None:
    """What the library would need, in words."""
    if device.type != "cuda":
        return "a GPU"
    if not grouped_gemm.installed():
        return f"the library: {INSTALL}"
    if not bf16:
        return "precision: bf16 under training and in every stage"
    for model in models:
        for name in (name for site in model.moe for name in site.expert_tensors):
            _, *sizes = model.tensors[name].shape
            if any(size % grouped_gemm.ALIGNED for size in sizes):
                return f"sizes that {grouped_gemm.ALIGNED} divides, and {name} has {sizes}"
    return None


def _attention_lacks(asked: str, bf16: bool, device: torch.device) -> str | None:
    """What a kernel for attention would need, in words."""
    if asked in ("auto", "eager", "sdpa"):
        return None
    if device.type != "cuda":
        return "a GPU"
    if asked == "flex_attention":
        return None
    if torch.cuda.get_device_capability(device) < AMPERE:
        return "a GPU of compute capability 8.0 or later"
    if not bf16:
        return "precision: bf16 under training and in every stage"
    there = is_flash_attn_2_available() if asked == "flash_attention_2" else is_flash_attn_3_available()
    return None if there else f"the library {LIBRARIES[asked]}"
