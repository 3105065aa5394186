"""Three ways to train one model: growc's loop, a bare loop, and transformers' Trainer. Each yields seconds per step."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
from typing_extensions import override

from benchmarks.throughput.setting import Setting, device
from growc.engine.distribute import build_model
from growc.engine.layout import Layout
from growc.engine.losses import ready_head
from growc.run.source import fresh_model, write_fresh
from growc.run.state import load_state
from growc.run.train import Hooks, train


class Loop(Protocol):
    """A model that goes on training."""

    def turn(self, steps: int) -> list[float]:
        """Seconds of each of `steps` steps, after one that is not counted."""
        ...


class Growc(Loop):
    """growc's loop over a stage, as a run has it on one rank: losses in chunks, counts of experts, metrics.

    In bf16 with FSDP2, which casts the weights.
    """

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.folder, self.device, self.done = folder, device(), 0
        self.node, self.tokens = setting.node(folder, 2), setting.data()
        write_fresh(folder / "fresh", setting.config, 0)
        self.model = build_model(setting.config, Layout(1, 1), self.device, 0, setting.precision)
        load_state(folder / "fresh", self.model)
        ready_head(self.model, self.device)
        self.state: Any = {}

    @override
    def turn(self, steps: int) -> list[float]:
        ends: list[float] = []
        hooks = Hooks(lambda *_: None, lambda *_: ends.append(time.perf_counter()), lambda: False)
        self.state = train(
            replace(self.node, steps=steps + 1), self.model, self.node.before, self.state, self.tokens,
            self.tokens.windows(8, 1), self.folder / "metrics.jsonl", hooks,
            past=(), compiled=False, start=0, offset=self.done, device=self.device,
        )  # fmt: skip
        self.done += steps + 1
        return [after - before for before, after in itertools.pairwise(ends)]


class Bare(Loop):
    """What one writes by hand: forward, cross-entropy, backward, clip, AdamW.

    fp32 is the plain model; bf16 is FSDP2 with bf16 compute over fp32 weights, a layer at a time.
    """

    def __init__(self, setting: Setting, _: Path) -> None:
        self.setting, self.batches = setting, _batches(setting)
        self.model: Any = fresh_model(setting.config, 0)
        self.model.to(device())
        if setting.precision == "bf16":
            mesh = init_device_mesh(device().type, (1,))
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
            for module in (*self.model.model.layers, self.model):
                fully_shard(module, mesh=mesh, mp_policy=policy)
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=device().type == "cuda"
        )

    @override
    def turn(self, steps: int) -> list[float]:
        return _timed(self._step, steps)

    def _step(self) -> None:
        batch = next(self.batches)
        parts = batch.split(self.setting.micro_batch)
        total = 0.0
        for part in parts:
            logits = self.model(input_ids=part[:, :-1], use_cache=False).logits
            loss = F.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten()) / len(parts)
            loss.backward()
            total += float(loss.detach())
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class HuggingFace(Loop):
    """transformers' Trainer; its bf16 is autocast, which leaves the experts' products in fp32."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting, self.folder = setting, folder
        self.model = AutoModelForCausalLM.from_config(fresh_model(setting.config, 0).config, dtype=torch.float32)

    @override
    def turn(self, steps: int) -> list[float]:
        setting, ends = self.setting, list[float]()
        ids = itertools.chain.from_iterable(_batches(setting))
        rows = [{"input_ids": row[:-1].cpu(), "labels": row[:-1].cpu()}
                for row in itertools.islice(ids, (steps + 1) * setting.sequences)]  # fmt: skip
        arguments = TrainingArguments(
            str(self.folder), max_steps=steps + 1, per_device_train_batch_size=setting.micro_batch,
            gradient_accumulation_steps=setting.sequences // setting.micro_batch, bf16=setting.precision == "bf16",
            learning_rate=1e-4, max_grad_norm=1.0, weight_decay=0.1, lr_scheduler_type="constant",
            optim="adamw_torch_fused" if device().type == "cuda" else "adamw_torch", logging_strategy="no",
            save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=device().type == "cpu",
        )  # fmt: skip
        Trainer(self.model, arguments, train_dataset=rows, callbacks=[_Clock(ends)]).train()  # pyright: ignore[reportArgumentType]
        return [after - before for before, after in itertools.pairwise(ends)]


class _Clock(TrainerCallback):
    def __init__(self, ends: list[float]) -> None:
        self.ends = ends

    @override
    def on_step_end(self, *_: Any, **__: Any) -> None:
        _wait()
        self.ends.append(time.perf_counter())


LOOPS: dict[str, Callable[[Setting, Path], Loop]] = {"growc": Growc, "bare": Bare, "trainer": HuggingFace}


def _batches(setting: Setting) -> Iterator[Tensor]:
    tokens = setting.data()
    for step in itertools.count():
        batch = torch.from_numpy(tokens.batch(0, step, setting.sequences, setting.length))
        yield batch.to(device())


def _timed(step: Callable[[], None], steps: int) -> list[float]:
    times: list[float] = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        step()
        _wait()
        times.append(time.perf_counter() - began)
    return times[1:]


def _wait() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def join() -> None:
    """A process group of this process alone, which FSDP2 needs."""
    backend = "cpu:gloo,cuda:nccl" if device().type == "cuda" else "gloo"
    dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
