"""Changes that mean nothing: the result is the undisturbed one, but for keys of the config and files that go along."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.checkpoint.mutations.scene import INDEX, Case, Weights

Change = Callable[[Case], tuple[str, ...] | None]
"""Changes a case, and may give the keys of the config, and the files, that go along."""

CONFIG = "config.json"


def _header(change: Callable[[Weights], object]) -> Change:
    def apply(case: Case) -> None:
        weights = case.weights()
        change(weights)
        weights.write()

    return apply


def _config(**values: Any) -> Change:
    def apply(case: Case) -> None:
        case.write_json(CONFIG, case.json(CONFIG) | values)

    return apply


def _surprise(case: Case) -> tuple[str, ...]:
    case.write_json(CONFIG, case.json(CONFIG) | {"surprise": {"a": [1]}})
    return ("surprise",)


def _carried(**values: Any) -> Change:
    def apply(case: Case) -> tuple[str, ...]:
        case.write_json(CONFIG, case.json(CONFIG) | values)
        return tuple(values)

    return apply


def _code(case: Case) -> tuple[str, ...]:
    """A model that brings its own code, which would leave a file behind if it ran."""
    case.write_json(CONFIG, case.json(CONFIG) | {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}})
    (case.source / "evil.py").write_text(f"open({str(case.there.root / 'evil')!r}, 'w')")
    return ("auto_map", "evil.py")


def _reversed(weights: Weights) -> None:
    weights.fields = dict(reversed(weights.fields.items()))


def _without_metadata(weights: Weights) -> None:
    weights.fields.pop("__metadata__", None)


def _spread_out(case: Case) -> None:
    path = case.source / CONFIG
    path.write_text(json.dumps(case.json(CONFIG), indent=7) + "\n\n")


def _in_the_other_order(case: Case) -> None:
    case.write_json(CONFIG, dict(reversed(case.json(CONFIG).items())))


def _former_dtype(case: Case) -> tuple[str, ...]:
    config = case.json(CONFIG)
    case.write_json(CONFIG, config | {"torch_dtype": config["dtype"]})
    return ("torch_dtype",)


def _linked(case: Case) -> None:
    """As a cache of the hub has it: every file is a link to a blob elsewhere."""
    blobs = case.there.root / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in case.source.iterdir() if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(f"../blobs/{number}")


def _linked_folder(case: Case) -> None:
    case.source.rename(case.there.root / "elsewhere")
    case.source.symlink_to("elsewhere")


def _more_files(case: Case) -> None:
    (case.source / "pytorch_model.bin").write_bytes(b"pickle")
    (case.source / "consolidated.safetensors").write_bytes(b"of another format")
    (case.source / "original").mkdir()


def _index_beside(case: Case) -> None:
    """A stale index: where there is a single file, transformers and growc take that."""
    if not (case.source / INDEX).exists():
        case.write_json(INDEX, {"weight_map": {"a": "gone.safetensors"}})


def _index_metadata(case: Case) -> None:
    if (case.source / INDEX).exists():
        case.write_json(INDEX, case.json(INDEX) | {"metadata": {"total_size": -1}})


HARMLESS: dict[str, Change] = {
    "nothing": lambda _: None,
    "header in the other order": _header(_reversed),
    "header padded": _header(lambda weights: setattr(weights, "header", weights.text + b" " * 100)),
    "header with escapes": _header(
        lambda weights: setattr(weights, "header", weights.text.replace(b"weight", b"\\u0077eight"))
    ),
    "header without metadata": _header(_without_metadata),
    "header with more metadata": _header(lambda weights: weights.fields.update({"__metadata__": {"a": "b"}})),
    "config spread out": _spread_out,
    "config in the other order": _in_the_other_order,
    "an unknown key": _surprise,
    "code that comes along": _code,
    "trust in code": _carried(_attn_implementation="evil", auto_map={"AutoConfig": "x--y.Evil"}),
    "another class": _config(architectures=["EvilForCausalLM"]),
    "another version": _carried(transformers_version="99.0"),
    "dtype under its former name": _former_dtype,
    "experts under both names": lambda case: case.write_json(
        CONFIG, case.json(CONFIG) | {"num_experts": case.json(CONFIG)["num_local_experts"]}
    ),
    "links to blobs": _linked,
    "a link to the folder": _linked_folder,
    "files of no interest": _more_files,
    "an index beside": _index_beside,
    "index with other metadata": _index_metadata,
}
