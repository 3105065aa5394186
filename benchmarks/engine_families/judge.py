"""One family through the engine: its losses and gradients on every layout beside those of transformers' own model."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import isfinite
from os import waitpid
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.families.configs import FAULTS, Unbuilt, find, told
from benchmarks.families.rules import VOCABULARY
from benchmarks.families.sweep import SEED, Result, answer, forked, last_words, runs, spoken
from benchmarks.families.weights import FIRST_TOKEN, LENGTH, drawn, generator
from growc.diagnostics import GrowcError
from growc.engine import layout as layouts
from growc.engine.distribute import build_model, local, named_state
from growc.engine.layout import Layout
from growc.engine.losses import mean_loss, ready_head
from growc.engine.recompute import recompute_layers
from growc.engine.sharded import rows_held
from growc.model import inspect
from growc.model.build import canonical, load_config
from growc.spec.schema import Parallel
from growc.spec.training import Checkpointing, FloatType

SEQUENCES, PARTS = 4, 2
"""Of `LENGTH` tokens each, and the micro-batches that they are computed in: what a family computes of a sequence may
depend on the others beside it. One rank takes all, two take one each."""

NEAR = 2e-5
"""Between losses, and between gradients in units of each one's largest element. Some gradients are one number that is
left of sums which cancel: in transformers' own model, too, it moves by a few 1e-6 with the order of the sum."""

NOISE = 1e-2
"""A gradient smaller than this share of the model's largest is compared as if it were as large: that of a bias which
the softmax takes out again is nothing but rounding."""

NEAR_BF16 = 0.02
"""Between losses in bf16 and in fp32, relative."""

WAIT = timedelta(seconds=60)
"""How long a rank waits for another one."""

CHANCE = re.compile("drop|jitter")
"""Fields of a config by which a forward in training draws numbers."""


@dataclass(frozen=True)
class Run:
    """One way to compute a step."""

    ranks: int
    ep: int
    precision: FloatType
    recomputed: Checkpointing

    def __str__(self) -> str:
        place = "one rank" if self.ranks == 1 else f"fsdp {self.ranks}, ep {self.ep}"
        return f"{place}, {self.precision}" + (f", {self.recomputed}" if self.recomputed != "none" else "")


RUNS = (
    Run(1, 1, "fp32", "none"), Run(1, 1, "fp32", "selective"), Run(1, 1, "fp32", "full"), Run(1, 1, "bf16", "none"),
    Run(2, 1, "fp32", "none"), Run(2, 2, "fp32", "none"),
)  # fmt: skip
"""Those of two ranks are for mixtures of experts."""


def judge(family: str, work: Path) -> Result:
    """Verdicts on all runs of one family, in an empty folder.

    Returns:
        With `family`, and either `unbuilt` (why there is no small config) or `mixture` and `verdicts`.
    """
    try:
        small = find(family, runs)
        config = _still(canonical(small.config))
        weights = drawn(load_config(config), SEED).state_dict()
    except Unbuilt as error:
        return {"family": family, "unbuilt": str(error)}
    except GrowcError as error:
        return {"family": family, "mixture": False, "verdicts": {str(run): _refused(error) for run in RUNS}}
    except FAULTS as error:
        return {"family": family, "unbuilt": told(error)}
    plain = work / "plain"
    if fault := _alone(partial(_plain, config, weights, work / "plain.pt"), plain):
        return {"family": family, "unbuilt": fault}
    asked = [run for run in RUNS if run.ranks == 1 or small.mixtures]
    found = {str(run): _verdict(run, config, weights, work) for run in asked}
    return {"family": family, "mixture": bool(small.mixtures), "verdicts": found}


def _still(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config under which nothing is drawn in training."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found[name] = _still(value)
        else:
            found[name] = 0.0 if isinstance(value, float) and CHANCE.search(name) else value
    return found


def text() -> tuple[Tensor, ...]:
    """Random tokens, of shape (SEQUENCES / PARTS, LENGTH + 1) each."""
    ids = torch.randint(FIRST_TOKEN, VOCABULARY, (SEQUENCES, LENGTH + 1), generator=generator(SEED, "text"))
    return ids.chunk(PARTS)


def _plain(config: Mapping[str, Any], weights: Mapping[str, Tensor], to: Path) -> None:
    """Write the loss, the gradients and the buffers of transformers' model."""
    torch.manual_seed(SEED)
    model: Any = AutoModelForCausalLM.from_config(load_config(config), dtype=torch.float32)
    kept = model.state_dict().keys()
    buffers = {name: each.clone() for name, each in model.named_buffers() if name not in kept}
    model.load_state_dict(weights)
    model.train()
    total = 0.0
    for part in text():
        logits = model(input_ids=part[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten()) / PARTS
        loss.backward()
        total += float(loss.detach())
    if not isfinite(total):
        raise ValueError(f"the loss is {total}")
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    torch.save({"loss": total, "gradients": gradients, "buffers": buffers}, to)


def _alone(do: Callable[[], Any], place: Path) -> str | None:
    """Run `do` in a child; what it died of, if it did."""
    place.mkdir()
    pid = forked(do, place)
    _, status = waitpid(pid, 0)
    return None if status == 0 else f"{spoken(status)}: {last_words(place)}"


def _verdict(run: Run, config: Mapping[str, Any], weights: Mapping[str, Tensor], work: Path) -> str:
    """`right`, `refused`, `WRONG` or `TRACEBACK`, and why: the worst that any rank says."""
    place = work / str(run)
    ranks = [place / str(rank) for rank in range(run.ranks)]
    pids: list[int] = []
    for rank, folder in enumerate(ranks):
        folder.mkdir(parents=True)
        pids.append(forked(partial(_told, run, rank, config, weights, work / "plain.pt", place), folder))
    statuses = [waitpid(pid, 0)[1] for pid in pids]
    said = [
        answer(folder) or f"TRACEBACK: died with {spoken(status)}: {last_words(folder)}"
        for folder, status in zip(ranks, statuses, strict=True)
    ]
    return worst(said)


def worst(said: list[str]) -> str:
    """The gravest of the verdicts of all ranks; that another rank is gone says less than what that one says."""

    def grade(words: str) -> int:
        kinds = ("right", "TRACEBACK: RuntimeError: [", "TRACEBACK: DistBackendError", "refused", "WRONG", "TRACEBACK")
        return next(number for number, kind in enumerate(kinds) if words.startswith(kind))

    return max(said, key=grade)


def _told(
    run: Run, rank: int, config: Mapping[str, Any], weights: Mapping[str, Tensor], plain: Path, place: Path
) -> str:
    dist.init_process_group(
        "gloo", init_method=f"file://{place / 'meeting'}", rank=rank, world_size=run.ranks, timeout=WAIT
    )
    try:
        return _compared(run, rank, config, weights, torch.load(plain, weights_only=True))
    except GrowcError as error:
        return _refused(error)
    except Exception as error:  # noqa: BLE001, whatever the engine dies of is what is looked for
        (*_, where) = traceback.extract_tb(error.__traceback__)
        return f"TRACEBACK: {told(error)} ({Path(where.filename).name}, {where.name})"


def _refused(error: GrowcError) -> str:
    diagnostic = error.diagnostics[0]
    return f"refused {diagnostic.code}: {' '.join(diagnostic.message.split())[:200]}"


def _compared(
    run: Run, rank: int, config: Mapping[str, Any], weights: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> str:
    place = layouts.layout(Parallel(ep=run.ep), run.ranks, [inspect(config, LENGTH)])
    model = laid_out(config, place, run.precision, weights)
    buffers = dict(model.named_buffers())
    if unlike := [name for name, each in plain["buffers"].items() if not torch.equal(buffers[name], each)]:
        return f"WRONG: buffer {unlike[0]} is not that of the plain model"
    ready_head(model, torch.device("cpu"))
    recompute_layers(model, run.recomputed)
    mean = torch.zeros(())
    for part in text()[rank :: run.ranks]:
        loss = mean_loss(model, part) * run.ranks / PARTS
        loss.backward()
        mean += loss.detach()
    dist.all_reduce(mean)
    found, wanted = float(mean) / run.ranks, plain["loss"]
    off = abs(found - wanted) / wanted
    if not off <= (NEAR if run.precision == "fp32" else NEAR_BF16):  # a NaN is not
        return f"WRONG: the loss is {found:.6f}, not {wanted:.6f}"
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    if run.precision == "bf16":
        strange = [name for name, each in gradients.items() if not torch.isfinite(local(each)).all()]
        return f"WRONG: the gradient of {strange[0]} is not finite" if strange else "right"
    gap, name = farthest(gradients, plain["gradients"])
    return f"WRONG: the gradient of {name} is off by {gap:.1e}" if not gap <= NEAR else "right"


def laid_out(
    config: Mapping[str, Any], layout: Layout, precision: FloatType, weights: Mapping[str, Tensor]
) -> PreTrainedModel:
    """The engine's model of a config in training, with these weights."""
    model = build_model(config, layout, torch.device("cpu"), SEED, precision)
    with torch.no_grad():
        for name, tensor in named_state(model).items():
            held = rows_held(tensor)
            whole = weights[name]
            local(tensor).copy_(whole[held.start : held.stop] if whole.dim() else whole)
    return model.train()


def farthest(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[float, str]:
    """The largest distance of a gradient from the plain model's, in units of that one's size, and whose it is.

    Args:
        found: this rank's shards, by name.
        wanted: whole gradients. One that only the other side has counts as zero here.
    """
    least = NOISE * max(float(each.abs().max()) for each in wanted.values())
    gaps: dict[str, float] = {}
    for name in found.keys() | wanted.keys():
        whole = wanted.get(name, torch.zeros(()))
        if name not in found:
            gaps[name] = float(whole.abs().max()) / max(float(whole.abs().max()), least)
            continue
        held = rows_held(found[name])
        mine = local(found[name])
        part = whole[held.start : held.stop] if whole.dim() else whole
        gap = float((mine - part).abs().max()) if mine.numel() else 0.0
        gaps[name] = gap / max(float(whole.abs().max()), least)
    name = max(gaps, key=lambda each: (gaps[each] != gaps[each], gaps[each], each))
    return gaps[name], name
