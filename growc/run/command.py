"""`growc run`: freeze the plan, prepare the data, start the ranks, and say how it ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
import torch

from growc.data import Corpus, prepare
from growc.diagnostics import Diagnostic, ExitCode, GrowcError, Severity, fail
from growc.engine.layout import layout
from growc.engine.micro import micro_batch
from growc.files.atomic import read_json
from growc.files.beside import beside
from growc.growth.graph import TrainNode
from growc.growth.open import Opened, open_spec
from growc.model import fetch
from growc.plan.build import build_plan
from growc.plan.freeze import drift, open_plan, read_plan, spec_moved_on, write_plan
from growc.plan.plan import Plan
from growc.records.folder import RunFolder
from growc.records.journal import Event, events, record
from growc.run.kernels import hold_kernels
from growc.run.machine import check_bf16


def run(
    target: Path,
    run_dir: Path,
    nproc: int,
    overrides: Sequence[str],
    allow_code: bool,
    echo: Callable[[str], None],
    *,
    allow_unlike: bool = False,
) -> ExitCode:
    """Execute a spec or a frozen plan; called again on the same folder, resume it.

    Under torchrun this process is a rank; else it starts `nproc` ranks on this machine.

    Raises:
        GrowcError: the spec has findings, the plan is stale, or the folder belongs to another spec.
    """
    folder = RunFolder(run_dir)
    if os.environ.get("RANK", "0") != "0":
        return _as_rank(folder, allow_code, echo)
    plan, opened = _open(target, overrides, allow_code, allow_unlike)
    _check(plan, opened, nproc)
    for warning in opened.left_out():
        echo(f"warning: {warning}")
    with _alone(folder) as lock:
        _prepare(folder, plan, opened, echo, allow_unlike)
        if "RANK" in os.environ:
            return _as_rank(folder, allow_code, echo)
        return _launch(folder, nproc, allow_code, lock)


def _open(target: Path, overrides: Sequence[str], allow_code: bool, allow_unlike: bool) -> tuple[Plan, Opened]:
    if target.suffix == ".json":
        plan = read_plan(target)
        opened = open_plan(plan, allow_code=allow_code)
        if moved := [*(["spec"] if spec_moved_on(plan) else []), *drift(plan, opened)]:
            again = f"growc plan {plan.spec_path} --out {target}"
            fail("GROW601", f"the plan is stale: {', '.join(moved)} changed since it was made",
                 help=f"look at the changes, then make it again: {again}")  # fmt: skip
        return plan, opened
    opened = open_spec(target, overrides, allow_code=allow_code)
    return build_plan(opened, allow_unlike=allow_unlike), opened


def _check(plan: Plan, opened: Opened, nproc: int) -> None:
    """What can be known to fail before anything is written."""
    errors = [d for d in plan.findings() if d.severity is Severity.ERROR]
    if errors:
        raise GrowcError(errors)
    spec, ranks = opened.loaded.spec, int(os.environ.get("WORLD_SIZE", nproc))
    if spec.data is None:
        fail("GROW602", f"{plan.spec_path} has no data, and a run measures and trains",
             help="add a data section, or grow a checkpoint folder with `growc grow`")  # fmt: skip
    layout(spec.parallel, ranks, [node.after for node in opened.graph.nodes])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hold_kernels(spec.kernels, opened.graph, device)
    check_bf16(device, opened.graph.nodes)
    for node in opened.graph.nodes:
        micro_batch(node.training, spec.data.sequence_length, ranks)


@contextmanager
def _alone(folder: RunFolder) -> Generator[int]:
    """Hold the run folder: two runs in one folder would write over each other. The kernel gives it up with us."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if not folder.plan.exists() and (strange := _strange(folder.path)):
            fail("GROW619", f"{folder.path} is no run folder, and holds {min(strange)}",
                 help="choose a --run-dir that does not exist or is empty")  # fmt: skip
        lock = folder.lock.open("w")
    except OSError as error:
        fail("GROW614", f"cannot use {folder.path} as a run folder: {error.strerror}", help="choose another --run-dir")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail("GROW613", f"another process is running in {folder.path}",
                 help="wait for it, stop it, or choose another --run-dir")  # fmt: skip
        yield lock.fileno()


def _strange(folder: Path) -> list[str]:
    """What a run should not write beside: folders, and models. A log may be there."""
    return [path.name for path in folder.iterdir() if path.is_dir() or path.name == "config.json"]


def _prepare(folder: RunFolder, plan: Plan, opened: Opened, echo: Callable[[str], None], allow_unlike: bool) -> None:
    spec = opened.loaded.spec
    assert spec.data is not None
    if folder.plan.exists() and folder.journal.exists():  # a start that was refused is no run yet
        _same(read_plan(folder.plan), plan, folder)
    write_plan(plan, folder.plan)
    folder.stop.unlink(missing_ok=True)
    folder.outcome.unlink(missing_ok=True)
    for source in (root.source for root in opened.models):
        if source.kind == "hub":
            echo(f"fetching {source.origin}")
        if (weights := fetch(source).weights) is not None:
            beside(weights)  # it goes along with every checkpoint, so what cannot is refused before anything is done
    if not allow_unlike and (unlike := opened.unlike(lambda source: fetch(source).weights)):
        raise GrowcError(unlike)  # those of the hub are known by now, and a frozen plan knows none
    echo("preparing data")
    vocabulary = min(root.model.config["vocab_size"] for root in opened.models)  # all models read the same tokens
    corpus = prepare(spec.data, vocabulary, folder.data, opened.loaded.base_dir, spec.training.seed)
    for node in opened.graph.nodes:
        if isinstance(node, TrainNode):  # a batch that does not fit is better known before the first stage
            sequences = node.training.batch_tokens // node.sequence_length
            corpus.part(node.data).batch(node.training.seed, 0, sequences, node.sequence_length)
    _same_data(folder, corpus)


def _same_data(folder: RunFolder, corpus: Corpus) -> None:
    """All stages of a run read the same text: held-out text of one must not be trained on by another."""
    first = next(events(folder.journal, "data"), None)
    if first is None:
        record(folder.journal, Event(time.time(), "data", content=corpus.manifest.content))
    elif first.content != corpus.manifest.content:
        fail("GROW615", f"the data of {folder.path} has changed since the run began",
             help="restore the files, or choose another --run-dir")  # fmt: skip


def _same(before: Plan, now: Plan, folder: RunFolder) -> None:
    """A run folder belongs to one spec, one source and one version of the code."""
    moved = [part for part in ("spec", "source", "code") if before.hashes.get(part) != now.hashes[part]]
    if moved:
        fail("GROW611", f"{folder.path} belongs to a run with another {' and another '.join(moved)}",
             help="choose another --run-dir, or delete the folder to start over")  # fmt: skip


def _as_rank(folder: RunFolder, allow_code: bool, echo: Callable[[str], None]) -> ExitCode:
    from growc.engine import distribute
    from growc.run.worker import work

    while not folder.plan.exists() or not (folder.data).exists():
        time.sleep(0.2)
    code = work(folder.path, allow_code=allow_code)
    if os.environ["RANK"] == "0":
        for found in _diagnostics(folder):
            echo(str(found))
    distribute.stop(code, status=int(code))


def _launch(folder: RunFolder, nproc: int, allow_code: bool, lock: int) -> ExitCode:
    """Start the ranks and wait. SIGINT and SIGTERM ask them to save and stop; a second one kills them."""
    threads = max(1, (os.cpu_count() or 1) // nproc)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}",
        "-m", "growc.run.worker", str(folder.path.resolve()), *(["--allow-code"] if allow_code else []),
    ]  # fmt: skip
    # torchrun holds the lock too, and rank 0 one of its own: they may outlive a launcher that is killed.
    child = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=(lock,))
    asked = 0

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            folder.stop.touch()
        else:
            for process in [*psutil.Process(child.pid).children(recursive=True), child]:
                process.kill()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        folder.stop.unlink(missing_ok=True)
    outcome = folder.outcome
    if not outcome.exists():
        if asked > 1:
            return ExitCode.INTERRUPTED
        fail("GROW612", f"the ranks died (exit code {child.returncode})",
             help="what is committed is safe; the same command resumes the run")  # fmt: skip
    if found := _diagnostics(folder):
        raise GrowcError(found)
    return ExitCode(read_json(outcome)["exit"])


def _diagnostics(folder: RunFolder) -> list[Diagnostic]:
    """What the ranks found, as they left it."""
    return [Diagnostic.read(values) for values in read_json(folder.outcome)["diagnostics"]]
