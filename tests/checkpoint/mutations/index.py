"""Indexes of sharded checkpoints that lie, or lead elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.checkpoint.mutations.scene import (
    INDEX,
    Case,
    Mutation,
    Spoil,
    replace_by_folder,
    replace_by_link,
    replace_by_pipe,
)


def _text(change: Callable[[bytes], bytes]) -> Spoil:
    """The index's text becomes a function of what it was."""

    def spoil(case: Case) -> str:
        path = case.source / INDEX
        path.write_bytes(change(path.read_bytes()))
        return INDEX

    return spoil


def _whole(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """The index becomes a function of what it was."""

    def spoil(case: Case) -> str:
        case.write_json(INDEX, change(case.json(INDEX)))
        return INDEX

    return spoil


def _map(change: Callable[[Any], Any]) -> Spoil:
    return _whole(lambda index: index | {"weight_map": change(index["weight_map"])})


def _leads_to(file: Any, *, everywhere: bool = False) -> Spoil:
    """Some tensor (or every one) is put in another file."""

    def spoil(case: Case) -> tuple[str, ...]:
        index = case.json(INDEX)
        names = sorted(index["weight_map"])
        chosen = names if everywhere else [case.rng.choice(names)]
        index["weight_map"].update(dict.fromkeys(chosen, file))
        case.write_json(INDEX, index)
        return (INDEX, repr(file), str(file), *chosen)

    return spoil


def _without(case: Case) -> str:
    index = case.json(INDEX)
    gone = case.rng.choice(sorted(index["weight_map"]))
    del index["weight_map"][gone]
    case.write_json(INDEX, index)
    return gone


def _without_a_file(case: Case) -> str:
    index = case.json(INDEX)
    gone = case.rng.choice(sorted(set(index["weight_map"].values())))
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if file != gone}
    case.write_json(INDEX, index)
    return "is missing"


def _with_more(case: Case) -> str:
    index = case.json(INDEX)
    index["weight_map"]["model.more.weight"] = case.rng.choice(sorted(index["weight_map"].values()))
    case.write_json(INDEX, index)
    return "model.more.weight"


def _swapped(case: Case) -> tuple[str, ...]:
    index = case.json(INDEX)
    found = index["weight_map"]
    one, other = case.rng.sample(sorted(set(found.values())), 2)
    first, second = (case.rng.choice([n for n, file in found.items() if file == f]) for f in (one, other))
    found[first], found[second] = other, one
    case.write_json(INDEX, index)
    return (first, second)


def _another_tensors_file(case: Case) -> str:
    index = case.json(INDEX)
    found = index["weight_map"]
    name = case.rng.choice(sorted(found))
    found[name] = case.rng.choice(sorted(set(found.values()) - {found[name]}))
    case.write_json(INDEX, index)
    return name


def _gone(case: Case) -> str:
    path = case.weights().path
    path.unlink()
    return path.name


def _renamed(case: Case) -> str:
    path = case.weights().path
    path.rename(path.with_name("renamed.safetensors"))
    return path.name


def _exchanged(case: Case) -> tuple[str, ...]:
    one, other = case.rng.sample(sorted(case.source.glob("*.safetensors")), 2)
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return (one.name, other.name)


def _one_file_for_all(case: Case) -> tuple[str, ...]:
    first, *others = sorted(case.source.glob("*.safetensors"))
    for other in others:
        other.write_bytes(first.read_bytes())
    return tuple(path.name for path in (first, *others))


def _in_a_folder(case: Case) -> str:
    """A shard that truly lies in a folder within: still not a plain name."""
    path = case.weights().path
    (case.source / "shards").mkdir()
    path.rename(case.source / "shards" / path.name)
    index = case.json(INDEX)
    index["weight_map"] = {n: f"shards/{f}" if f == path.name else f for n, f in index["weight_map"].items()}
    case.write_json(INDEX, index)
    return f"shards/{path.name}"


def _outside(case: Case) -> str:
    """A whole shard that lies beside the folder."""
    path = case.weights().path
    path.rename(case.there.root / path.name)
    index = case.json(INDEX)
    index["weight_map"] = {n: f"../{f}" if f == path.name else f for n, f in index["weight_map"].items()}
    case.write_json(INDEX, index)
    return f"../{path.name}"


def _removed(case: Case) -> str:
    (case.source / INDEX).unlink()
    return INDEX


def _inside_out(case: Case) -> str:
    index = case.json(INDEX)
    case.write_json(INDEX, {"weight_map": {file: name for name, file in index["weight_map"].items()}})
    return "the index"


def _key_twice(text: bytes) -> bytes:
    return text.replace(b'"weight_map": {', b'"weight_map": {"lm_head.weight": "x.safetensors", ')


INDEXES: dict[str, Spoil] = {
    "no index": _removed,
    "empty": _text(lambda _text: b""),
    "not JSON": _text(lambda _text: b"weights"),
    "half": _text(lambda text: text[: len(text) // 2]),
    "trailing comma": _text(lambda text: text.replace(b"}", b",}")),
    "trailing text": _text(lambda text: text + b"{}"),
    "bad UTF-8": _text(lambda text: text.replace(b"weight", b"\xff", 1)),
    "tensor twice": _text(_key_twice),
    "weight_map twice": _text(lambda text: text.rstrip()[:-1] + b', "weight_map": {}}'),
    "deep nesting": _text(lambda _text: b'{"weight_map":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "huge number": _text(lambda _text: b'{"weight_map": ' + b"9" * 5000 + b"}"),
    "a list": _whole(lambda index: [index]),
    "null": _whole(lambda _index: None),
    "a text": _whole(lambda _index: "weight_map"),
    "no weight_map": _whole(lambda index: {"metadata": index["metadata"]}),
    "misspelt weight_map": _whole(lambda index: {"weights_map": index["weight_map"]}),
    "weight_map is null": _map(lambda _found: None),
    "weight_map is empty": _map(lambda _found: {}),
    "weight_map is a list": _map(list),
    "weight_map is a text": _map(lambda _found: "model.safetensors"),
    "weight_map is of pairs": _map(lambda found: [*found.items()]),
    "weight_map the other way round": _inside_out,
    "file is null": _leads_to(None),
    "file is a number": _leads_to(1),
    "file is a list": _leads_to(["model.safetensors"]),
    "file is a mapping": _leads_to({"file": "model.safetensors"}),
    "file is empty": _leads_to(""),
    "file is a dot": _leads_to("."),
    "file is the parent": _leads_to(".."),
    "file above": _leads_to("../secret.safetensors"),
    "file above and back": _leads_to("../source/model-00001-of-00002.safetensors"),
    "file is absolute": _leads_to("/etc/passwd"),
    "file is absolute weights": _leads_to("/tmp/model.safetensors"),
    "file is below": _leads_to("./model.safetensors"),
    "file with a backslash": _leads_to("..\\secret.safetensors"),
    "file on a drive": _leads_to("C:secret.safetensors"),
    "file with NUL": _leads_to("model\0.safetensors"),
    "file with a lone surrogate": _leads_to("model\ud800.safetensors"),
    "file with a long name": _leads_to("m" * 5000 + ".safetensors"),
    "file is a pickle": _leads_to("pytorch_model.bin"),
    "files are pickles": _leads_to("pytorch_model.bin", everywhere=True),
    "file is a config": _leads_to("config.json"),
    "file does not exist": _leads_to("model-9.safetensors"),
    "file in other case": _leads_to("MODEL-00001.SAFETENSORS"),
    "file with a space": _leads_to("model-00001.safetensors "),
    "file really lies in a folder": _in_a_folder,
    "file really lies outside": _outside,
    "tensor left out": _without,
    "file left out": _without_a_file,
    "tensor made up": _with_more,
    "tensors swapped": _swapped,
    "tensor in another file": _another_tensors_file,
    "file gone": _gone,
    "file renamed": _renamed,
    "files exchanged": _exchanged,
    "one file for all": _one_file_for_all,
    "index is a folder": lambda case: replace_by_folder(case.source / INDEX) or INDEX,
    "index is a pipe": lambda case: replace_by_pipe(case.source / INDEX) or INDEX,
    "index is a dangling link": lambda case: replace_by_link(case.source / INDEX, "nowhere") or INDEX,
    "index links to itself": lambda case: replace_by_link(case.source / INDEX, INDEX) or INDEX,
    "index is endless": lambda case: replace_by_link(case.source / INDEX, "/dev/zero") or INDEX,
}  # fmt: skip
"""Indexes that cannot be followed, by what is wrong."""


def mutations() -> list[Mutation]:
    """Every index for the plain family, every fourth for the fused one."""
    spoils = [("sharded", [*INDEXES.items()]), ("fused", [*INDEXES.items()][::4])]
    return [Mutation("index", what, base, spoil) for base, some in spoils for what, spoil in some]
