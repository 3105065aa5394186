"""The plan: its numbers, its text, its file, and what it says of a world that moved on."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.diagnostics import GrowcError
from growc.files import versions
from growc.growth.open import open_spec
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.plan.build import build_plan
from growc.plan.changes import ranges
from growc.plan.freeze import drift, open_plan, read_plan, spec_moved_on, write_plan
from growc.plan.keff import k_eff_bounds
from growc.plan.plan import Plan
from growc.plan.render import number, parameters, render
from tests.operators_cases import EXACT
from tests.small import spec

GOLDEN = Path(__file__).parent / "golden"

TRAINED: dict[str, Any] = {
    "data": {
        "sequence_length": 64,
        "train": {"kind": "python_source"},
        "parts": {"pretrain": 0.5, "cpt": 0.5},
    },
    "training": {"batch_tokens": 1024},
    "stages": [
        {"name": "pretrain", "train": {"steps": 100, "data": "pretrain"}},
        {
            "name": "upcycle",
            "from": "pretrain.stable",
            "grow": [
                {
                    "op": "expert_upcycling",
                    "routing": "exclusive",
                    "allocation": {"rule": "greedy", "cap": 2},
                    "router": {"init": "copy", "bias_noise": 1e-3},
                }
            ],
        },
        {"name": "cpt", "train": {"steps": 50, "data": "cpt"}},
    ],
    "baselines": ["fixed_source", "fixed_target"],
}
FREE: dict[str, Any] = {
    "stages": [
        {
            "name": "upcycle",
            "grow": [{"op": "expert_upcycling", **EXACT, "factor": 3, "routing": "free", "layers": [1]}],
        }
    ]
}


def plan(folder: Path, family: str = "deepseek_v3", **changes: Any) -> Plan:
    return build_plan(open_spec(spec(folder, family, **changes)))


@pytest.mark.parametrize(
    ("name", "family", "changes"), [("trained", "deepseek_v3", TRAINED), ("free", "mixtral", FREE)]
)
def test_the_text_of_a_plan_is_the_golden_one(name: str, family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    text = render(plan(tmp_path, family, **changes)) + "\n"
    golden = GOLDEN / f"{name}.txt"
    if "GROWC_WRITE_GOLDEN" in os.environ:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, {"fsdp": "sharded over all devices", "ep": "of one machine", "micro_batch": "at most 8,192 tokens"}),
        ({"parallel": {"replicate": 2, "ep": 2}}, {"fsdp": "the 2 replicas", "micro_batch": "at most 8,192 tokens"}),
        ({"parallel": {"fsdp": 4}, "training": {"batch_tokens": 1024, "micro_batch": 2}}, {"ep": "of one machine"}),
    ],
)
def test_what_is_left_to_a_run_has_its_rule(changes: dict[str, Any], said: dict[str, str], tmp_path: Path) -> None:
    planned = plan(tmp_path, **(TRAINED | changes))
    assert planned.automatic.keys() == said.keys()
    assert all(words in planned.automatic[key] for key, words in said.items())
    assert all(f"{key}: {rule}" in render(planned) for key, rule in planned.automatic.items())


def test_what_no_run_can_do_has_no_rules(tmp_path: Path) -> None:
    """A spec without data only grows checkpoints; a dense model has no experts to spread."""
    assert plan(tmp_path, **FREE).automatic == {}
    assert "auto" not in render(plan(tmp_path, **FREE))
    stages = [{"name": "p", "train": {"steps": 1, "data": "cpt"}}]
    assert plan(tmp_path, "llama", **(TRAINED | {"stages": stages, "baselines": []})).automatic.keys() == {
        "fsdp", "micro_batch",
    }  # fmt: skip


def test_stages_have_the_keys_of_the_contract(tmp_path: Path) -> None:
    planned = plan(tmp_path, **TRAINED).model_dump(mode="json", by_alias=True)
    assert [stage["name"] for stage in planned["stages"]] == [
        "pretrain", "upcycle", "cpt", "fixed_source/cpt", "fixed_target/pretrain", "fixed_target/cpt",
    ]  # fmt: skip
    for stage in planned["stages"]:
        assert stage.keys() == {"name", "kind", "from", "steps", "tokens", "model", "operators"}
        assert stage["model"].keys() == {
            "total_params", "active_params", "flops_per_token", "router_flops_per_token", "layers", "moe_layers",
            "experts", "top_k",
        }  # fmt: skip
        for operator in stage["operators"]:
            assert operator.keys() == {"op", "sites", "preserves", "tensors"}
            assert operator["tensors"].keys() == {"created", "reshaped", "copied", "dropped"}
    pretrain, upcycle, cpt = planned["stages"][:3]
    assert (pretrain["from"], upcycle["from"], cpt["from"]) == ([], ["pretrain.stable"], ["upcycle"])
    assert (pretrain["steps"], pretrain["tokens"]) == (100, 100 * 1024)
    assert (upcycle["steps"], upcycle["tokens"]) == (0, 0)
    assert (upcycle["model"]["experts"], upcycle["model"]["moe_layers"], upcycle["model"]["top_k"]) == (16, 2, 2)
    (operator,) = upcycle["operators"]
    assert operator["sites"] == ["model.layers.1.mlp", "model.layers.2.mlp"]
    assert operator["tensors"] == {"created": 0, "reshaped": 8, "copied": 39, "dropped": 0}


def test_cost_counts_a_shared_stage_once(tmp_path: Path) -> None:
    planned = plan(tmp_path, **TRAINED)
    assert planned.cost.train_tokens == {
        "main": 150 * 1024, "fixed_source": 50 * 1024, "fixed_target": 150 * 1024,
    }  # fmt: skip
    small = planned.stages[0].model.flops_per_token
    assert planned.cost.train_flops["fixed_source"] == pytest.approx(3 * small * 50 * 1024)


def test_a_growth_that_computes_for_long_says_so_before_it_starts(tmp_path: Path) -> None:
    def planned(experts: dict[str, Any]) -> Plan:
        grow = [{"op": "expert_upcycling", "experts": experts}]
        return plan(tmp_path, stages=[{"name": "upcycle", "grow": grow}])

    assert planned({"init": "copy"}).cost.grow_core_seconds == {"upcycle": 0.0}
    small = planned({"init": "svd_mix"})
    assert 0 < small.cost.grow_core_seconds["upcycle"] < 1
    assert "of one core" not in render(small)

    large = small.model_copy(update={"cost": small.cost.model_copy(update={"grow_core_seconds": {"upcycle": 5000.0}})})
    assert "    about 1.4 h of one core to compute new weights; ranks share it" in render(large)
    earlier = json.loads(small.model_dump_json(by_alias=True))
    del earlier["cost"]["grow_core_seconds"]
    assert render(Plan.model_validate(earlier)) == render(small)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    planned, path = plan(tmp_path, **TRAINED), tmp_path / "plan.json"
    write_plan(planned, path)
    assert read_plan(path) == planned
    assert render(read_plan(path)) == render(planned)
    write_plan(planned, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.json", "small.growth.yaml"]


def test_a_plan_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "plan.json", tmp_path):
        with pytest.raises(GrowcError, match="GROW604"):
            write_plan(plan(tmp_path), path)
    assert [p.name for p in tmp_path.iterdir()] == ["small.growth.yaml"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"{}", b'{"growc_plan": 2}', b"[" * 100_000, b'{"growc_plan": 1, "name": NaN}'],
)
def test_what_is_no_plan_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(GrowcError, match="GROW603"):
        read_plan(path)
    with pytest.raises(GrowcError, match="GROW603"):
        read_plan(tmp_path / "missing.json")


def test_a_key_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    values = json.loads(plan(tmp_path).model_dump_json(by_alias=True))
    path.write_text(json.dumps(values | {"novelty": 1}))
    with pytest.raises(GrowcError, match="novelty"):
        read_plan(path)


def moved(planned: Plan) -> list[str]:
    return drift(planned, open_spec(Path(planned.spec_path), planned.overrides))


def test_drift_names_the_part_that_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    path = spec(tmp_path)
    values: dict[str, Any] = dict(open_spec(path).loaded.values)
    config.write_text(json.dumps(values["model"]["config"]))
    path = spec(tmp_path, model={"config": "config.json"})
    planned = build_plan(open_spec(path, ["invariants.total_params.max=2e6"]))
    assert moved(planned) == []

    path.write_text(path.read_text() + "# a remark changes nothing\n")
    assert moved(planned) == []
    path.write_text(path.read_text().replace("name: small", "name: other"))
    assert moved(planned) == ["spec"]
    spec(tmp_path, model={"config": "config.json"})
    config.write_text(json.dumps(values["model"]["config"] | {"vocab_size": 512}))
    assert moved(planned) == ["source"]
    monkeypatch.setattr("growc.files.versions.code_digest", lambda: "other")
    assert moved(planned) == ["source"], "a typo mended in a chart is no reason to plan anew"
    monkeypatch.setitem(versions.MEANING, "numerics", 2)
    assert moved(planned) == ["source", "code"]


def test_a_plan_needs_no_spec_file(tmp_path: Path) -> None:
    path = spec(tmp_path)
    planned = build_plan(open_spec(path, ["invariants.total_params.max=2e6"]))
    nodes = open_spec(path, ["invariants.total_params.max=2e6"]).graph.nodes
    assert not spec_moved_on(planned)
    path.unlink()
    assert not spec_moved_on(planned)
    opened = open_plan(planned)
    assert [node.key for node in opened.graph.nodes] == [node.key for node in nodes]
    assert build_plan(opened) == planned
    path.write_text("name: [")
    assert spec_moved_on(planned)


def test_a_node_is_another_with_another_version_of_its_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spec(tmp_path)
    planned, before = build_plan(open_spec(path)), open_spec(path).graph
    monkeypatch.setattr(ExpertUpcycling, "version", 2)
    assert moved(planned) == ["code"]
    after = open_spec(path).graph
    grown = [node.name for node in before.grow_nodes()]
    changed = [node.name for node in before.nodes if after.node(node.name).key != node.key]
    assert grown
    assert changed[0] == grown[0], "what comes before the growth is what it was"


def test_the_code_digest_is_of_all_files() -> None:
    assert len(versions.code_digest()) == 64


def test_the_plan_can_be_read_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec(tmp_path)
    monkeypatch.chdir(tmp_path)
    planned = build_plan(open_spec(Path("small.growth.yaml")))
    monkeypatch.chdir("/")
    assert moved(planned) == []


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([0], "0"), ([0, 1, 2], "0-2"), ([1, 3], "1,3"), ([1, 3, 5, 7], "1-7 by 2"), ([0, 1, 4, 5, 9], "0-1,4-5,9"),
    ],
)  # fmt: skip
def test_ranges_of_layers(layers: list[int], text: str) -> None:
    assert ranges(layers) == text


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(1, 4))
def test_keff_bounds_are_those_over_all_orders_of_experts(replicas: list[int], top_k: int) -> None:
    top_k = min(top_k, len(replicas))

    def met(order: tuple[int, ...]) -> int:
        return next(k for k in range(1, len(order) + 1) if sum(order[:k]) >= top_k)

    counts = {met(order) for order in itertools.permutations(replicas)}
    assert k_eff_bounds(tuple(replicas), top_k) == (min(counts), max(counts))


def test_keff_is_told_for_free_and_exclusive_routing_and_not_where_it_is_unknown(tmp_path: Path) -> None:
    def told(**operator: Any) -> str:
        stage = {"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT, **operator}]}
        return plan(tmp_path, "mixtral", stages=[stage]).growth[0].k_eff

    would, will = (
        f"K_eff 1: plain top-2 over copies {verb} reach 1 distinct expert per token instead of 2"
        for verb in ("would", "will")
    )
    assert told() == f"{would}; exclusive routing keeps 2"
    assert told(routing="free") == will
    assert told(routing="free", router={"init": "split"}) == f"{would}; router split sets the copies apart"
    greedy = told(routing="free", allocation={"rule": "greedy", "cap": 2})
    assert greedy.startswith("K_eff 1 to 2: plain top-2 over copies will reach 1 to 2 distinct experts")
    assert told(allocation={"rule": "proportional"}) == ""
    single = plan(tmp_path, "llama4_text").growth[0].k_eff
    assert single == "K_eff 1: no token can meet two copies of one expert"


def test_numbers_have_a_prefix_for_their_unit() -> None:
    assert [number(n) for n in (7, 1500, 30.53e9, 1.2e21)] == ["7 ", "1.50 k", "30.53 G", "1200.00 E"]
    assert [parameters(n) for n in (7, 30.53e9, 1026.41e9)] == ["7", "30.53 B", "1026.41 B"]


@pytest.mark.parametrize(
    ("grow", "says"),
    [
        ({"routing": "free"}, "loads in stock transformers, as qwen3_moe"),
        ({"routing": "exclusive"}, "needs `import growc` to load: its layers route"),
        (
            {"routing": "free", "layers": [1]},
            "needs `import growc` to load: its layers differ",
        ),
    ],
)
def test_what_it_takes_to_load_the_grown_model_is_said_before_it_is_made(
    tmp_path: Path, grow: dict[str, Any], says: str
) -> None:
    stages = [{"name": "upcycle", "grow": [{"op": "expert_upcycling", **grow}]}]
    found = plan(tmp_path, "qwen3_moe", stages=stages)
    assert found.growth[0].loads.startswith(says)
    assert says in render(found)


def test_layers_that_move_share_a_line(tmp_path: Path) -> None:
    stage = {"name": "deeper", "grow": [{"op": "deepen", "order": {"rule": "interpose"}, "start": "closed"}]}
    text = render(plan(tmp_path, "qwen3", stages=[stage]))
    assert re.search(r"~ model\.layers\.\{1\} +x9 +layers 0 of the source\n", text)
    assert re.search(r"\+ model\.layers\.\{2-3\} +x20 +layers 1,1 of the source\n", text)
    assert re.search(r"~ model\.layers\.\{1\}\.mlp\.down_proj\.weight +x1 .* 0\n", text)
