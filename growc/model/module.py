"""Models made by the user's own code, which runs only when the command line allows it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from growc.diagnostics import fail

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_run: list[str] = []
"""The functions of users' code that were called in this process."""


def has_run() -> bool:
    """Whether code of a user's has run in this process, and may have changed what other code finds."""
    return bool(_run)


def build_module(reference: str, base_dir: Path, *, allow_code: bool) -> PreTrainedModel:
    """Call the function of `package.module:function`; modules are looked for beside the spec, too.

    Errors: GROW211 (not allowed, cannot be imported, raises, or returns no causal language model).
    """
    from transformers import PreTrainedModel

    if not allow_code:
        _refuse(f"`module: {reference}` runs code, which is not allowed", "pass --allow-code if you trust it")
    name, _, function = reference.partition(":")
    _run.append(reference)
    sys.path.insert(0, str(base_dir))
    try:
        model: Any = getattr(importlib.import_module(name), function)()
    except Exception as error:  # noqa: BLE001  (a user's code may raise anything; it is told, not swallowed)
        _refuse(f"{reference} fails: {type(error).__name__}: {error}", "run it by itself to see where")
    finally:
        sys.path.remove(str(base_dir))
    if not isinstance(model, PreTrainedModel):
        _refuse(f"{reference} returns a {type(model).__name__}", "return a transformers PreTrainedModel")
    if MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), None) is not type(model):
        _refuse(
            f"transformers' Auto classes do not build {type(model).__name__} from its config",
            "register config and model with AutoConfig.register and AutoModelForCausalLM.register",
        )
    return model


def _refuse(fault: str, help: str) -> NoReturn:
    fail("GROW211", fault, help=help)
