"""One train stage: the loop, its metrics, its checkpoints, and where it resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.diagnostics import fail
from growc.growth.graph import TrainNode
from growc.model import ModelGraph
from growc.run import balance as balancing
from growc.run.copies import CopiesRates
from growc.run.copies import Windows as CopiesWindows
from growc.run.data import Tokens
from growc.run.distribute import local
from growc.run.journal import append_rows, cut_rows
from growc.run.losses import precision, token_losses, validation_losses
from growc.run.optimizer import (
    State,
    build_optimizer,
    clip,
    get_state,
    learning_rate,
    set_rate,
    set_state,
    stable_step,
)
from growc.run.releasing import Release

Windows = np.ndarray[tuple[int, int], np.dtype[np.int64]]


class Interrupted(Exception):
    """A signal asked the run to stop; the state is saved and the run can be resumed."""


@dataclass(frozen=True)
class Hooks:
    """What the loop tells its surroundings.

    `save(kind, step, state)` writes a training state, `kind` being "step" or "stable"; `progress(step, loss, rate)`
    shows where the stage is; `interrupted()` says whether a signal came.
    """

    save: Callable[[str, int, State], None]
    progress: Callable[[int, float, float], None]
    interrupted: Callable[[], bool]


def train(
    node: TrainNode,
    model: PreTrainedModel,
    graph: ModelGraph,
    state: State,
    tokens: Tokens,
    windows: Windows,
    metrics: Path,
    hooks: Hooks,
    *,
    copies: CopiesWindows,
    start: int,
    offset: int,
    device: torch.device,
) -> State:
    """Train `model` in place from step `start` to the end of the stage; returns the optimizer's state.

    Args:
        node: the stage.
        model: laid out over the ranks, with its weights.
        graph: what the model is.
        state: the optimizer's state to go on with.
        tokens: the stage's part of the data.
        windows: validation windows, of shape (windows, sequence_length + 1).
        metrics: the file of metrics rows.
        hooks: what to tell whom.
        copies: which experts learn at a rate of their own, and when.
        start: steps of this stage that are done.
        offset: batches of this part that earlier stages have read.
        device: of this rank.

    Raises:
        Interrupted: after the state was saved.
    """
    spec, named = node.training, dict(model.named_parameters())
    optimizer = build_optimizer(spec.optimizer, named)
    set_state(spec.optimizer, optimizer, named, state)
    rates, release = CopiesRates(named, graph.moe, copies), Release(model, node.steps)
    release.at(start)
    ranks, rank = dist.get_world_size(), dist.get_rank()
    sequences = spec.batch_tokens // node.sequence_length
    stable = stable_step(spec.schedule, node.steps)
    load = balancing.Load(model, graph.moe, spec.balance)
    if rank == 0 and metrics.exists():
        cut_rows(metrics, start)
    model.train()
    try:
        if start == stable == 0:  # the whole stage is anneal: it starts from its own stable state
            hooks.save("stable", 0, state)
        for step in range(start, node.steps):
            began = time.perf_counter()
            torch.manual_seed(_step_seed(spec.seed, step, rank))
            batch = torch.from_numpy(
                tokens.batch(spec.seed, offset + step, sequences, node.sequence_length, rank, ranks)
            )
            lr = learning_rate(spec.schedule, spec.optimizer.lr, step, node.steps)
            set_rate(optimizer, lr)
            with precision(spec.precision, device):
                loss = token_losses(model, batch.to(device)).mean()
            counts = load.reduced()
            objective = loss
            if spec.balance.method == "auxiliary" and counts:
                objective = objective + balancing.auxiliary_loss(load, counts, spec.balance.rate)
            if spec.balance.z_loss and counts:
                objective = objective + balancing.z_loss(load, spec.balance.z_loss)
            objective.backward()
            norm = clip(named.values(), spec.optimizer.clip_norm)
            with rates.at(step):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if spec.balance.method == "loss_free" and counts:
                balancing.update_selection_bias(load, counts, spec.balance.rate)

            mean, stop = _agree(loss, hooks.interrupted(), device)
            if not math.isfinite(mean):
                fail(
                    "GROW616",
                    f"the loss of stage {node.name} is {mean} at step {step + 1}",
                    help="lower the learning rate or lengthen the warmup; nothing of this step was kept",
                )
            speed = spec.batch_tokens / (time.perf_counter() - began)
            done = step + 1
            release.at(done)
            if rank == 0:
                row = {"step": done, "tokens": done * spec.batch_tokens, "loss": mean, "lr": lr, "grad_norm": norm,
                       "tokens_per_second": speed, "max_violation": balancing.violation(counts)}  # fmt: skip
                append_rows(metrics, [row])
                hooks.progress(done, mean, speed)
            if spec.validate_every and done % spec.validate_every == 0 and done < node.steps:
                val = float(validation_losses(model, windows, device, spec.precision).mean())
                load.counts = {}
                if rank == 0:
                    append_rows(metrics, [{"step": done, "val_loss": val}])
            if done == stable < node.steps:
                hooks.save("stable", done, get_state(optimizer, named))
            if done < node.steps and (stop or (spec.checkpoint_every and done % spec.checkpoint_every == 0)):
                hooks.save("step", done, get_state(optimizer, named))
            if stop and done < node.steps:
                raise Interrupted
    finally:
        load.close()
    return get_state(optimizer, named)


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Models that draw random numbers in training draw the same ones when a step is done again."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _agree(loss: Tensor, stop: bool, device: torch.device) -> tuple[float, bool]:
    """Mean loss over the ranks, and whether any rank was asked to stop, in one collective."""
    pair = torch.tensor([float(local(loss.detach())), float(stop)], dtype=torch.float64, device=device)
    dist.all_reduce(pair)
    return float(pair[0]) / dist.get_world_size(), bool(pair[1] > 0)
