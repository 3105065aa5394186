"""Whether a grown folder is what its operator claims, by what transformers makes of it and of its source alone.

None of growc's checks takes part. `growc` is imported only where a folder cannot be loaded without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from benchmarks.families.configs import FAULTS, layer_in, told
from benchmarks.families.growths import Growth
from benchmarks.families.weights import EAGER, load, logits, of_language

GAP = {torch.float64: 1e-5, torch.float32: 1e-3}
"""Of logits, in units of their spread: in float64 models routers still take their softmax in float32."""

NATS = 1e-5
"""Between a loss and what was foretold of it."""

State = Mapping[str, Tensor]


class Wrong(Exception):
    """A grown folder is not what it is to be."""


@dataclass(frozen=True)
class Source:
    """A model before it grows: `ids` are the tokens, `experts` how many a mixture has, if there is one.

    It is compared in `dtype`: float64, unless transformers runs the family in float32 alone.
    """

    model: PreTrainedModel
    ids: Tensor
    experts: int | None
    dtype: torch.dtype

    def state(self) -> State:
        """Its tensors by name."""
        return _state(self.model)


def verdict(source: Source, growth: Growth, outcome: Mapping[str, Any]) -> str:
    """One line on what became of a growth: `exact`, `near, as claimed`, `as claimed`, `refused`, `WRONG`, `TRACEBACK`.

    Args:
        source: what has grown.
        growth: what was asked for.
        outcome: see `growths.grow`.
    """
    if "refused" in outcome:
        return f"refused {outcome['refused']}"
    if "traceback" in outcome:
        return f"TRACEBACK: {outcome['traceback']}"
    try:
        read = _read(source, growth, Path(outcome["grown"]), outcome.get("predicted"))
    except Wrong as error:
        return f"WRONG: {error}" if "audit" not in outcome else f"refused {outcome['audit']}, rightly: {error}"
    if "audit" in outcome:
        return f"refused {outcome['audit']}, though it is {read}"
    return f"TRACEBACK: its loss is not foretold: {outcome['unforetold']}" if "unforetold" in outcome else read


def is_stock(outcome: Mapping[str, Any]) -> bool:
    """Whether transformers alone loads what came out."""
    return "grown" in outcome and _config(Path(outcome["grown"]))["model_type"] != "growc"


def _read(source: Source, growth: Growth, folder: Path, predicted: list[float] | None) -> str:
    if _config(folder)["model_type"] == "growc":
        import growc  # noqa: F401  # pyright: ignore[reportUnusedImport]
    try:
        grown = load(folder, source.dtype)
        scores = logits(grown, source.ids)
    except FAULTS as error:
        raise Wrong(told(error)) from None
    before = logits(source.model, source.ids)
    if scores.shape != before.shape:
        raise Wrong(f"logits are of shape {[*scores.shape]}, and were of {[*before.shape]}")
    gap, most = _gap(before, scores), GAP[source.dtype]
    match growth.reading:
        case "exact":
            if growth.operator["op"] == "expert_upcycling":
                _same(_with_rows(source, _shapes(grown), folder), grown.state_dict())
            else:
                _outside(source.state(), _state(grown))
            if gap > most:
                raise Wrong(f"logits moved by {gap:.1e} of their spread")
            return "exact"
        case "rows":
            stock = AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(folder), dtype=source.dtype, **EAGER
            ).eval()
            made = _with_rows(source, _shapes(stock), folder)
            _same(made, grown.state_dict())
            stock.load_state_dict(dict(made))
            if (apart := _gap(logits(stock, source.ids), scores)) > most:
                raise Wrong(f"logits are {apart:.1e} of their spread from those of rows of the source")
            if predicted is not None:
                _as_predicted(grown, source.ids, predicted)
            return "exact" if gap <= most else "near, as claimed" if growth.predicts else "as claimed"
        case "outside":
            _beside_routers(source, _state(grown))
            return "as claimed"


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.std())


def _state(model: PreTrainedModel) -> State:
    return {of_language(name): tensor for name, tensor in model.state_dict().items()}


def _shapes(model: PreTrainedModel) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _with_rows(source: Source, shapes: Mapping[str, torch.Size], folder: Path) -> dict[str, Tensor]:
    """The source's tensors, with the rows of experts that tensors of these shapes have: repeated, or those kept."""
    state, experts = source.state(), source.experts
    assert experts is not None
    if fault := next(iter(sorted(state.keys() ^ {*map(of_language, shapes)})), None):
        raise Wrong(f"{fault} is a tensor of one of the two models")
    kept = _kept(folder)
    made: dict[str, Tensor] = {}
    for name in shapes:
        tensor = state[of_language(name)]
        moved = [d for d, (a, b) in enumerate(zip(tensor.shape, shapes[name], strict=True)) if a != b]
        if not moved:
            made[name] = tensor
            continue
        if len(moved) > 1 or tensor.shape[moved[0]] % experts:
            raise Wrong(f"{name} became {[*shapes[name]]} of {[*tensor.shape]}")
        rows = torch.tensor([e for e, count in enumerate(kept[layer_in(name)]) for _ in range(count)])
        each = tensor.shape[moved[0]] // experts
        index = (rows[:, None] * each + torch.arange(each)).flatten()
        made[name] = tensor.index_select(moved[0], index)
        if made[name].shape != shapes[name]:
            raise Wrong(f"{name} has shape {[*shapes[name]]}, and its rows make it {[*made[name].shape]}")
    return made


def _kept(folder: Path) -> dict[int, list[int]]:
    """How many experts of every layer come from each of the source's, as the folder's record says."""
    record: Any = json.loads((folder / "growth.json").read_text(encoding="utf-8"))
    return {int(layer): counts for layer, counts in record["operators"][0]["replicas"].items()}


def _same(made: State, grown: State) -> None:
    if fault := next(_differing(made, grown, sorted(made)), None):
        raise Wrong(f"{fault} does not hold the source's rows")


def _outside(source: State, grown: State) -> None:
    """Whether all that both have is equal, and all that is gone lies in a layer that has got experts."""
    if fault := next(_differing(source, grown, sorted(source.keys() & grown.keys())), None):
        raise Wrong(f"{fault} is outside of the mixtures, and not the source's")
    grew = {layer_in(name) for name in grown.keys() - source.keys()}
    if lost := sorted(name for name in source.keys() - grown.keys() if layer_in(name) not in grew):
        raise Wrong(f"{lost[0]} is gone")


def _beside_routers(source: Source, grown: State) -> None:
    """Whether all is equal but in modules that have got other tensors: routers, with a row for every expert."""
    state = source.state()
    routers = {_module(name) for name in state.keys() ^ grown.keys()}
    for name in sorted(name for name in state if _module(name) in routers):
        if source.experts not in state[name].shape or state[name].dim() > 2:
            raise Wrong(f"{name} is in a module that has changed, and no router's")
    elsewhere = sorted(name for name in state if _module(name) not in routers)
    if fault := next(_differing(state, grown, elsewhere), None):
        raise Wrong(f"{fault} is outside of the routers, and not the source's")


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _differing(one: State, other: State, names: list[str]) -> Iterator[str]:
    return (name for name in names if not torch.equal(one[name], other[name]))


def _as_predicted(grown: PreTrainedModel, ids: Tensor, predicted: list[float]) -> None:
    scores = logits(grown, ids[:, :-1])
    losses = [float(F.cross_entropy(row, following)) for row, following in zip(scores, ids[:, 1:], strict=True)]
    apart = max(abs(a - b) for a, b in zip(losses, predicted, strict=True))
    if apart > NATS:
        raise Wrong(f"the loss is {apart:.1e} nats from what is foretold")


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))
