"""What is kept of a config is what is found of it, and is asked for no other version."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from growc.anatomy.grown_format import GROWN
from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import GrowcError
from growc.files import cache, versions
from growc.growth.rewrite import rewrite
from growc.model.inspect import inspect
from growc.model.kept import keep
from growc.model.module import build_module
from growc.operators import operator
from tests.families import FAMILIES
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(2)

search: Any = import_module("growc.model.moe_class_search")
inspecting: Any = import_module("growc.model.inspect")  # the package has a function of that name


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr("growc.model.module._run", [])
    _forget()
    return tmp_path


def _forget() -> None:
    for module, name in ((inspecting, "_inspect"), (search, "_stock"), (search, "_own")):
        getattr(module, name).cache_clear()


def _grown(family: str) -> dict[str, Any]:
    grows = operator("expert_upcycling").model_validate(EXACT)
    return dict(rewrite(grows, inspect(FAMILIES[family], 64), seed="0", sequence_length=64).grown.config)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_kept_is_what_was_found(family: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = inspect(FAMILIES[family], 64)
    _forget()
    monkeypatch.setattr(inspecting, "_traced", _never)
    assert inspect(FAMILIES[family], 64) == found
    assert inspect(FAMILIES[family], 128).cost == found.cost.at(128)


def test_a_grown_model_is_kept_with_its_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    config = _grown("mixtral")
    found = inspect(config, 64)
    assert found.moe[0].siblings == (2,) * 8
    _forget()
    monkeypatch.setattr(inspecting, "_traced", _never)
    assert inspect(config, 64) == found


@pytest.mark.parametrize("part", ["growc", "torch", "transformers", "numpy", "python"])
def test_another_version_is_traced_anew(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect(FAMILIES["llama"], 64)
    _forget()
    now = versions.versions()
    monkeypatch.setattr("growc.model.kept.versions", lambda: now | {part: "another"})
    monkeypatch.setattr(inspecting, "_traced", _never)
    with pytest.raises(AssertionError, match="traced"):
        inspect(FAMILIES["llama"], 64)


def test_the_class_that_holds_a_mixture_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    grows = operator("sparse_upcycling").model_validate({"experts": 4})

    def grown(family: str) -> ModelGraph:
        return rewrite(grows, inspect(FAMILIES[family], 64), seed="0", sequence_length=64).grown

    found = {family: grown(family) for family in ("qwen3", "gpt2")}
    _forget()
    for name in ("_found_stock", "_found_own"):
        monkeypatch.setattr(search, name, _never)
    assert {family: grown(family) for family in found} == found


def test_an_infinite_number_in_a_config_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FAMILIES["llama"] | {"my_limit": float("inf")}
    found = inspect(config, 64)
    assert found.config["my_limit"] == float("inf")
    _forget()
    monkeypatch.setattr(inspecting, "_traced", _never)
    assert inspect(config, 64) == found


def test_the_code_digest_is_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions.versions()["growc"] == versions.code_digest()
    assert len(versions.code_digest()) == 64


CODE = """
from transformers import AutoConfig, AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM
class MineConfig(MixtralConfig):
    model_type = "growc_kept_mine"
class MineForCausalLM(MixtralForCausalLM):
    config_class = MineConfig
AutoConfig.register("growc_kept_mine", MineConfig)
AutoModelForCausalLM.register(MineConfig, MineForCausalLM)
"""


def test_a_model_of_the_users_code_is_not_kept_nor_what_it_grows_to(place: Path) -> None:
    exec(CODE, {"__name__": "growc_kept_mine"})
    inspect(FAMILIES["mixtral"] | {"model_type": "growc_kept_mine"}, 64)
    grown = _grown("mixtral")
    stock = len(list(place.glob("traces/*")))
    inspect(grown | {GROWN: grown[GROWN] | {"model_type": "growc_kept_mine"}}, 64)
    assert len(list(place.glob("traces/*"))) == stock


def test_nothing_is_kept_once_code_of_the_users_has_run(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "growc_kept_module.py").write_text("def model(): raise ValueError")
    with pytest.raises(GrowcError, match="GROW211"):
        build_module("growc_kept_module:model", tmp_path, allow_code=True)
    inspect(FAMILIES["llama"], 64)
    assert not list(place.glob("traces/*"))


def test_what_would_come_back_of_another_type_is_not_kept(place: Path) -> None:
    type_ = TypeAdapter(dict[str, float])
    assert keep("kind", FAMILIES["llama"], {}, type_, lambda: {"one": 1}) == {"one": 1}
    assert not list(place.glob("kind/*"))
    keep("kind", FAMILIES["llama"], {}, type_, lambda: {"one": 1.5})
    assert len(list(place.glob("kind/*"))) == 1


def _never(key: str, *_: object) -> ModelGraph:
    raise AssertionError(f"traced: {key}")
