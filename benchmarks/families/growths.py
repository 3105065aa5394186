"""Growths of a checkpoint by growc, file to file: what is asked for, and what became of it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Reading = Literal["exact", "rows", "outside"]
"""What the grown model must be: `exact`, the same function; `rows`, the stock model of the grown config with rows of
the source's tensors; `outside`, the source everywhere but in its routers, and finite.
"""


@dataclass(frozen=True)
class Growth:
    """One growth; `name` heads its column, and `predicts` says that growc foretells its loss."""

    name: str
    operator: dict[str, Any]
    reading: Reading
    predicts: bool = False


def growths(experts: int | None) -> Iterator[Growth]:
    """What a model with this many experts in a mixture, or with none, is grown by."""
    if experts is None:
        dense = {"experts": 4, "top_k": 2, "gates": "renormalised"}
        yield Growth("sparse_upcycling", {"op": "sparse_upcycling", **dense}, "exact")
        yield Growth("router_upcycling", {"op": "router_upcycling", **dense}, "exact")
        return
    for factor in (2, 3):
        copies = {"op": "expert_upcycling", "factor": factor, "router": {"init": "copy"}}
        yield Growth(f"exclusive x{factor}", {**copies, "routing": "exclusive"}, "exact")
    for factor in (2, 3):
        copies = {"op": "expert_upcycling", "factor": factor, "router": {"init": "copy"}}
        yield Growth(f"free x{factor}", {**copies, "routing": "free"}, "rows", predicts=True)
    for score in ("weight_norm", "random"):
        choose = {"by": "score", "score": score}
        yield Growth(
            f"pruning, {score}", {"op": "expert_pruning", "keep": max(1, experts // 2), "choose": choose}, "rows"
        )
    yield Growth("router_upcycling", {"op": "router_upcycling"}, "outside")


AUDIT = "GROW665"
"""What growc's own second reading of a growth refuses it by; it is then grown again without, and compared."""


def grow(source: Path, growth: Growth, into: Path, windows: Any) -> dict[str, Any]:
    """Grow the folder `source` as `growc grow --verify` does.

    Args:
        source: a checkpoint.
        growth: what is asked for.
        into: a folder that does not exist, for the grown one.
        windows: token ids of shape (windows, length) on which the loss is foretold; None: it is not.

    Returns:
        One of `grown` (the folder), `refused` (code and message) and `traceback`. A folder comes with `predicted`, the
        loss of every window that growc foretells, where it does, or with `unforetold`, what kept it from that; and with
        `audit`, what `growc grow --verify` has against it.
    """
    from growc.audit.audit import audit
    from growc.checkpoint.command import grow as run
    from growc.checkpoint.prepare import prepare
    from growc.checkpoint.request import Request
    from growc.diagnostics import GrowcError

    into.mkdir()
    spec = into / "sweep.growth.yaml"
    stages = [{"name": "grow", "grow": [growth.operator]}]
    spec.write_text(json.dumps({"growth": 1, "name": "sweep", "model": {"path": str(source)}, "stages": stages}))
    folder = into / "grown"
    outcome: dict[str, Any] = {"grown": str(folder)}
    try:
        try:
            run(Request(spec, "grow", source, folder), prepare, verify=True, audit=audit)
        except GrowcError as error:
            if error.diagnostics[0].code != AUDIT:
                raise
            outcome["audit"] = _message(error.diagnostics[0], source)
            run(Request(spec, "grow", source, folder), prepare, verify=True)
    except GrowcError as error:
        return {"refused": _message(error.diagnostics[0], source)}
    except Exception as error:  # noqa: BLE001, whatever growc dies of is what the sweep looks for
        return {"traceback": _told(error)}
    if growth.predicts and windows is not None:
        try:
            outcome["predicted"] = _predicted(source, growth, windows)
        except Exception as error:  # noqa: BLE001
            outcome["unforetold"] = _told(error)
    return outcome


def _message(diagnostic: Any, source: Path) -> str:
    """A diagnostic in one line, without the place of this sweep."""
    message = " ".join(diagnostic.message.split()).replace(str(source), "the folder")
    return f"{diagnostic.code}: {message[:200]}"


def _told(error: Exception) -> str:
    """An error in one line, with the innermost function."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message} ({Path(where.filename).name}, {where.name})"


def _predicted(source: Path, growth: Growth, windows: Any) -> list[float] | None:
    """The losses in nats that growc foretells of plain copies, computed on the source, one for each window."""
    import torch
    from transformers import AutoModelForCausalLM

    from benchmarks.families.weights import EAGER, load, of_language
    from growc.engine.layout import Layout
    from growc.model import inspect
    from growc.model.build import load_config
    from growc.model.source import from_folder
    from growc.operators.expert_upcycling import ExpertUpcycling
    from growc.run.grow import Place, predict

    graph = inspect(from_folder(source).config, windows.shape[1])
    operator = ExpertUpcycling.model_validate({k: v for k, v in growth.operator.items() if k != "op"})
    replicas = {site: operator.allocate(site) for site in operator.sites(graph)}
    place = Place(Layout(1, 1), torch.device("cpu"), "fp32", 0, windows)
    model = AutoModelForCausalLM.from_config(load_config(graph.config), dtype=torch.float64, **EAGER).eval()
    tensors = {of_language(name): tensor for name, tensor in load(source).state_dict().items()}
    model.load_state_dict({name: tensors[of_language(name)] for name in model.state_dict()})
    found = predict(model, graph, replicas, place)
    return found.losses.tolist() if found else None
