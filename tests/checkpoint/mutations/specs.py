"""Specs and calls with mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.checkpoint.mutations.scene import Case, Mutation, Spoil, replace_by_folder, replace_by_link, replace_by_pipe

SPEC = "test.growth.yaml"


def _spec(change: Callable[[dict[str, Any]], Any], *names: str) -> Spoil:
    """The spec, changed in place or by what `change` gives."""

    def spoil(case: Case) -> tuple[str, ...]:
        spec = json.loads(case.there.spec.read_text())
        made = change(spec)
        case.there.spec.write_text(json.dumps(spec if made is None else made))
        return (*names, SPEC)

    return spoil


def _operator(**values: Any) -> Spoil:
    """The operator with these values."""
    return _spec(lambda spec: spec["stages"][0]["grow"][0].update(values), *values, *map(str, values.values()))


def _text(change: Callable[[str], str], *names: str) -> Spoil:
    def spoil(case: Case) -> tuple[str, ...]:
        case.there.spec.write_text(change(case.there.spec.read_text()))
        return (*names, SPEC)

    return spoil


def _stage(name: str) -> Spoil:
    def spoil(case: Case) -> str:
        case.stage = name
        return repr(name)

    return spoil


def _set(*overrides: str, says: str) -> Spoil:
    def spoil(case: Case) -> tuple[str, ...]:
        case.overrides = overrides
        return (says, "--set", *overrides)

    return spoil


def _misspelt(old: str, new: str) -> Spoil:
    return _text(lambda text: text.replace(f'"{old}"', f'"{new}"', 1), new, old)


SPECS: dict[str, Spoil] = {
    "empty": _text(lambda _text: ""),
    "a list": _text(lambda text: f"[{text}]"),
    "half": _text(lambda text: text[: len(text) // 2]),
    "a tab": _text(lambda _text: "growth: 1\n\tname: x\n"),
    "NUL": _text(lambda text: text + "\0"),
    "two documents": _text(lambda text: f"{text}\n---\n{text}"),
    "a tag": _text(lambda _text: "growth: !!python/object/apply:os.getcwd []\n"),
    "an alias to itself": _text(lambda _text: "growth: &a [*a]\n"),
    "key twice": _text(lambda text: text.replace("{", '{"name": "other", ', 1), "name"),
    "deep": _text(lambda _text: "[" * 5000),
    "too large": _text(lambda text: text + " " * 600_000),
    "growth misspelt": _misspelt("growth", "grow"),
    "stages misspelt": _misspelt("stages", "stage"),
    "model misspelt": _misspelt("model", "modle"),
    "config misspelt": _misspelt("config", "conifg"),
    "grow misspelt": _misspelt("grow", "gorw"),
    "op misspelt": _misspelt("op", "opp"),
    "routing misspelt": _misspelt("routing", "rooting"),
    "router misspelt": _misspelt("router", "ruoter"),
    "init misspelt": _misspelt("init", "innit"),
    "operator misspelt": _misspelt("expert_upcycling", "expert_upcylcing"),
    "a key of the model misspelt": _misspelt("num_experts_per_tok", "num_expert_per_tok"),
    "version 2": _spec(lambda spec: spec.update(growth=2), "version"),
    "no stages": _spec(lambda spec: spec.pop("stages") and None, "stage"),
    "empty stages": _spec(lambda spec: spec.update(stages=[]), "stage"),
    "stages a mapping": _spec(lambda spec: spec.update(stages={"a": 1}), "stages"),
    "two stages of one name": _spec(lambda spec: spec.update(stages=spec["stages"] * 2), "upcycle"),
    "a stage that does nothing": _spec(lambda spec: spec["stages"][0].pop("grow") and None, "upcycle"),
    "another family": _spec(lambda spec: spec["model"]["config"].update(model_type="qwen3"), "model_type", "experts"),
    "another number of experts": _spec(lambda spec: spec["model"]["config"].update(num_local_experts=4), "experts"),
    "another depth": _spec(lambda spec: spec["model"]["config"].update(num_hidden_layers=1), "layers"),
    "another width": _spec(lambda spec: spec["model"]["config"].update(hidden_size=64), "shape"),
    "another vocabulary": _spec(lambda spec: spec["model"]["config"].update(vocab_size=255), "shape"),
    "no model": _spec(lambda spec: spec.pop("model") and None, "model"),
    "two models": _spec(lambda spec: spec["model"].update(path="source"), "sources"),
    "a model of code": _spec(lambda spec: spec.update(model={"module": "evil:build"}), "module", "code"),
    "a model that is nowhere": _spec(lambda spec: spec.update(model={"path": "nowhere"}), "nowhere"),
    "a model above": _spec(lambda spec: spec.update(model={"path": ".."}), "config.json"),
    "a seed of text": _spec(lambda spec: spec.update(training={"seed": "x"}), "seed"),
    "an unknown section": _spec(lambda spec: spec.update(surprise=1), "surprise"),
    "factor 0": _operator(factor=0),
    "factor 1": _operator(factor=1),
    "factor -2": _operator(factor=-2),
    "factor of text": _operator(factor="two"),
    "factor a fraction": _operator(factor=2.5),
    "routing unknown": _operator(routing="sideways"),
    "top_k unknown": _operator(top_k="most"),
    "layers out of range": _operator(layers=[7]),
    "layers negative": _operator(layers=[-1]),
    "layers of text": _operator(layers="some"),
    "layers twice": _operator(layers=[1, 1]),
    "layers empty": _operator(layers=[]),
    "router unknown": _operator(router={"init": "nonsense"}),
    "router of text": _operator(router="copy"),
    "router with nonsense": _operator(router={"init": "copy", "nonsense": 1}),
    "experts unknown": _operator(experts={"init": "nonsense"}),
    "noise of text": _operator(router={"init": "copy", "bias_noise": "much"}),
    "noise negative": _operator(router={"init": "copy", "bias_noise": -1}),
    "allocation unknown": _operator(allocation={"rule": "nonsense"}),
    "replicas too few": _operator(allocation={"rule": "explicit", "replicas": [2, 2]}),
    "replicas of zero": _operator(allocation={"rule": "explicit", "replicas": [0, 4, 2, 2, 2, 2, 2, 2]}),
    "replicas that do not add up": _operator(allocation={"rule": "explicit", "replicas": [2] * 7 + [3]}),
    "replicas without end": _operator(allocation={"rule": "explicit", "replicas": [10**18] * 8}),
    "a score that needs gradients": _operator(allocation={"rule": "greedy", "score": "saliency", "cap": 3}),
    "a cap too low": _operator(allocation={"rule": "greedy", "score": "weight_norm", "cap": 0}),
    "an unknown key": _operator(surprise=1),
    "a null key": _operator(routing=None),
    "stage misspelt": _stage("upcylce"),
    "stage empty": _stage(""),
    "stage with a path": _stage("../upcycle"),
    "stage in other case": _stage("Upcycle"),
    "set without a value": _set("training.seed", says="--set"),
    "set of nothing": _set("", says="--set"),
    "set with an unknown key": _set("training.sead=1", says="sead"),
    "set through a list": _set("stages[7].name=x", says="stages"),
    "set with a wrong type": _set("training.seed=x", says="seed"),
    "set of another family": _set("model.config.model_type=mixtral", says="mixtral"),
    "set of broken YAML": _set("training.seed=[", says="--set"),
    "spec gone": lambda case: case.there.spec.unlink() or SPEC,
    "spec a folder": lambda case: replace_by_folder(case.there.spec) or SPEC,
    "spec a pipe": lambda case: replace_by_pipe(case.there.spec) or SPEC,
    "spec a loop": lambda case: replace_by_link(case.there.spec, SPEC) or SPEC,
    "spec endless": lambda case: replace_by_link(case.there.spec, "/dev/zero") or SPEC,
}  # fmt: skip


def mutations() -> list[Mutation]:
    """All for one family, some for the fused one."""
    spoils = [("single", [*SPECS.items()]), ("fused", [*SPECS.items()][40:68:3])]
    return [Mutation("spec", what, base, spoil) for base, some in spoils for what, spoil in some]
