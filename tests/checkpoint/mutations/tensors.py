"""Weights that are well-formed files, and not those of their config."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.checkpoint.mutations.scene import INDEX, SINGLE, Case, Mutation, Spoil, Weights

RowSlice = dict[str, tuple[str, list[int], bytes]]
Names = tuple[str, ...]


def _relaid(change: Callable[[RowSlice, Case], str | Names]) -> Spoil:
    """The tensors of some file, changed, laid out anew; the index follows, where there is one."""

    def spoil(case: Case) -> str | Names:
        weights = case.weights()
        return relay(case, weights, change)

    return spoil


def _relaid_at(suffix: str, change: Callable[[RowSlice, str], str | Names]) -> Spoil:
    """The same for the file that holds some tensor whose name ends so."""

    def spoil(case: Case) -> str | Names:
        name = case.rng.choice([name for name in case.tensors() if name.endswith(suffix)])
        return relay(case, case.holding(name), lambda held, _: change(held, name))

    return spoil


def relay(case: Case, weights: Weights, change: Callable[[RowSlice, Case], str | Names]) -> str | Names:
    before, held = set(weights.names), weights.held()
    names = change(held, case)
    weights.lay_out(held)
    weights.write()
    if (case.source / INDEX).exists():
        index = case.json(INDEX)
        for name in before - held.keys():
            index["weight_map"].pop(name)
        index["weight_map"].update(dict.fromkeys(held.keys() - before, weights.path.name))
        case.write_json(INDEX, index)
    return names


def _some(held: RowSlice, case: Case) -> str:
    return case.rng.choice(sorted(held))


def _missing(held: RowSlice, case: Case) -> Names:
    name = _some(held, case)
    del held[name]
    return _around(name)


def _around(name: str) -> Names:
    """A tensor's name, or that of the tensor in memory that it is a part of."""
    stem = name.removesuffix(".weight")
    return (name, stem.rpartition(".")[0], stem.split(".experts.")[0])


def _extra(held: RowSlice, case: Case) -> str:
    held["model.extra.weight"] = ("F32", [2], bytes(8))
    return "model.extra.weight"


def _renamed(change: Callable[[str], str]) -> Callable[[RowSlice, Case], Names]:
    def rename(held: RowSlice, case: Case) -> Names:
        name = _some(held, case)
        held[change(name)] = held.pop(name)
        return (change(name), repr(change(name)), *_around(name))

    return rename


def _reshaped(held: RowSlice, case: Case) -> Names:
    name = case.rng.choice([name for name, (_, shape, _) in sorted(held.items()) if len(shape) > 1])
    dtype, shape, data = held[name]
    held[name] = dtype, [*shape[:-2], shape[-2] * shape[-1]], data
    return _around(name)


def _transposed(held: RowSlice, name: str) -> Names:
    dtype, shape, data = held[name]
    held[name] = dtype, [*shape[:-2], shape[-1], shape[-2]], data
    return _around(name)


def _a_row_less(held: RowSlice, case: Case) -> Names:
    name = _some(held, case)
    dtype, shape, data = held[name]
    held[name] = dtype, [shape[0] - 1, *shape[1:]], data[: len(data) // shape[0] * (shape[0] - 1)]
    return _around(name)


def _a_row_more(held: RowSlice, case: Case) -> Names:
    name = _some(held, case)
    dtype, shape, data = held[name]
    held[name] = dtype, [shape[0] + 1, *shape[1:]], data + data[: len(data) // shape[0]]
    return _around(name)


def _scalar(held: RowSlice, case: Case) -> Names:
    name = _some(held, case)
    held[name] = "F32", [], bytes(4)
    return _around(name)


def _empty(held: RowSlice, case: Case) -> Names:
    name = _some(held, case)
    held[name] = "F32", [0], b""
    return _around(name)


def _of_dtype(dtype: str, size: int) -> Callable[[RowSlice, Case], Names]:
    """Some tensor is stored, in its shape, as another kind of number."""

    def store(held: RowSlice, case: Case) -> Names:
        name = _some(held, case)
        _, shape, data = held[name]
        held[name] = dtype, shape, bytes(len(data) // 4 * size)
        return _around(name)

    return store


def _expert(to: str) -> Callable[[RowSlice, str], Names]:
    """The third expert's projection is stored under another number."""

    def rename(held: RowSlice, name: str) -> Names:
        held[name.replace(".experts.3.", f".experts.{to}.")] = held.pop(name)
        return (name.replace(".experts.3.", f".experts.{to}."), *_around(name))

    return rename


def _one_expert_more(held: RowSlice, name: str) -> Names:
    more = name.replace(".experts.3.", ".experts.8.")
    held[more] = held[name]
    return (more, *_around(more))


def _expert_twice(held: RowSlice, name: str) -> Names:
    more = name.replace(".experts.3.", ".experts.03.")
    held[more] = held[name]
    return (more, *_around(more))


def _in_two_files(case: Case) -> str:
    one, other = (Weights.read(path, case.rng) for path in sorted(case.source.glob("*.safetensors"))[:2])
    name = case.rng.choice(one.names)
    other.lay_out(other.held() | {name: one.held()[name]})
    other.write()
    return name


def _twice_under_two_names(case: Case) -> str | Names:
    name = "model.norm.weight"
    weights = case.holding(name)
    return relay(case, weights, lambda held, _: held.update({"norm.weight": held[name]}) or ("norm.weight", name))


def _all_shards_in_one(case: Case) -> str:
    """A single file with less than all: it comes before the index, as transformers has it."""
    first = case.weights()
    (case.source / SINGLE).write_bytes(first.path.read_bytes())
    return "is missing"


def _no_tensors(case: Case) -> Names:
    for path in case.source.glob("*.safetensors"):
        path.write_bytes((2).to_bytes(8, "little") + b"{}")
    if (case.source / INDEX).exists():
        case.write_json(INDEX, json.loads('{"weight_map": {}}'))
    return ("is missing", INDEX)


TENSORS: dict[str, Spoil] = {
    "missing": _relaid(_missing),
    "missing norm": _relaid_at("model.norm.weight", lambda held, name: held.pop(name) and name),
    "missing head": _relaid_at("lm_head.weight", lambda held, name: held.pop(name) and name),
    "extra": _relaid(_extra),
    "renamed": _relaid(_renamed(lambda name: name + "s")),
    "upper case": _relaid(_renamed(str.upper)),
    "with a space": _relaid(_renamed(lambda name: name + " ")),
    "with a newline": _relaid(_renamed(lambda name: name + "\n")),
    "with a prefix": _relaid(_renamed(lambda name: "x" + name)),
    "with a superscript": _relaid(_renamed(lambda name: f"model.layers.².{name}")),
    "of layer 7": _relaid_at("input_layernorm.weight", lambda held, name: _moved(held, name, "layers.7")),
    "of layer 00": _relaid_at("input_layernorm.weight", lambda held, name: _moved(held, name, "layers.00")),
    "flattened": _relaid(_reshaped),
    "transposed": _relaid_at("k_proj.weight", _transposed),
    "a row less": _relaid(_a_row_less),
    "a row more": _relaid(_a_row_more),
    "a scalar": _relaid(_scalar),
    "empty": _relaid(_empty),
    "as bytes": _relaid(_of_dtype("U8", 1)),
    "as integers": _relaid(_of_dtype("I32", 4)),
    "as booleans": _relaid(_of_dtype("BOOL", 1)),
    "as complex numbers": _relaid(_of_dtype("C64", 8)),
    "as scales": _relaid(_of_dtype("F8_E8M0", 1)),
    "as long integers": _relaid(_of_dtype("I64", 8)),
    "under two names": _twice_under_two_names,
    "none at all": _no_tensors,
}

OF_SHARDS: dict[str, Spoil] = {
    "in two files": _in_two_files,
    "a single file with a part": _all_shards_in_one,
}


def _moved(held: RowSlice, name: str, to: str) -> Names:
    new = name.replace("layers.0", to).replace("layers.1", to)
    held[new] = held.pop(name)
    return (new, name)


OF_EXPERTS: dict[str, Spoil] = {
    f"{what} of {projection}": _relaid_at(f".experts.3.{projection}_proj.weight", change)
    for projection in ("up", "down")
    for what, change in {
        "expert 9 for 3": _expert("9"),
        "expert 03 for 3": _expert("03"),
        "expert x for 3": _expert("x"),
        "expert -3 for 3": _expert("-3"),
        "expert 3.5 for 3": _expert("3.5"),
        "expert 99999999999999999999 for 3": _expert("9" * 20),
        "one expert more": _one_expert_more,
        "an expert twice": _expert_twice,
    }.items()
}
"""For families that store every expert by itself."""


def mutations() -> list[Mutation]:
    """Every change to each base that can have it."""
    spoils = [
        ("single", TENSORS | OF_EXPERTS),
        ("sharded", TENSORS | OF_EXPERTS | OF_SHARDS),
        ("fused", TENSORS | OF_SHARDS),
    ]
    return [Mutation("tensor", what, base, spoil) for base, some in spoils for what, spoil in some.items()]
