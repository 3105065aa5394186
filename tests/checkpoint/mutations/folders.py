"""Folders with pipes, links and folders where files should be."""

from __future__ import annotations

from pathlib import Path

from tests.checkpoint.mutations.scene import (
    INDEX,
    SINGLE,
    Case,
    Mutation,
    Spoil,
    replace_by_folder,
    replace_by_link,
    replace_by_pipe,
)


def _weights_as_pipe(case: Case) -> str:
    path = case.weights().path
    replace_by_pipe(path)
    return path.name


def _weights_as_folder(case: Case) -> str:
    path = case.weights().path
    replace_by_folder(path)
    return path.name


def _weights_linked(target: str) -> Spoil:
    def spoil(case: Case) -> tuple[str, ...]:
        path = case.weights().path
        replace_by_link(path, target)
        return (path.name,)

    return spoil


def _weights_in_a_loop(case: Case) -> str:
    path = case.weights().path
    replace_by_link(path, "aside")
    (case.source / "aside").symlink_to(path.name)
    return path.name


def _weights_link_to_a_folder(case: Case) -> str:
    path = case.weights().path
    replace_by_link(path, case.there.root)
    return path.name


def _weights_link_to_a_pipe(case: Case) -> str:
    path = case.weights().path
    replace_by_pipe(case.there.root / "blob")
    replace_by_link(path, "../blob")
    return path.name


def _weights_link_to_a_damaged_blob(case: Case) -> str:
    path = case.weights().path
    (case.there.root / "blob").write_bytes(path.read_bytes()[:-1])
    replace_by_link(path, "../blob")
    return path.name


def _dangling_single(case: Case) -> str:
    """Beside a good index: what the folder's author meant cannot be known."""
    replace_by_link(case.source / SINGLE, "../gone")
    return SINGLE


def _single_is_a_folder(case: Case) -> str:
    (case.source / SINGLE).mkdir()
    return SINGLE


def _pickles(case: Case) -> str:
    for path in (*case.source.glob("*.safetensors"), case.source / INDEX):
        path.unlink(missing_ok=True)
    (case.source / "pytorch_model.bin").write_bytes(b"pickle")
    return "pytorch_model.bin"


def _adapter(case: Case) -> str:
    case.write_json("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "elsewhere"})
    return "adapter_config.json"


def _no_source(case: Case) -> str:
    case.source.rename(case.there.root / "elsewhere")
    return "source"


def _source_is_a_file(case: Case) -> str:
    _no_source(case)
    case.source.write_text("")
    return "source"


def _source_is_a_loop(case: Case) -> str:
    _no_source(case)
    case.source.symlink_to("source")
    return "source"


def _companion(name: str, kind: str) -> Spoil:
    def spoil(case: Case) -> str:
        path = case.source / name
        path.parent.mkdir(exist_ok=True)
        match kind:
            case "folder":
                replace_by_folder(path)
            case "pipe":
                replace_by_pipe(path)
            case "dangling":
                replace_by_link(path, "../blobs/gone")
            case "loop":
                replace_by_link(path, path.name)
            case _:
                replace_by_link(path, "/dev/zero")
        return Path(name).name

    return spoil


def _lineage(text: bytes) -> Spoil:
    def spoil(case: Case) -> str:
        (case.source / "growth.json").write_bytes(text)
        return "growth.json"

    return spoil


FOLDERS: dict[str, Spoil] = {
    "weights are a pipe": _weights_as_pipe,
    "weights are a folder": _weights_as_folder,
    "weights are a dangling link": _weights_linked("../blobs/gone"),
    "weights link to a device": _weights_linked("/dev/zero"),
    "weights link to nothing": _weights_linked("/dev/null"),
    "weights link to a config": _weights_linked("config.json"),
    "weights in a loop": _weights_in_a_loop,
    "weights link to a folder": _weights_link_to_a_folder,
    "weights link to a pipe": _weights_link_to_a_pipe,
    "weights link to a damaged blob": _weights_link_to_a_damaged_blob,
    "pickles only": _pickles,
    "an adapter": _adapter,
    "no source": _no_source,
    "source is a file": _source_is_a_file,
    "source is a loop": _source_is_a_loop,
}

OF_SHARDS: dict[str, Spoil] = {
    "a dangling single file": _dangling_single,
    "a folder for a single file": _single_is_a_folder,
}

COMPANIONS = (
    "tokenizer.json", "tokenizer_config.json", "generation_config.json", "vocab.json", "merges.txt",
    "tokenizer.model", "chat_template.jinja", "additional_chat_templates/tool.jinja", "growth.json", "README.md",
)  # fmt: skip
KINDS = ("folder", "pipe", "dangling", "loop", "device")

BESIDE: dict[str, Spoil] = {
    f"{Path(name).name} is a {kind}": _companion(name, kind) for name in COMPANIONS for kind in KINDS
}

LINEAGES: dict[str, Spoil] = {
    "lineage empty": _lineage(b""),
    "lineage not JSON": _lineage(b"stage: x"),
    "lineage a list": _lineage(b"[]"),
    "lineage null": _lineage(b"null"),
    "lineage with a key twice": _lineage(b'{"a": 1, "a": 2}'),
    "lineage not UTF-8": _lineage(b'{"a": "\xff"}'),
    "lineage deep": _lineage(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "lineage half": _lineage(b'{"stage": "b'),
}


def mutations() -> list[Mutation]:
    """Tricks with weights for each base; what lies beside them is the same for all."""
    spoils = [
        ("single", FOLDERS | BESIDE | LINEAGES),
        ("sharded", FOLDERS | OF_SHARDS),
        ("fused", dict([*FOLDERS.items()][::3]) | OF_SHARDS),
    ]
    return [Mutation("folder", what, base, spoil) for base, some in spoils for what, spoil in some.items()]
