"""Which files a corpus is made of, found and put in an order that is the same on every machine."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from growc.diagnostics import fail
from growc.spec.schema import CorpusSpec, Jsonl, PythonSource

_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class DataFile:
    """One file of a corpus.

    `path` is absolute, with links resolved. `name` is relative to the root of the corpus: it decides the
    order, so that the split is the same wherever the corpus lies. `size` is in bytes, `modified` in
    nanoseconds.
    """

    path: Path
    name: str
    size: int
    modified: int


@contextmanager
def reading(path: Path) -> Generator[BinaryIO]:
    """Open a file of the user's for reading; what the system refuses becomes a diagnostic.

    Raises:
        GrowcError: GROW501, if the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        fail("GROW501", f"{path} cannot be read: {error.strerror}")


def find_files(corpus: CorpusSpec, base_dir: Path) -> tuple[DataFile, ...]:
    """The files of a corpus, by name, none empty and none twice.

    Args:
        corpus: Where the data is. A folder stands for every file below it (`*.jsonl` for JSON lines); hidden
            files are left out.
        base_dir: What relative paths are relative to.

    Raises:
        GrowcError: GROW501 if the path names nothing or cannot be read, GROW502 if nothing is in it.
    """
    origin = sysconfig.get_path("stdlib") if isinstance(corpus, PythonSource) else corpus.path
    try:
        if isinstance(corpus, PythonSource):
            root = Path(origin)
            found = _below(root, ".py", skip=_INSTALLED)
        else:
            root, found = _expand(base_dir, origin, ".jsonl" if isinstance(corpus, Jsonl) else "")
        files = {file.path: file for file in sorted(_describe(root, found), key=lambda file: file.name)}
    except OSError as error:
        fail("GROW501", f"{error.filename or origin} cannot be read: {error.strerror}")
    except ValueError as error:  # of a pattern, such as `a**b`
        fail("GROW501", f"{origin!r} cannot be searched: {error}")
    if not files:
        fail(
            "GROW502",
            f"the corpus {origin!r} holds no data",
            help="check the path, or the pattern, and file sizes",
        )
    return tuple(files.values())


def _expand(base_dir: Path, given: str, ending: str) -> tuple[Path, Iterable[Path]]:
    """The root of a file, folder or glob, and the paths it stands for."""
    path = base_dir / given
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        return path, _below(path, ending)
    parts = Path(given).parts
    wild = next((i for i, part in enumerate(parts) if any(character in part for character in "*?[")), None)
    if wild is None:
        fail("GROW501", f"{path} does not exist", help="paths are relative to the folder of the spec")
    root = base_dir.joinpath(*parts[:wild])
    return root, root.glob("/".join(parts[wild:]))


def _below(root: Path, ending: str, skip: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Every file below a folder whose name ends so; hidden folders, and those to skip, are not entered."""
    for folder, inner, names in os.walk(root, onerror=_raise):
        inner[:] = [name for name in inner if not name.startswith(".") and name not in skip]
        yield from (Path(folder, name) for name in names if name.endswith(ending))


def _raise(error: OSError) -> NoReturn:
    raise error


def _describe(root: Path, paths: Iterable[Path]) -> Iterator[DataFile]:
    for path in paths:
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        status = path.stat()
        if status.st_size:
            yield DataFile(path.resolve(), relative.as_posix(), status.st_size, status.st_mtime_ns)
