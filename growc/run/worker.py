"""One rank of a run, started by torchrun: `python -m growc.run.worker RUN_DIR`.

However it ends, rank 0 leaves `outcome.json` for the launcher, so that a user's mistake found at run time is printed
as a diagnostic and never as the traceback of a child process.
"""

from __future__ import annotations

import fcntl
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch.distributed as dist

from growc.data import open_corpus
from growc.diagnostics import Diagnostic, ExitCode, GrowcError, fail
from growc.engine import distribute
from growc.engine.kernels import taken
from growc.engine.layout import Layout, layout
from growc.engine.micro import micro_batch
from growc.files.atomic import write_json
from growc.files.versions import code_digest
from growc.growth.graph import GrowthGraph, TrainNode
from growc.plan.freeze import drift, open_plan, read_plan
from growc.records.folder import RunFolder
from growc.records.journal import Event, record
from growc.run.kernels import hold_kernels, models_of, settle
from growc.run.machine import check_bf16, machine
from growc.run.progress import Progress
from growc.run.stages import Runner
from growc.run.summary import write_summary
from growc.run.train import Interrupted


def work(run_dir: Path, *, allow_code: bool) -> ExitCode:
    """Run all stages as this rank; returns how the run ended. Joins the process group and leaves it joined."""
    device = distribute.start()
    folder = RunFolder(run_dir)
    first = dist.get_rank() == 0
    signalled: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        signalled.append(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        lock = folder.lock_of_rank0.open("w") if first else None
        if lock is not None:
            _hold(lock, run_dir)
        plan = read_plan(folder.plan)
        opened = open_plan(plan, allow_code=allow_code)
        if moved := drift(plan, opened):
            fail("GROW601", f"{', '.join(moved)} changed while the run started", help="start it again")
        graph = opened.graph
        spec = opened.loaded.spec
        assert spec.data is not None
        on_every_rank(lambda: check_bf16(device, graph.nodes))
        models = [node.after for node in graph.nodes]
        places = layout(spec.parallel, dist.get_world_size(), models)
        corpus = open_corpus(folder.data)
        windows = corpus.validation.windows(spec.data.sequence_length, spec.data.validation.sequences)
        kernels = settle(spec.kernels, graph, folder, places, device)
        on_every_rank(lambda: hold_kernels(kernels, graph, device))
        if first:
            started = Event(
                time.time(), "run_started", ranks=dist.get_world_size(), layout=str(places), device=str(device),
                micro_batches=_shares(graph, places), kernels=taken(kernels, models_of(graph)),
                machine=machine(device), code=code_digest(),
            )  # fmt: skip
            record(folder.journal, started)
        runner = Runner(
            graph, folder, corpus, windows, places, device, kernels, Progress(graph, quiet=not first),
            interrupted=lambda: bool(signalled) or (first and folder.stop.exists()),
        )  # fmt: skip
        runner.run()
        if first:
            write_summary(folder, graph)
            record(folder.journal, Event(time.time(), "run_finished"))
        return _end(folder, ExitCode.CLEAN)
    except Interrupted:
        if first:
            record(folder.journal, Event(time.time(), "interrupted"))
        return _end(folder, ExitCode.INTERRUPTED)
    except GrowcError as error:
        return _end(folder, error.exit_code, error)


def _shares(graph: GrowthGraph, places: Layout) -> dict[str, dict[str, int]]:
    """For every train stage the sequences that a rank computes at once, and how often it does in a step."""
    found: dict[str, dict[str, int]] = {}
    for node in graph.nodes:
        if isinstance(node, TrainNode):
            rows = micro_batch(node.training, node.sequence_length, places.ranks)
            share = node.training.batch_tokens // node.sequence_length // places.ranks
            found[node.name] = {"sequences": rows, "per_step": share // rows}
    return found


def _hold(lock: IO[str], run_dir: Path) -> None:
    """A rank may outlive a launcher that was killed: as long as it lives, no other run may start here."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(
            "GROW613", f"ranks of an earlier call still run in {run_dir}", help="stop them, or choose another --run-dir"
        )


def on_every_rank(check: Callable[[], None]) -> None:
    """Refuse on all ranks what one refuses, by its words: machines differ, and none is to wait for one that left."""
    mine: tuple[Diagnostic, ...] = ()
    try:
        check()
    except GrowcError as error:
        mine = error.diagnostics
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    for theirs in everyone:
        if theirs:
            raise GrowcError(theirs)


def _end(folder: RunFolder, code: ExitCode, error: GrowcError | None = None) -> ExitCode:
    if dist.get_rank() == 0:
        diagnostics = [asdict(d) for d in error.diagnostics] if error else []
        write_json(folder.outcome, {"exit": int(code), "diagnostics": diagnostics})
    return code


def main(run_dir: Path, *, allow_code: bool) -> None:
    """Work, and whatever happens leave an outcome: a fault of ours is no interruption, and no retry mends it."""
    try:
        code = work(run_dir, allow_code=allow_code)
    except Exception:  # noqa: BLE001, a process boundary: it is printed and recorded, not swallowed
        known = RunFolder(run_dir).outcome.exists()  # a peer has said why it left, and a collective broke here
        if not known:
            traceback.print_exc()
            fault = Diagnostic("GROW617", "a rank failed; its traceback stands above", "please report it")
            outcome = {"exit": int(ExitCode.CANNOT_RUN), "diagnostics": [asdict(fault)]}
            write_json(RunFolder(run_dir).outcome, outcome)
        distribute.leave(0 if known else 1)
    distribute.stop(code, status=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), allow_code="--allow-code" in sys.argv[2:])
