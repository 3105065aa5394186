"""Everything beside the weights goes along byte for byte, except what holds the model as it was, and that is said."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import filter_repo_objects

from growc.diagnostics import Diagnostic, GrowcError, Severity
from growc.files.beside import beside
from growc.model.hub import UNWANTED
from tests.checkpoint.folders import Place, place, read

TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tiktoken.model", "tekken.json", "vocab.bpe",
    "spiece.model",
    "sentencepiece.bpe.model", "qwen.tiktoken", "tokenization_kimi.py", "encoder.json", "bpe.codes", "tokenizer.pkl",
)  # fmt: skip
OTHERS = (
    "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json", "modeling_own.py", "LICENSE",
    "LICENSE.txt", "NOTICE", "USE_POLICY.md", "chat_template.jinja", ".gitattributes", "assets/logo.png",
    "additional_chat_templates/tool_use.jinja", "deep/er/still.txt",
)  # fmt: skip
OLD = (
    "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model-q4.gguf", "consolidated.00.pth", "params.json",
    "consolidated.safetensors", "deep/adapter.safetensors", "optimizer.pt", "trainer_state.json",
)  # fmt: skip
SILENT = ("pytorch_model.bin.index.json", ".git/HEAD", ".cache/huggingface/x.lock", "__pycache__/modeling_own.pyc")


@pytest.fixture
def there(tmp_path: Path) -> Place:
    return place(tmp_path, "qwen3_moe", {})


def put(folder: Path, *names: str) -> dict[str, bytes]:
    """Files with contents of their own, which no reader could take for what their names say."""
    found = {name: f"\0{name}\r\n".encode() for name in names}
    for name, content in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return found


def held(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_everything_goes_along_but_what_holds_the_old_model(there: Place) -> None:
    own = {"README.md", "config.json", "growth.json", "model.safetensors", "generation_config.json"}
    carried = put(there.source, *TOKENIZERS, *OTHERS)
    put(there.source, *OLD, *SILENT, "original/consolidated.00.pth", "original/tokenizer.model", "onnx/config.json")
    (warning,) = there.grow()
    grown = held(there.grown)
    assert {name: grown.get(name) for name in carried} == carried
    assert grown.keys() == carried.keys() | own
    assert (warning.code, warning.severity) == ("GROW648", Severity.WARNING)
    assert "and 6 more" in warning.message
    assert set(beside(there.source, {"model.safetensors"}).left) == {*OLD, "original/", "onnx/"}


@pytest.mark.parametrize("name", OLD)
def test_a_file_that_was_left_behind_is_named(there: Place, name: str) -> None:
    put(there.source, name)
    (warning,) = there.grow()
    assert name in warning.message


def test_nothing_is_said_where_nothing_was_left(there: Place) -> None:
    put(there.source, *TOKENIZERS, *SILENT)
    (there.source / "original").mkdir()
    assert there.grow() == []


def test_links_are_followed(there: Place) -> None:
    """A cache of the hub has links to blobs; whole folders may be links, too."""
    blobs = there.root / "blobs"
    content = put(blobs, "1", "folder/2", "folder/weights.bin")
    (there.source / "tekken.json").symlink_to("../blobs/1")
    (there.source / "assets").symlink_to("../blobs/folder")
    (warning,) = there.grow()
    assert (there.grown / "tekken.json").read_bytes() == content["1"]
    assert (there.grown / "assets/2").read_bytes() == content["folder/2"]
    assert not any(path.is_symlink() for path in there.grown.rglob("*"))
    assert "assets/weights.bin" in warning.message


def test_code_is_not_run(there: Place, tmp_path: Path) -> None:
    for name in ("modeling_own.py", "tokenization_own.py", "setup.py", "__init__.py"):
        (there.source / name).write_text(f"open({str(tmp_path / 'evil')!r}, 'w')")
    there.grow()
    assert not (tmp_path / "evil").exists()
    assert not (there.grown / "modeling_own.py").stat().st_mode & stat.S_IXUSR


def refused(there: Place) -> Diagnostic:
    with pytest.raises(GrowcError) as caught:
        there.grow()
    (diagnostic,) = caught.value.diagnostics
    assert {path.name for path in there.root.iterdir()} <= {"source", "test.growth.yaml", "blobs"}
    return diagnostic


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)  # the path of a socket has 108 bytes at most
        try:
            one.bind(path.name)
        finally:
            os.chdir(before)


STRANGE: dict[str, Any] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "link to nothing": lambda path: path.symlink_to("../blobs/gone"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("name", ["LICENSE", "assets/voice.wav"])
def test_what_is_no_file_is_refused(there: Place, name: str, make: Any) -> None:
    (there.source / name).parent.mkdir(exist_ok=True)
    make(there.source / name)
    found = refused(there)
    assert (found.code, name in found.message) == ("GROW660", True)


def test_a_folder_that_leads_back_into_itself_is_refused(there: Place) -> None:
    (there.source / "assets").mkdir()
    (there.source / "assets/up").symlink_to("..")
    found = refused(there)
    assert (found.code, "assets/up" in found.message) == ("GROW660", True)


@pytest.mark.parametrize("name", ["plan.jsonl", "moved.jsonl"])
def test_a_name_that_growc_needs_is_refused(there: Place, name: str) -> None:
    put(there.source, name)
    found = refused(there)
    assert (found.code, name in found.message) == ("GROW660", True)


def test_a_file_that_changed_between_two_calls_is_not_the_old_one(
    there: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped growth has copied it; the next call must not go on with that."""
    put(there.source, "assets/logo.png")
    with monkeypatch.context() as patched:
        patched.setattr("growc.checkpoint.command.finish", _stopped)
        with pytest.raises(GrowcError):
            there.grow()
    (there.source / "assets/logo.png").write_bytes(b"another logo")
    there.grow()
    assert (there.grown / "assets/logo.png").read_bytes() == b"another logo"


def _stopped(*_: Any, **__: Any) -> None:
    raise GrowcError([Diagnostic("GROW653", "stopped")])


def test_a_grown_folder_grows_again_with_all_of_it(there: Place) -> None:
    carried = put(there.source, "tekken.json", "assets/logo.png")
    there.grow(verify=True)
    again = Place(there.root / "again")
    again.root.mkdir()
    there.grown.rename(again.source)
    spec = json.loads(there.spec.read_text()) | {"model": {"path": "source"}}
    again.spec.write_text(json.dumps(spec))
    assert again.grow() == []
    grown = held(again.grown)
    assert {name: grown.get(name) for name in carried} == carried
    assert "growc.manifest.json" not in grown


def test_the_hub_is_asked_for_all_that_growth_carries_and_for_no_pickle() -> None:
    weights = ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json", "README.md")
    carried = [name for name in (*TOKENIZERS, *OTHERS) if name != "tokenizer.pkl"]
    unwanted = [*(name for name in OLD if not name.endswith("adapter.safetensors")), "tokenizer.pkl"]
    names = [*weights, *carried, *unwanted, "original/tokenizer.model", "onnx/model.onnx_data_1"]
    assert list(filter_repo_objects(names, ignore_patterns=UNWANTED)) == [*weights, *carried]


def test_weights_are_read_from_the_model_alone(there: Place) -> None:
    before = read(there.source)
    put(there.source, "deep/adapter.safetensors")
    there.grow()
    assert read(there.grown).keys() > before.keys()
