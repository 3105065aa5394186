"""What the tests of the language share: loading a text as a user would, from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from growc.diagnostics import Diagnostic, GrowcError
from growc.spec import LoadedSpec, load

Load = Callable[..., LoadedSpec]
Findings = Callable[..., tuple[Diagnostic, ...]]


@pytest.fixture(scope="session")
def load_text(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Load a text or bytes, with overrides."""
    path = tmp_path_factory.mktemp("specs") / "a.growth.yaml"

    def call(text: str | bytes, overrides: Sequence[str] = (), *, allow_code: bool = False) -> LoadedSpec:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(path, overrides, allow_code=allow_code)

    return call


@pytest.fixture(scope="session")
def findings(load_text: Load) -> Findings:
    """What is wrong with a text; it must be something."""

    def call(text: str | bytes, overrides: Sequence[str] = ()) -> tuple[Diagnostic, ...]:
        with pytest.raises(GrowcError) as caught:
            load_text(text, overrides)
        return caught.value.diagnostics

    return call


@pytest.fixture
def missing(tmp_path: Path) -> Path:
    return tmp_path / "missing.growth.yaml"
