"""The index of a distributed checkpoint, which torch keeps as a pickle, read without running what it may ask for."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from typing_extensions import override

from growc.files.distributed import INDEX
from growc.files.strict import read_bytes

_METADATA = (
    "Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
    "TensorProperties", "StorageMeta", "_MEM_FORMAT_ENCODING",
)  # fmt: skip
_KNOWN = frozenset(
    {
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        ("collections", "OrderedDict"),
        *((module, "PosixPath") for module in ("pathlib", "pathlib._local")),
        *(("torch.distributed.checkpoint.metadata", name) for name in _METADATA),
        *(("torch", name) for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
    }
)
"""All that an index that torch writes names; each only holds values."""


class _Unpickler(pickle.Unpickler):
    @override
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which no index needs")
        return super().find_class(module_name, global_name)


class ShardsReader(FileSystemReader):
    """torch's reader of shards in a folder, for folders that somebody else may have filled.

    Shards themselves are read by torch with `weights_only`. The index is read once, however many tensors are.
    """

    _index: Metadata | None = None

    @override
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index.

        Raises:
            OSError: it cannot be read.
            pickle.UnpicklingError: it asks for what no index needs, or is damaged.
        """
        if self._index is None:
            self._index = self._read_index()
        self._index.storage_meta = self._index.storage_meta or StorageMeta()
        self._index.storage_meta.load_id = self.load_id
        return self._index

    def _read_index(self) -> Metadata:
        found = _Unpickler(io.BytesIO(read_bytes(Path(self.path) / INDEX))).load()
        if not isinstance(found, Metadata) or not isinstance(found.storage_data, dict):
            raise pickle.UnpicklingError("it is no index of shards")
        for info in found.storage_data.values():
            if Path(info.relative_path).name != info.relative_path:
                raise pickle.UnpicklingError(f"it names the file {info.relative_path!r}, which is not beside it")
        return found
