"""The index of a checkpoint of several files, which says the file of every tensor."""

from __future__ import annotations

import json
import os
from pathlib import Path

from growc.files.atomic import sync_folder
from growc.files.folder import INDEX
from growc.files.plan import Plan


def write_index(folder: Path, plan: Plan) -> None:
    """Write the index whole or not at all, where there are several files; tensors come in order of their names.

    The index of a distributed checkpoint is one of its files already.
    """
    if len(plan.outputs) == 1 or plan.outputs[0].header is None:
        return
    size = sum(output.size - output.data for output in plan.outputs)
    located = sorted((tensor.name, output.name) for output in plan.outputs for tensor in output.tensors)
    aside = folder / (INDEX + ".partial")
    with aside.open("w", encoding="utf-8") as file:
        metadata = {"total_parameters": plan.parameters, "total_size": size}
        file.write(f'{{\n "metadata": {json.dumps(metadata)},\n "weight_map": {{')
        for number, (name, where) in enumerate(located):
            file.write(f"{',' if number else ''}\n  {json.dumps(name)}: {json.dumps(where)}")
        file.write("\n }\n}\n")
        file.flush()
        os.fsync(file.fileno())
    aside.rename(folder / INDEX)
    sync_folder(folder)
