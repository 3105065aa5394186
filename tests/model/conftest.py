"""What the tests of the model room share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from growc.diagnostics import GrowcError


@pytest.fixture
def refused() -> Callable[[Callable[[], object]], list[str]]:
    """Runs something that must fail, and gives its diagnostics as `CODE message (help)`."""

    def run(attempt: Callable[[], object]) -> list[str]:
        with pytest.raises(GrowcError) as caught:
            attempt()
        return [str(diagnostic) for diagnostic in caught.value.diagnostics]

    return run
