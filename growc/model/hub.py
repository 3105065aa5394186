"""Models of the Hugging Face hub: the local cache first, then the network, then a diagnostic (GROW210)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  (of the HTTP library, which has changed its name before)
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from growc.diagnostics import fail
from growc.files.beside import OTHER_FOLDERS, OTHER_WEIGHTS
from growc.files.folder import INDEX, SINGLE

UNWANTED = [pattern for pattern in OTHER_WEIGHTS if pattern != "*.safetensors"] + [
    f"{name}/*" for name in OTHER_FOLDERS
]
"""Weights in formats that are not read, pickles among them. All else belongs to the model; none of it is executed."""

FAILURES = (HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError, OSError)

TIMEOUT = 10.0
"""Seconds to wait for the hub's answer."""


def config_file(name: str, revision: str | None) -> Path:
    """The local path of a model's `config.json`, in a folder named after the commit."""
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        commit = HfApi().model_info(name, revision=revision, timeout=TIMEOUT).sha  # fails at once without a network
        return Path(hf_hub_download(name, "config.json", revision=commit))
    except FAILURES as error:
        _unavailable(name, revision, error)


def download(name: str, revision: str | None) -> Path:
    """The local folder with a model's config, weights and all that lies beside them, fetched if need be."""
    try:
        return Path(snapshot_download(name, revision=revision, ignore_patterns=UNWANTED))
    except FAILURES as error:
        _unavailable(name, revision, error)


def is_complete(folder: Path) -> bool:
    """Whether a cached folder holds all of a model's weights; a cache may hold the config alone, or some
    shards.
    """
    if (folder / SINGLE).exists():
        return True
    try:
        weight_map: dict[str, str] = json.loads((folder / INDEX).read_bytes())["weight_map"]
    except (OSError, ValueError, LookupError):
        return False
    return all((folder / file).exists() for file in weight_map.values())


def _unavailable(name: str, revision: str | None, error: Exception) -> NoReturn:
    which = f"{name} at {revision}" if revision else name
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    fail(
        "GROW210",
        f"{which} is neither in the local cache nor to be had from the hub: {reason}",
        help="check the name, log in with `hf auth login`, or fetch it elsewhere and use `path`",
    )
