"""Running the nodes of a growth graph one after another, each from the committed state of the one before."""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.grown_format import releasing
from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.training import State, read_config, read_meta
from growc.checks.findings import loss_limit
from growc.data import Corpus, Tokens
from growc.diagnostics import fail
from growc.engine.balance import Load
from growc.engine.distribute import build_model, named_state
from growc.engine.layout import Layout
from growc.engine.losses import ready_head, validation_losses
from growc.files.atomic import write_json
from growc.files.beside import TRAINING
from growc.growth.decision import Decision
from growc.growth.graph import GrowNode, GrowthGraph, TrainNode, described
from growc.growth.graph import State as Start
from growc.growth.rewrite import Rewrite
from growc.measures.calibration import Parent
from growc.model import inspect
from growc.model.build import canonical
from growc.operators.facets import LetsSiblingsCompete, free_top_k_of
from growc.records.folder import RunFolder
from growc.records.journal import DECISION, Event, decided, record, record_decision
from growc.records.loss_invariant import loss_status
from growc.records.metrics import Row, append_rows
from growc.records.results import DryRunResult, GrowResult, Losses, Result, SkippingResult, TrainResult, without_none
from growc.run import grow as growing
from growc.run.export import save_checkpoint, sibling_cosines
from growc.run.grow import Place, Windows
from growc.run.lineage import growths, siblings
from growc.run.prediction_text import change_says, dry_run_says, prediction_says, skipping_says
from growc.run.progress import Progress
from growc.run.source import write_fresh, write_source
from growc.run.state import load_state, save_state
from growc.run.train import Hooks, train
from growc.spec.kernels import Kernels
from growc.spec.training import Training


@dataclass
class Runner:
    """Everything a rank knows of the run."""

    graph: GrowthGraph
    folder: RunFolder
    corpus: Corpus
    windows: Windows
    layout: Layout
    device: torch.device
    kernels: Kernels
    progress: Progress
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
            self._log(Event(time.time(), "stage_started", node.name, kind=node.kind))
            if isinstance(node, TrainNode):
                self._train(node)
            else:
                self._grow(node)
            gc.collect()
            self._log(Event(time.time(), "stage_finished", node.name))

    def _start_of(self, node: TrainNode | GrowNode, state: Start) -> Path:
        """The folder of a state from which `node` starts, made first where it is a source or fresh weights."""
        if state.node is not None:
            parent = self.graph.node(state.node)
            if parent.steps_to(state.port) < parent.steps_to("end"):
                return self.folder.stable(state.node)
            return self.folder.checkpoint(state.node) / TRAINING
        root = node.root.at(state)
        fresh, seed = isinstance(node, TrainNode) and node.scratch, node.training.seed
        shared = self.folder.source(root.key, seed if root.source.drawn else None)
        path = self.folder.scratch(node.name) if fresh else shared
        if not path.exists() and self.first:
            if fresh:
                write_fresh(path, node.before.config, seed)
            else:
                write_source(path, root, node.loaded.base_dir, seed)
        dist.barrier()
        return path

    def _load(self, path: Path, training: Training) -> tuple[PreTrainedModel, ModelGraph, State]:
        config = read_config(path)
        model = build_model(config, self.layout, self.device, training.seed, training.precision.compute, self.kernels)
        _, state = load_state(path, model)
        ready_head(model, self.device)
        return model, inspect(config, self.graph.source.cost.sequence_length), state

    def _train(self, node: TrainNode) -> None:
        steps = self.folder.steps(node.name)
        metrics = self.folder.metrics(node.name)
        saved = [p for p in steps.glob("step-*") if p.suffix != ".partial"] if steps.exists() else []
        latest = max(saved, key=lambda p: int(p.name.removeprefix("step-")), default=None)
        if latest is not None and read_meta(latest).key != node.key:
            fail("GROW610", f"{latest} belongs to another plan", help="choose another --run-dir")
        model, graph, state = self._load(latest or self._start_of(node, node.start), node.training)
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
            self._log(Event(time.time(), "state_saved", node.name, step=step, state=kind))
            if kind == "step" and self.first:
                for old in steps.glob("step-*"):
                    if old != path:
                        shutil.rmtree(old)

        hooks = Hooks(
            save,
            lambda step, loss, speed: self.progress.step(node, step, start, loss, speed),
            self.interrupted,
        )
        past = growths(self.graph, self.folder, node)
        state = train(
            node, model, graph, state, self.corpus.part(node.data), self.windows, metrics, hooks,
            past=past, start=start, offset=self._offset(node, node.data), device=self.device,
            compiled=self.kernels.compile,
        )  # fmt: skip
        if releasing(graph.config):
            graph = inspect(canonical(model.config), graph.cost.sequence_length)
        load = Load(model, graph.moe)
        losses = validation_losses(model, self.windows, self.device)
        counts = load.reduced()
        load.close()
        cosines = sibling_cosines(graph, siblings(past), named_state(model))
        if self.first:
            append_rows(metrics, [Row(node.steps, val_loss=float(losses.mean()))])
        result = TrainResult(
            val_losses=_listed(losses),
            load={layer: tuple(count.tolist()) for layer, count in counts.items()},
            sibling_cosine=cosines,
        )
        self._finish(node, model, graph, state, node.steps, result)
        if self.first:
            shutil.rmtree(steps, ignore_errors=True)
            shutil.rmtree(self.folder.scratch(node.name), ignore_errors=True)

    def _grow(self, node: GrowNode) -> None:
        began = time.perf_counter()
        model, graph, state = self._load(self._start_of(node, node.start), node.training)
        training = node.training
        place = Place(self.layout, self.device, training.precision.compute, training.seed, self.windows, self.kernels)
        before = validation_losses(model, self.windows, self.device)
        others, of_others, settled = list[Parent](), dict[str, Losses](), list[dict[str, Any]]()
        prediction: growing.Prediction | None = None
        dry: growing.DryRun | None = None
        skipped: SkippingResult | None = None
        for start in node.others:
            others.append(self._other(node, start))
            losses = validation_losses(others[-1].model, self.windows, self.device)
            of_others[str(start)] = _listed(losses)
            self._say(node.name, f"validation loss of {start} {losses.mean():.6f}")
        for index, rewrite in enumerate(node.rewrites):
            planned = growing.replan(rewrite, graph)
            parents = [Parent(model, state), *others]
            decision = self._decision(node, index, planned, parents, place)
            replicas = {site: decision.replicas[site.layer] for site in planned.mixtures}
            if index == 0 and free_top_k_of(planned.operator):
                prediction = growing.predict(model, graph, replicas, place)
            if index == 0 and prediction:
                self._say(node.name, prediction_says(float(before.mean()), prediction))
            if isinstance(planned.operator, LetsSiblingsCompete):
                dry = growing.dry_run(model, planned.mixtures, place)
                self._say(node.name, dry_run_says(float(before.mean()), dry))
            model, graph, state = growing.apply(planned, decision, parents, place)
            others = []
            del parents
            gc.collect()  # sharded models refer to themselves: what has grown would stay beside what has become of it
            settled.append(decision.record())
            if skipping := growing.skipping(planned, model, graph, lambda count: self._calibration(node, count), place):
                skipped = SkippingResult(skipping.beta, skipping.skipped, _listed(skipping.losses))
                self._log(
                    Event(time.time(), "skipping", node.name, index=index, beta=skipping.beta, skipped=skipping.skipped)
                )
                after = validation_losses(model, self.windows, self.device)
                self._say(node.name, skipping_says(float(after.mean()), skipping))
        after = validation_losses(model, self.windows, self.device)
        seconds = time.perf_counter() - began
        increase = float((after - before).mean())
        self._say(node.name, f"validation loss {before.mean():.6f} -> {after.mean():.6f} ({change_says(increase)})")
        if not math.isfinite(after.mean()):
            fail(
                "GROW453",
                f"growth in stage {node.name} left a model whose validation loss is {after.mean()}",
                help="the grown model was not kept; look at the sizes of what its operators draw, as `std` and `noise`",
                span=node.loaded.span("stages", node.position),
            )
        bound = loss_limit(node)
        if bound is not None and loss_status(increase, bound[0]) == "broken":
            fail(
                "GROW450",
                f"growth in stage {node.name} raised the validation loss by {increase:.2e} nats, more than "
                f"invariants.loss.max_increase {bound[0]:g} allows",
                help="the grown model was not kept; relax the invariant, or grow with an exact operator",
            )
        result = GrowResult(
            val_losses_before=_listed(before),
            operators=tuple(settled),
            val_losses_of_others=of_others or None,
            predicted_val_losses=_listed(prediction.losses) if prediction else None,
            k_eff=prediction.k_eff if prediction else None,
            dry_run=DryRunResult(_listed(dry.losses), dry.collisions) if dry else None,
            skipping=skipped,
            val_losses=_listed(after),
            seconds=seconds,
        )
        self._finish(node, model, graph, state, 0, result)

    def _other(self, node: GrowNode, start: Start) -> Parent:
        """A further model that is mixed; nothing else holds it."""
        model, _, state = self._load(self._start_of(node, start), node.training)
        return Parent(model, state, partial(self._batches, node, self.graph.part(start)))

    def _decision(self, node: GrowNode, index: int, planned: Rewrite, parents: list[Parent], place: Place) -> Decision:
        """Made once: a growth that is done again reads what the journal says."""
        if known := decided(self.folder.journal, node.key, index):
            return known
        decision = growing.decide(planned, parents, lambda count: self._calibration(node, count), place)
        if self.first:
            event = Event(time.time(), DECISION, node.name, key=node.key, index=index)
            record_decision(self.folder.journal, event, decision)
        return decision

    def _calibration(self, node: GrowNode, count: int) -> list[Tensor]:
        """This rank's share of the next `count` batches that its source would have trained on, or each of several."""
        return [batch for part in self.graph.parts(node) for batch in self._batches(node, part, count)]

    def _batches(self, node: GrowNode, part: str | None, count: int) -> list[Tensor]:
        """This rank's share of the next `count` batches of one part of the data."""
        assert part is not None
        length = self.graph.source.cost.sequence_length
        sequences = node.training.batch_tokens // length
        tokens: Tokens = self.corpus.part(part)
        offset, ranks, rank = self._offset(node, part), dist.get_world_size(), dist.get_rank()
        return [
            torch.from_numpy(tokens.batch(node.training.seed, offset + i, sequences, length, rank, ranks))
            for i in range(count)
        ]

    def _offset(self, node: TrainNode | GrowNode, part: str | None) -> int:
        """Batches of this node's size that its ancestors have read from a part of the data."""
        per_batch = node.training.batch_tokens // self.graph.source.cost.sequence_length
        return -(-self.graph.sequences_read(node, part) // per_batch)

    def _finish(
        self,
        node: TrainNode | GrowNode,
        model: PreTrainedModel,
        graph: ModelGraph,
        state: State,
        step: int,
        result: Result,
    ) -> None:
        if self.first:
            write_json(self.folder.result(node.name), without_none(result))
        tokens = step * node.training.batch_tokens
        lineage: dict[str, Any] = {
            "stage": node.stage, "arm": node.arm, "point": dict(node.point), "from": node.origin, "step": step,
            "tokens": tokens,
        }  # fmt: skip
        if isinstance(node, GrowNode):
            assert isinstance(result, GrowResult)
            lineage["operators"] = [
                described(rewrite.operator) | {"replicas": done["replicas"]}
                for rewrite, done in zip(node.rewrites, result.operators, strict=True)
            ]
        else:
            lineage["siblings"] = siblings(growths(self.graph, self.folder, node))
        save_checkpoint(
            self.folder.checkpoint(node.name), model, graph, state,
            key=node.key, node=node.name, step=step, tokens=tokens, lineage=lineage,
            source=self.graph.source_of(node, node.start),
        )  # fmt: skip

    def _log(self, event: Event) -> None:
        assert event.stage is not None
        if self.first:
            self.folder.stage(event.stage).mkdir(parents=True, exist_ok=True)
            record(self.folder.journal, event)

    def _say(self, node: str, text: str) -> None:
        if self.first:
            self.progress.stage(node, text)


def _listed(losses: Tensor) -> Losses:
    """Losses by validation window, as records have them."""
    return tuple(losses.tolist())
