"""`growc grow --verify` against the second account: what is right passes, what has one fault is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.spoilt_growths.growing import Outcome, grown, spoilt_growth
from benchmarks.spoilt_growths.scenes import DENSE_FAMILIES, Scene, chains, listed, starts, states
from growc.audit.audit import audit
from growc.audit.readings import READ
from growc.checkpoint import command
from growc.checkpoint.prepare import prepare
from growc.checkpoint.request import Request
from growc.diagnostics import Diagnostic, GrowcError, Severity
from growc.model import inspect
from growc.operators import OPERATORS, operator
from growc.operators.facets import Mixes
from tests.battery.cases import REFUSED
from tests.checkpoint.wholes import whole

pytestmark = pytest.mark.share(3)

COPIES = {"op": "expert_upcycling", "routing": "exclusive", "router": {"init": "copy"}}


FAMILIES = ("glm4_moe", "gpt_oss", "qwen3")
"""Few, since to trace a model takes longer than to grow it: with a selection bias, with biases of experts, dense."""


def _by_name() -> dict[str, Scene]:
    """Every example of every operator, initialisation and chain, on one family or the other."""
    found: dict[str, list[Scene]] = {}
    for scene in (*listed(), *starts(), *chains()):
        family = scene.family if scene.family in FAMILIES else FAMILIES[len(found) % 2]
        dense, (op, _, name) = scene.family in DENSE_FAMILIES, scene.name.partition(": ")
        if (op, name, family) in REFUSED:
            continue
        if not dense or scene.family in FAMILIES:
            found.setdefault(scene.name, []).append(replace(scene, family=family))
    return {name: scenes[number % len(scenes)] for number, (name, scenes) in enumerate(found.items())}


SCENES = _by_name()

FIRST = frozenset({name.partition(":")[0]: name for name in reversed(SCENES) if ":" in name}.values())
"""The first example of every operator; all others are slow, for there are many."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which sources are written once."""
    return tmp_path_factory.mktemp("growths")


@pytest.fixture
def there(root: Path) -> Iterator[tuple[Request, Path]]:
    """A growth with copies in unequal numbers, as it should be, of which the test may alter the result."""
    settings = {**COPIES, "allocation": {"rule": "greedy", "score": "weight_norm"}}
    spec = Scene("copies", "glm4_moe", (settings,)).spec(root)
    request = Request(spec, "grow", spec.parent / "source", root / "grown")
    command.grow(request, prepare, audit=audit)
    yield request, request.to
    shutil.rmtree(request.to)


def test_every_operator_that_grows_one_folder_is_read() -> None:
    assert set(READ) == {name for name in OPERATORS if not issubclass(operator(name), Mixes)}


@pytest.mark.nightly(2)
@pytest.mark.parametrize(
    "name", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in SCENES]
)
def test_a_growth_as_it_should_be_passes(root: Path, name: str) -> None:
    assert grown(SCENES[name], root) is None


@pytest.mark.parametrize("number", [n if n < 4 else pytest.param(n, marks=pytest.mark.slow) for n in range(20)])
def test_a_growth_with_one_fault_is_refused(root: Path, number: int) -> None:
    """And leaves neither the destination nor anything beside it, which `spoilt_growth` looks for."""
    rng = Random(f"tests/{number}")
    scene = replace(SCENES[rng.choice([*SCENES])], dtype=rng.choice(("fp32", "bf16")))
    outcome, fault, told = spoilt_growth(scene, root, rng)
    assert outcome in (Outcome.REFUSED, Outcome.EQUAL), (scene, fault)
    assert fault.tensor in told or outcome is Outcome.EQUAL


def _refused(request: Request, folder: Path) -> str:
    with pytest.raises(GrowcError) as raised:
        audit(request, folder)
    assert {told.code for told in raised.value.diagnostics} == {"GROW665"}
    return str(raised.value)


def test_one_bit_of_a_moved_row(there: tuple[Request, Path]) -> None:
    request, folder = there
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.self_attn.q_proj.weight"
    tensors[name].view(torch.int32)[3, 5] ^= 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    told = _refused(request, folder)
    assert f"row 3 of {name} is not {name} of the source: its element 5 is" in told


def test_a_tensor_of_another_dtype(there: tuple[Request, Path]) -> None:
    request, folder = there
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].half()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert "model.norm.weight is stored as torch.float16, and must be torch.float32" in _refused(request, folder)


def _lineage(folder: Path, **changes: Any) -> None:
    lineage = json.loads((folder / "growth.json").read_text())
    lineage["operators"][0] |= changes
    (folder / "growth.json").write_text(json.dumps(lineage))


def test_a_lineage_that_says_otherwise(there: tuple[Request, Path]) -> None:
    request, folder = there
    record = json.loads((folder / "growth.json").read_text())["operators"][0]
    other = {**record["replicas"], "1": record["replicas"]["1"][::-1]}
    _lineage(folder, replicas=other)
    assert "the experts of layer 1 got" in _refused(request, folder)
    _lineage(folder, replicas=record["replicas"], factor=3)
    assert "growth.json says factor: 3, and the spec factor: 2" in _refused(request, folder)
    scores = {**record["scores"], "2": [score * 1.01 for score in record["scores"]["2"]]}
    _lineage(folder, factor=2, scores=scores)
    assert "the scores of layer 2 are" in _refused(request, folder)


def test_a_config_of_another_model(there: tuple[Request, Path]) -> None:
    request, folder = there
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_experts_per_tok": 3}))
    assert "config.json describes another model than the grown one: its moe differ" in _refused(request, folder)


def test_a_tensor_with_experts_that_no_reading_knows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes tell, though the trace that all else relies on has lost it."""

    def forgetful(config: Any, length: int) -> Any:
        graph = inspect(config, length)
        return replace(graph, moe=tuple(replace(site, selection_bias=None) for site in graph.moe))

    monkeypatch.setattr("growc.audit.audit.inspect", forgetful)
    told = grown(Scene("copies", "glm4_moe", (COPIES,)), root)
    assert told is not None
    assert "model.layers.1.mlp.gate.e_score_correction_bias changes with the number of experts" in told


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"op": "grove", "width": 8}, "adjugates.gate_up_proj is no tensor of the source"),
        (COPIES, "experts.gate_up_proj has the shape [16, 32, 32], and must have [8, 32, 32]"),
    ],
)
def test_a_reading_that_says_too_little(
    root: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr("growc.audit.audit.reading", lambda _: lambda _: {})
    assert told in str(grown(Scene("silent", "glm4_moe", (settings,)), root))


def test_an_operator_that_is_not_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growc.audit.audit.READ", ())
    spec = Scene("copies", "glm4_moe", (COPIES,)).spec(root)
    request = Request(spec, "grow", spec.parent / "source", root / "unread")
    (told,) = command.grow(request, prepare, verify=True, audit=audit)
    assert (told.code, told.severity) == ("GROW666", Severity.WARNING)
    assert "expert_upcycling" in told.message


@pytest.mark.process
@pytest.mark.slow
def test_an_audit_in_another_process(root: Path) -> None:
    """What it says comes back, and the folder gets no name."""
    spec = Scene("copies", "qwen3", ({"op": "sparse_upcycling", "experts": 4},)).spec(root)
    request = Request(spec, "grow", spec.parent / "source", root / "elsewhere")

    def altered(request: Request, folder: Path) -> tuple[Diagnostic, ...]:
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        return command.audit_in_a_child(request, folder)

    with pytest.raises(GrowcError) as raised:
        command.grow(request, prepare, verify=True, audit=altered)
    assert [told.code for told in raised.value.diagnostics] == ["GROW665"]
    assert not request.to.exists()
    assert not request.to.with_name("elsewhere.partial").exists()


@pytest.mark.parametrize(
    "operator",
    [COPIES | {"routing": "free"}, {"op": "expert_pruning", "choose": {"by": "explicit", "kept": [0, 5, 6, 7]}}],
)
def test_towers_stay_byte_by_byte(tmp_path: Path, operator: dict[str, Any]) -> None:
    there = whole(tmp_path, "llama4", operator)
    request = Request(there.spec, "upcycle", there.source, there.grown)
    command.grow(request, prepare, audit=audit)
    tensors = load_file(there.grown / "model.safetensors")
    name = next(name for name in sorted(tensors) if "vision" in name)
    tensors[name].view(torch.int32).view(-1)[0] ^= 1
    save_file(tensors, there.grown / "model.safetensors", {"format": "pt"})
    assert f"{name} is not what it is in the source, bit by bit" in _refused(request, there.grown)
    del tensors[name]
    save_file(tensors, there.grown / "model.safetensors", {"format": "pt"})
    assert f"{name}, of another part of the model, was left behind" in _refused(request, there.grown)


STATES = [
    "state: scaled top-k",
    "state: sparse_upcycling, alternate",
    *(pytest.param(f"state: {name}", marks=pytest.mark.slow) for name in ("gradient", "reset_copies", "copy, merged")),
]
"""Ways to grow an optimizer's state, each another."""


@pytest.mark.nightly(2)
@pytest.mark.parametrize("name", STATES)
def test_the_state_of_an_optimizer_is_held_to_what_is_declared(root: Path, name: str) -> None:
    scene = next(scene for scene in states() if scene.name == name)
    assert grown(scene, root) is None
    spoilt = (spoilt_growth(scene, root, Random(f"{name}/{number}")) for number in count())
    outcome, fault, _ = next(found for found in spoilt if found[0] is not Outcome.EQUAL)
    assert outcome is Outcome.REFUSED, fault
