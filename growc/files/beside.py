"""What lies beside the weights of a checkpoint folder: what goes along with the model, and what holds it as it was.

Everything goes along byte for byte (tokenizers of any name, processors, code, licences, templates, assets), except what
growth replaces and weights in formats that it does not write. Nothing is opened to find out, and nothing is executed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from growc.diagnostics import Diagnostic, Severity, fail
from growc.files.folder import INDEX, PICKLES
from growc.files.ledger import LEDGER
from growc.files.manifest import MANIFEST
from growc.files.planfile import PLAN

CONFIG = "config.json"
CARD = "README.md"
"""The file that the hub shows as a model's card."""
LINEAGE = "growth.json"
"""File in a checkpoint that says where it came from."""
TRAINING = "training"
"""Folder of the training state inside a checkpoint of `growc run`."""

REPLACED = frozenset({CONFIG, CARD, LINEAGE, MANIFEST, TRAINING, INDEX})
"""What a grown folder has of its own, or not at all."""

OF_TOOLS = frozenset({".git", ".cache", ".huggingface", "__pycache__"})
"""Folders that version control, downloads and interpreters leave."""

OTHER_FOLDERS = ("original", "onnx", "openvino", "coreml", "gguf")
"""Folders that hold the model in the format of another program, with all that belongs to it there."""

OTHER_WEIGHTS = (
    "*.safetensors", *PICKLES, "*.gguf", "*.ggml", "*.onnx", "*.onnx_data*", "*.h5", "*.msgpack", "*.npz", "*.ot",
    "*.tflite", "*.nemo", "*.distcp", ".metadata", "consolidated.*", "params.json", "trainer_state.json",
)  # fmt: skip
"""Names of weights, of what says how large they are (`params.json`), and of how far their training is."""

INDEXES = ("*.index.json",)
"""Names of what says in which file a tensor lies."""

FILES = (".json", ".jsonl", ".txt", ".model", ".jinja", ".md", ".py")
"""How the names of files end that readers of a checkpoint ask for: a folder of such a name is a mistake."""


@dataclass(frozen=True)
class Beside:
    """Paths inside a folder: of the files that go along, and of those (or of folders) that hold the model as it was."""

    carried: tuple[str, ...]
    left: tuple[str, ...]

    def warnings(self, folder: Path) -> Iterator[Diagnostic]:
        """What someone should know who looks for them in the new folder (GROW648)."""
        if self.left:
            more = f" and {len(self.left) - 6} more" if len(self.left) > 6 else ""
            yield Diagnostic(
                "GROW648",
                f"{folder} holds the old model in further files, which were left behind: "
                f"{', '.join(self.left[:6])}{more}",
                "convert the new checkpoint where you need one of these formats",
                severity=Severity.WARNING,
            )


def beside(folder: Path, weights: Collection[str] = ()) -> Beside:
    """What lies in a folder and its subfolders; links are followed, as caches of the hub consist of them.

    Args:
        folder: of a checkpoint.
        weights: names of the files that the model is read from.

    Raises:
        GrowcError: GROW660, something has a file's name and is none: a pipe, a device, a link to nothing.
    """
    carried: list[str] = []
    left: list[str] = []
    for path in _sorted(folder):
        if path.name in REPLACED or path.name in weights:
            continue
        if path.name in OTHER_FOLDERS and path.is_dir():
            left += [f"{path.name}/"] * any(path.iterdir())
        else:
            for file in _files(path, frozenset({folder.resolve()})):
                _sort_in(file.relative_to(folder), carried, left)
    if taken := next((name for name in carried if name in (PLAN, LEDGER)), None):
        fail("GROW660", f"{folder / taken} has a name that growc uses itself while it writes", help="rename it")
    return Beside(tuple(carried), tuple(left))


def _sort_in(path: Path, carried: list[str], left: list[str]) -> None:
    if is_weights(path.name):
        left.append(path.as_posix())
    elif not _is_one(path.name, INDEXES):
        carried.append(path.as_posix())


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights, or what belongs to them in another format; tokenizers never do."""
    return _is_one(name, OTHER_WEIGHTS) and not name.startswith("tokenizer")


def _is_one(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _sorted(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name not in OF_TOOLS)


def _files(path: Path, above: frozenset[Path]) -> Iterator[Path]:
    """The file `path`, or all files below it; `above` are the folders on the way, in which links may lead back."""
    if path.is_dir():
        if path.suffix in FILES:
            _refuse(f"{path} is a folder, and no regular file")
        real = path.resolve()
        if real in above:
            _refuse(f"{path} leads back into a folder that it lies in")
        for inner in _sorted(path):
            yield from _files(inner, above | {real})
    elif is_there(path):
        yield path


def is_there(path: Path) -> bool:
    """Whether there is such a file; what has its name and is no regular file is refused (GROW660)."""
    if os.path.lexists(path) and not path.is_file():
        _refuse(f"{path} is no regular file, nor a link to one")
    return path.is_file()


def _refuse(fault: str) -> NoReturn:
    fail("GROW660", fault, help="fetch it, or remove it: the grown checkpoint would lack it")


def copy_beside(folder: Path, names: Iterable[str], to: Path) -> None:
    """Copy files of a folder, where they lie in it, to another.

    Args:
        folder: the checkpoint.
        names: of `Beside.carried`.
        to: where they go; files that are there are replaced.
    """
    for name in names:
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target)
