"""Running the nodes of a growth graph one after another, each from the committed state of the one before."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.checkpoint.atomic import read_json, write_json
from growc.checkpoint.write import TRAINING
from growc.diagnostics import fail
from growc.growth.graph import GrowNode, GrowthGraph, TrainNode
from growc.model import ModelGraph, ModelSource, inspect
from growc.operators.operator import Replicas
from growc.run import grow as growing
from growc.run.balance import Load
from growc.run.data import Corpus, Tokens
from growc.run.distribute import build_model, named_state
from growc.run.export import save_checkpoint, sibling_cosines
from growc.run.folder import RunFolder
from growc.run.grow import Place, Windows
from growc.run.journal import append_rows, events, record
from growc.run.layout import Layout
from growc.run.losses import validation_losses
from growc.run.optimizer import State, stable_step
from growc.run.progress import Progress
from growc.run.source import write_fresh, write_source
from growc.run.state import load_state, read_config, read_meta, save_state
from growc.run.train import Hooks, train
from growc.spec import LoadedSpec

RESULT = "result.json"
"""File of a finished stage: losses by validation window, loads, siblings, seconds."""


@dataclass
class Runner:
    """Everything a rank knows of the run."""

    graph: GrowthGraph
    loaded: LoadedSpec
    source: ModelSource
    folder: RunFolder
    corpus: Corpus
    windows: Windows
    layout: Layout
    device: torch.device
    progress: Progress
    max_increase: float | None
    interrupted: Callable[[], bool]

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return dist.get_rank() == 0

    def run(self) -> None:
        """Run every node that is not done; a node is done when its checkpoint is committed."""
        for node in self.graph.nodes:
            path = self.folder.checkpoint(node.name)
            if path.exists():
                if read_meta(path / TRAINING).key != node.key:
                    fail("GROW610", f"{path} belongs to another plan", help="choose another --run-dir")
                if self.first:
                    self.progress.skip(node.name)
                continue
            self._log("stage_started", node.name, kind=node.kind)
            if isinstance(node, TrainNode):
                self._train(node)
            else:
                self._grow(node)
            self._log("stage_finished", node.name)

    def _start_of(self, node: TrainNode | GrowNode) -> Path:
        """The folder of the state from which `node` starts, made first where it is the source or fresh weights."""
        if node.start.node is not None:
            parent = self.graph.node(node.start.node)
            anneals = (
                isinstance(parent, TrainNode) and stable_step(parent.training.schedule, parent.steps) < parent.steps
            )
            if node.start.port == "stable" and anneals:
                return self.folder.stable(node.start.node)
            return self.folder.checkpoint(node.start.node) / TRAINING
        fresh = isinstance(node, TrainNode) and node.scratch
        path = self.folder.scratch(node.name) if fresh else self.folder.source
        if not path.exists() and self.first:
            if fresh:
                write_fresh(path, node.before.config, node.training.seed)
            else:
                write_source(path, self.loaded, self.source, node.training.seed)
        dist.barrier()
        return path

    def _load(self, path: Path, seed: int) -> tuple[PreTrainedModel, ModelGraph, State]:
        config = read_config(path)
        model = build_model(config, self.layout, self.device, seed)
        _, state = load_state(path, model)
        return model, inspect(config, self.graph.source.cost.sequence_length), state

    def _train(self, node: TrainNode) -> None:
        steps = self.folder.steps(node.name)
        metrics = self.folder.stage(node.name) / "metrics.jsonl"
        saved = [p for p in steps.glob("step-*") if p.suffix != ".partial"] if steps.exists() else []
        latest = max(saved, key=lambda p: int(p.name.removeprefix("step-")), default=None)
        if latest is not None and read_meta(latest).key != node.key:
            fail("GROW610", f"{latest} belongs to another plan", help="choose another --run-dir")
        model, graph, state = self._load(latest or self._start_of(node), node.training.seed)
        start = read_meta(latest).step if latest is not None else 0
        if self.first:
            steps.mkdir(parents=True, exist_ok=True)
            self.progress.stage(node.name, f"resumed at step {start}" if start else f"{node.steps} steps of training")

        def save(kind: str, step: int, optimizer: State) -> None:
            if kind == "stable" and not self.graph.keeps_stable(node.name):
                return
            path = self.folder.stable(node.name) if kind == "stable" else steps / f"step-{step}"
            if path.exists():  # a state of this very step, committed before the run was cut off
                return
            tokens = step * node.training.batch_tokens
            save_state(path, model, optimizer, key=node.key, node=node.name, step=step, tokens=tokens)
            self._log("state_saved", node.name, step=step, state=kind)
            if kind == "step" and self.first:
                for old in steps.glob("step-*"):
                    if old != path:
                        shutil.rmtree(old)

        hooks = Hooks(
            save,
            lambda step, loss, speed: self.progress.step(node, step, start, loss, speed),
            self.interrupted,
        )
        state = train(
            node, model, graph, state, self.corpus.part(node.data), self.windows, metrics, hooks,
            start=start, offset=self._offset(node), device=self.device,
        )  # fmt: skip
        load = Load(model, graph.moe, probabilities=False)
        losses = validation_losses(model, self.windows, self.device, node.training.precision)
        counts = load.reduced()
        load.close()
        cosines = sibling_cosines(graph, self._groups(node), named_state(model))
        if self.first:
            append_rows(metrics, [{"step": node.steps, "val_loss": float(losses.mean())}])
        self._finish(
            node, model, graph, state, node.steps,
            {"val_losses": losses.tolist(), "load": {layer: c.tolist() for layer, c in counts.items()},
             "sibling_cosine": cosines},
        )  # fmt: skip
        if self.first:
            shutil.rmtree(steps, ignore_errors=True)
            shutil.rmtree(self.folder.scratch(node.name), ignore_errors=True)

    def _grow(self, node: GrowNode) -> None:
        began = time.perf_counter()
        model, graph, state = self._load(self._start_of(node), node.training.seed)
        place = Place(self.layout, self.device, node.training.precision, node.training.seed, self.windows)
        before = validation_losses(model, self.windows, self.device, place.precision)
        result: dict[str, Any] = {"val_losses_before": before.tolist(), "operators": []}
        for index, rewrite in enumerate(node.rewrites):
            planned = growing.replan(rewrite, graph)
            decision = self._decision(node, index, planned, model, state, place)
            replicas = {site: decision.replicas[site.layer] for site in planned.sites}
            if index == 0 and (prediction := growing.predict(model, graph, replicas, place)):
                result["predicted_val_losses"] = prediction.losses.tolist()
                result["k_eff"] = prediction.k_eff
                self._say(node.name, _predicted(float(before.mean()), prediction))
            model, graph, state = growing.apply(planned, decision, model, state, place)
            result["operators"].append({"op": decision.op, "replicas": decision.replicas, "scores": decision.scores})
        after = validation_losses(model, self.windows, self.device, place.precision)
        result["val_losses"] = after.tolist()
        result["seconds"] = time.perf_counter() - began
        increase = float((after - before).mean())
        self._say(node.name, f"validation loss {before.mean():.6f} -> {after.mean():.6f} ({increase:+.1e} nats)")
        if self.max_increase is not None and not increase <= self.max_increase:  # a NaN does not pass
            fail(
                "GROW450",
                f"growth in stage {node.name} raised the validation loss by {increase:.2e} nats, more than "
                f"invariants.loss.max_increase {self.max_increase:g} allows",
                help="the grown model was not kept; relax the invariant, or grow with an exact operator",
            )
        self._finish(node, model, graph, state, 0, result)

    def _decision(
        self, node: GrowNode, index: int, planned: Any, model: PreTrainedModel, state: State, place: Place
    ) -> growing.Decision:
        """Made once: a growth that is done again reads what the journal says."""
        for event in events(self.folder.journal, "decision"):
            if event["key"] == node.key and event["index"] == index:
                replicas = {int(layer): tuple(r) for layer, r in event["replicas"].items()}
                scores = {int(layer): tuple(s) for layer, s in event["scores"].items()}
                return growing.Decision(event["op"], replicas, scores)
        decision = growing.allocate(planned, model, state, lambda count: self._calibration(node, count), place)
        self._log(
            "decision", node.name, key=node.key, index=index, op=decision.op,
            replicas=decision.replicas, scores=decision.scores,
        )  # fmt: skip
        return decision

    def _calibration(self, node: GrowNode, count: int) -> list[Tensor]:
        """This rank's share of the next `count` batches that the source would have trained on."""
        assert node.data is not None
        tokens: Tokens = self.corpus.part(node.data)
        length = self.graph.source.cost.sequence_length
        sequences = node.training.batch_tokens // length
        ranks, rank, offset = dist.get_world_size(), dist.get_rank(), self._offset(node)
        return [
            torch.from_numpy(tokens.batch(node.training.seed, offset + i, sequences, length, rank, ranks))
            for i in range(count)
        ]

    def _offset(self, node: TrainNode | GrowNode) -> int:
        """Batches of this node's size that its ancestors have read from its part of the data."""
        sequences, start = 0, node.start
        while start.node is not None:
            parent = self.graph.node(start.node)
            if isinstance(parent, TrainNode) and parent.data == node.data:
                steps = stable_step(parent.training.schedule, parent.steps) if start.port == "stable" else parent.steps
                sequences += steps * parent.training.batch_tokens // parent.sequence_length
            start = parent.start
        per_batch = node.training.batch_tokens // self.graph.source.cost.sequence_length
        return -(-sequences // per_batch)

    def _groups(self, node: TrainNode) -> dict[int, Replicas]:
        """Sizes of the groups of siblings by layer, from the nearest growth that led here."""
        start = node.start
        while start.node is not None:
            parent = self.graph.node(start.node)
            if isinstance(parent, GrowNode):
                last = read_json(self.folder.stage(parent.name) / RESULT)["operators"][-1]
                return {int(layer): tuple(replicas) for layer, replicas in last["replicas"].items()}
            start = parent.start
        return {}

    def _finish(
        self,
        node: TrainNode | GrowNode,
        model: PreTrainedModel,
        graph: ModelGraph,
        state: State,
        step: int,
        result: dict[str, Any],
    ) -> None:
        if self.first:
            write_json(self.folder.stage(node.name) / RESULT, result)
        tokens = step * node.training.batch_tokens
        lineage: dict[str, Any] = {
            "stage": node.stage, "arm": node.arm, "from": str(node.start), "step": step, "tokens": tokens
        }  # fmt: skip
        if isinstance(node, GrowNode):
            described = [{"op": r.operator.op, **r.operator.model_dump(mode="json")} for r in node.rewrites]
            lineage["operators"] = [
                spec | {"replicas": done["replicas"]} for spec, done in zip(described, result["operators"], strict=True)
            ]
        save_checkpoint(
            self.folder.checkpoint(node.name), model, graph, state,
            key=node.key, node=node.name, step=step, tokens=tokens, lineage=lineage,
        )  # fmt: skip

    def _log(self, event: str, node: str, **details: Any) -> None:
        if self.first:
            self.folder.stage(node).mkdir(parents=True, exist_ok=True)
            record(self.folder.journal, event, stage=node, **details)

    def _say(self, node: str, text: str) -> None:
        if self.first:
            self.progress.stage(node, text)


def _predicted(before: float, prediction: growing.Prediction) -> str:
    mean = sum(prediction.k_eff.values()) / len(prediction.k_eff)
    loss = float(prediction.losses.mean())
    return (
        f"plain duplication would meet {mean:.2f} different experts per token (K_eff) and move the validation loss "
        f"{before:.4f} -> {loss:.4f} ({loss - before:+.4f} nats, predicted on the source)"
    )
