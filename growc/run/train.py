"""One train stage: the loop, its metrics, its checkpoints, and where it resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.data import Tokens
from growc.diagnostics import fail
from growc.engine import balance as balancing
from growc.engine.compiled import compile_layers
from growc.engine.distribute import local
from growc.engine.learning_rate import learning_rate
from growc.engine.losses import mean_loss, validation_losses
from growc.engine.micro import micro_batch
from growc.engine.muon import hidden_matrices
from growc.engine.optimizer import (
    State,
    build_optimizer,
    clip,
    get_state,
    set_rate,
    set_state,
)
from growc.engine.recompute import recompute_layers
from growc.engine.schedules import SCHEDULES, Stage
from growc.growth.graph import TrainNode
from growc.growth.past import PastGrowth
from growc.records.metrics import Row, append_rows, cut_rows
from growc.spec.schema import Balance

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
    past: Sequence[PastGrowth],
    start: int,
    offset: int,
    device: torch.device,
    compiled: bool,
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
        past: the growths that led to the stage.
        start: steps of this stage that are done.
        offset: batches of this part that earlier stages have read.
        device: of this rank.
        compiled: whether layers are compiled.

    Raises:
        Interrupted: after the state was saved.
    """
    spec, named = node.training, dict(model.named_parameters())
    optimizer = build_optimizer(spec.optimizer, named, hidden_matrices(model, graph.moe), spec.precision.moments)
    set_state(optimizer, named, state)
    schedules = [schedule(Stage(model, graph, node.steps, past)) for schedule in SCHEDULES]
    for schedule in schedules:
        schedule.at(start)
    ranks, rank = dist.get_world_size(), dist.get_rank()
    sequences = spec.batch_tokens // node.sequence_length
    stable = node.steps_to("stable")
    rows = micro_batch(spec, node.sequence_length, ranks)
    load = balancing.Load(model, graph.moe, spec.balance)
    recompute_layers(model, spec.activation_checkpointing)
    restore = compile_layers(model, graph) if compiled else None
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
            ).to(device)
            lr = learning_rate(spec.schedule, spec.optimizer.lr, step, node.steps)
            set_rate(optimizer, lr)
            loss, counts = _accumulate(model, batch.split(rows), load, spec.balance)
            norm = clip(named.values(), spec.optimizer.clip_norm)
            with ExitStack() as around:
                for schedule in schedules:
                    around.enter_context(schedule.around_update(step))
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
            for schedule in schedules:
                schedule.at(done)
            if rank == 0:
                row = Row(
                    done, done * spec.batch_tokens, loss=mean, lr=lr, grad_norm=norm, tokens_per_second=speed,
                    max_violation=balancing.violation(counts),
                )  # fmt: skip
                append_rows(metrics, [row])
                hooks.progress(done, mean, speed)
            if spec.validate_every and done % spec.validate_every == 0 and done < node.steps:
                val = float(validation_losses(model, windows, device).mean())
                load.counts = {}
                if rank == 0:
                    append_rows(metrics, [Row(done, val_loss=val)])
            if done == stable < node.steps:
                hooks.save("stable", done, get_state(optimizer, named))
            if done < node.steps and (stop or (spec.checkpoint_every and done % spec.checkpoint_every == 0)):
                hooks.save("step", done, get_state(optimizer, named))
            if stop and done < node.steps:
                raise Interrupted
    finally:
        load.close()
        if restore is not None:
            restore()
    return get_state(optimizer, named)


def _accumulate(
    model: PreTrainedModel, parts: Sequence[Tensor], load: balancing.Load, balance: Balance
) -> tuple[Tensor, dict[int, Tensor]]:
    """Gradients of a rank's share of a batch, one micro-batch after another, and its mean loss and its counts.

    The losses and counts are those of the whole batch. An auxiliary loss is the mean of those of micro-batches, each
    over the tokens of all ranks: the shares of experts in a micro-batch lie farther from even than those in the batch.
    """
    total, counts = torch.zeros((), device=parts[0].device), dict[int, Tensor]()
    for part in parts:
        loss = mean_loss(model, part)
        found = load.reduced()
        counts = {layer: counts.get(layer, 0) + count for layer, count in found.items()}
        objective = loss
        if balance.method == "auxiliary" and found:
            objective = objective + balancing.auxiliary_loss(load, found, balance.rate)
        if balance.z_loss and found:
            objective = objective + balancing.z_loss(load, balance.z_loss)
        (objective / len(parts)).backward()
        total += loss.detach() / len(parts)
    return total, counts


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Models that draw random numbers in training draw the same ones when a step is done again."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _agree(loss: Tensor, stop: bool, device: torch.device) -> tuple[float, bool]:
    """Mean loss over the ranks, and whether any rank was asked to stop, in one collective."""
    pair = torch.tensor([float(local(loss.detach())), float(stop)], dtype=torch.float64, device=device)
    dist.all_reduce(pair)
    return float(pair[0]) / dist.get_world_size(), bool(pair[1] > 0)
