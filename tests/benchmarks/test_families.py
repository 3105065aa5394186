"""The sweep of all families: what is grown right is told so, and what is not is told to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from benchmarks.families.compare import verdict
from benchmarks.families.growths import grow, growths
from benchmarks.families.page import page
from benchmarks.families.sweep import source_of

MIXTURE, DENSE = "glm4_moe", "llama"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name", "told"),
    [
        (MIXTURE, "exclusive x2", "exact"),
        (MIXTURE, "free x2", "near, as claimed"),
        (MIXTURE, "pruning, weight_norm", "as claimed"),
        (DENSE, "sparse_upcycling", "exact"),
    ],
)
def test_a_growth_is_compared_with_its_source(tmp_path: Path, family: str, name: str, told: str) -> None:
    """And the same growth with one tensor spoilt is wrong."""
    small, source = source_of(family, tmp_path / "source")
    assert (small.kinds, small.mixtures) == (("ABBB", (1, 2, 3)) if family == MIXTURE else ("AAAA", ()))
    growth = next(growth for growth in growths(source.experts) if growth.name == name)
    outcome = grow(tmp_path / "source", growth, tmp_path / "growth", source.ids.numpy())
    assert verdict(source, growth, outcome) == told

    (file,) = Path(outcome["grown"]).glob("*.safetensors")
    tensors = load_file(file)
    spoilt = next(key for key in sorted(tensors) if "expert" in key)
    tensors[spoilt][..., -1] *= -1
    save_file(tensors, file, {"format": "pt"})
    assert verdict(source, growth, outcome).startswith("WRONG: ")


def test_refusals_and_faults_are_told(tmp_path: Path) -> None:
    _, source = source_of(DENSE, tmp_path / "source")
    growth = next(growths(8))
    outcome = grow(tmp_path / "source", growth, tmp_path / "growth", source.ids.numpy())
    assert verdict(source, growth, outcome) == "refused GROW301: llama has no mixture-of-experts layer"
    assert verdict(source, growth, {"traceback": "KeyError: 'x'"}) == "TRACEBACK: KeyError: 'x'"


def test_the_page_counts_and_explains() -> None:
    verdicts = {"sparse_upcycling": "refused GROW350: it has none", "router_upcycling": "WRONG: logits moved"}
    results = [
        {"family": "opt", "kinds": "AA", "mixtures": [], "verdicts": verdicts},
        {"family": "mixtral", "kinds": "AA", "mixtures": [0, 1], "verdicts": {"free x2": "near, as claimed"}},
        {"family": "xmod", "unbuilt": "ValueError: no language"},
    ]
    text = "\n".join(page(json.loads(json.dumps(results))))
    assert "3 families, 2 of which could be built small." in text
    assert "| opt | AA | refused GROW350 | WRONG | GROW350: it has none; logits moved |" in text
    assert "| mixtral | aa | near, as claimed |  |" in text
    assert "- `xmod`: ValueError: no language" in text
