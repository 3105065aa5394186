"""growc: a compiler for growing neural networks.

Importing growc is all that `from_pretrained` needs to load a grown model: as soon as transformers' Auto classes are
imported, before or after growc, `model_type: growc` is registered with them. Nothing heavy is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

__version__ = "0.1.0"

_AUTO = "transformers.models.auto.configuration_auto"


def _register() -> None:
    from growc.nn.auto import register

    register()


class _RegisterAfterAuto(MetaPathFinder):
    """Waits for the import of transformers' Auto classes, registers grown models after it, and is gone."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002, the protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != _AUTO:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register()

        spec.loader.exec_module = execute_and_register
        return spec


if _AUTO in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _RegisterAfterAuto())
