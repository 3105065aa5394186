"""Runs of the engine without the price of starting Python: one warm process for each worker of the tests forks them.

A warm process has imported torch, transformers and growc, and has computed nothing, so that what it forks starts as a
fresh interpreter would. `start` asks it for `growc run ...`: a launcher that is forked from it, with its ranks below
it as torchrun has them: launcher, agent, ranks. The code that runs is growc's own; just the three programs that would
be started anew (`growc`, `torch.distributed.run`, `growc.run.worker`) are forks. Real processes stay in the tests that
are marked `process`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

BOUND = 65536
"""Bytes of the longest request: an environment and a command."""


class Forked:
    """A forked run, with what tests ask of a `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115, open as long as the run
        self._answers = _connected(_pool())
        request = {"command": list(command), "environment": dict(environment), "folder": str(Path.cwd())}
        socket.send_fds(self._answers, [json.dumps(request).encode()], [self._output.fileno()])
        self._read = self._answers.makefile("r", encoding="utf-8")
        self.pid = int(self._read.readline())
        self.returncode: int | None = None
        self._printed = ""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._answers, selectors.EVENT_READ)
                if selector.select(0):
                    self._end()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait for its end; all that it and its ranks printed."""
        self._answers.settimeout(timeout)
        if self.returncode is None:
            self._end()
        if not self._output.closed:
            self._output.seek(0)
            self._printed = self._output.read()
            self._output.close()
        return self._printed, None

    def send_signal(self, number: int) -> None:
        """Send a signal to the launcher alone."""
        os.kill(self.pid, number)

    def _end(self) -> None:
        self.returncode = int(self._read.readline())
        self._read.close()
        self._answers.close()


def start(command: Sequence[str], environment: Mapping[str, str]) -> Forked:
    """Start `growc run` with these arguments after the word `growc`, in a process group of its own."""
    return Forked(command, environment)


@cache
def _pool() -> str:
    """The socket of this worker's warm process, which lives as long as the worker does."""
    folder = tempfile.TemporaryDirectory(prefix="growc-pool-")
    place, (ends, holds) = f"{folder.name}/socket", os.pipe()
    if not (pid := os.fork()):  # not subprocess: nothing of the tests may forbid this one start
        os.dup2(ends, 0)
        os.closerange(3, 256)
        os.execv(sys.executable, [sys.executable, "-m", "tests.pool", place])
    os.close(ends)

    def end() -> None:
        os.close(holds)
        os.waitpid(pid, 0)
        folder.cleanup()

    atexit.register(end)
    while not Path(place).exists():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the warm process died"
        time.sleep(0.01)
    return place


def _connected(place: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(place)
    return client


def serve(place: str) -> None:
    """Fork a launcher for every request, and report its end; until standard input closes."""
    waiting: dict[int, socket.socket] = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, selectors.DefaultSelector() as selector:
        server.bind(f"{place}.new")
        server.listen()
        for file in (server, 0, woken):
            selector.register(file, selectors.EVENT_READ)
        Path(f"{place}.new").rename(place)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, BOUND)
                _report(waiting)
            if server.fileno() in ready:
                client, _ = server.accept()
                waiting[_fork(client)] = client
            if 0 in ready:
                return


def _report(waiting: dict[int, socket.socket]) -> None:
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        client = waiting.pop(pid)
        with suppress(BrokenPipeError):  # a test may go without waiting
            client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        client.close()


def _fork(client: socket.socket) -> int:
    content, files, _, _ = socket.recv_fds(client, BOUND, 1)
    pid = os.fork()
    if not pid:
        _become_launcher(json.loads(content), files[0])
    os.close(files[0])
    client.sendall(f"{pid}\n".encode())
    return pid


def _become_launcher(request: dict[str, Any], output: int) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 256)
    _exits(lambda: _launch(request["command"], request["environment"], request["folder"]))


def _exits(what: Callable[[], object]) -> NoReturn:
    """Run `what` and leave with its exit code, as an interpreter would."""
    code: object = 1
    try:
        what()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001, the end of a process: it is printed
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _launch(command: list[str], environment: dict[str, str], folder: str) -> None:
    """Be `growc`, with an agent of the ranks forked beforehand: this process will have run autograd by then."""
    from growc.cli.main import main
    from growc.run import command as launching

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    agent = Agent()

    class Subprocess:
        """What the launcher uses of the module `subprocess`."""

        Popen = agent.popen

    launching.subprocess = Subprocess  # pyright: ignore[reportAttributeAccessIssue]
    main(command, prog_name="growc")


class Agent:
    """A process that stands for torchrun: it forks the ranks when it is told their number and environment."""

    def __init__(self) -> None:
        told, self._tells = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._tells)
            with os.fdopen(told, encoding="utf-8") as file:
                content = file.read()
            _exits(lambda: sys.exit(_ranks(**json.loads(content)) if content else 0))
        os.close(told)
        self.returncode: int | None = None

    def popen(self, command: Sequence[str], *, env: dict[str, str], **_: object) -> Agent:
        """Start the ranks that a command of torchrun would start."""
        ranks = next(int(word.partition("=")[2]) for word in command if word.startswith("--nproc-per-node"))
        run_dir = command[command.index("growc.run.worker") + 1]
        told = {"ranks": ranks, "run_dir": run_dir, "environment": env, "allow_code": "--allow-code" in command}
        with os.fdopen(self._tells, "w", encoding="utf-8") as file:
            json.dump(told, file)
        return self

    def wait(self) -> int:
        """Wait for the last rank."""
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _ranks(ranks: int, run_dir: str, environment: dict[str, str], allow_code: bool) -> int:
    """Fork the ranks and wait; when one fails, the others are ended. They meet at a store of this process."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    pipes = [os.pipe() for _ in range(ranks)]
    pids: dict[int, int] = {}
    for rank, (reads, _) in enumerate(pipes):
        pid = os.fork()
        if not pid:
            for other, (r, w) in enumerate(pipes):
                os.close(w)
                if other != rank:
                    os.close(r)
            _exits(lambda reads=reads, rank=rank: _rank(reads, rank, ranks, run_dir, allow_code))
        pids[pid] = rank
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    store = TCPStore("127.0.0.1", 0, None, is_master=True, wait_for_workers=False)
    for reads, writes in pipes:
        os.close(reads)
        os.write(writes, str(store.port).encode())
        os.close(writes)
    failed = 0
    while pids:
        pid, status = os.waitpid(-1, 0)
        pids.pop(pid)
        if status and not failed:
            failed = 1
            for other in pids:
                os.kill(other, signal.SIGTERM)
    return failed


def _rank(reads: int, rank: int, ranks: int, run_dir: str, allow_code: bool) -> None:
    """Be `python -m growc.run.worker` under torchrun."""
    port = os.read(reads, 16).decode()
    if not port:
        return  # the agent was killed first
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, TORCHELASTIC_USE_AGENT_STORE="True")
    from growc.run.worker import main

    main(Path(run_dir), allow_code=allow_code)


def _warm() -> None:
    """Import all that a run imports, the classes of the tiny families among it; compute nothing."""
    from importlib import import_module

    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from growc.cli.main import QUIET
    from tests.families import FAMILIES

    os.environ.update(QUIET, OMP_NUM_THREADS="1")  # a pool of threads would not survive a fork
    for name in HEAVY:
        import_module(name)
    for family in {config["model_type"].removesuffix("_text") for config in FAMILIES.values()}:
        import_module(f"transformers.models.{family}.modeling_{family}")
    get_checkpoint_conversion_mapping("mixtral")  # a table that is made when it is first asked for
    gc.collect()
    gc.freeze()  # what is imported is no garbage: ranks need not look through it, nor copy its pages


HEAVY = (
    "growc.cli.check",
    "growc.run.command",
    "growc.run.worker",
    "growc.report.command",
    "growc.plan.build",
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint",
    "torch.utils.serialization",
    "networkx.algorithms",
    "networkx.readwrite.json_graph",
    "tokenizers",
    "transformers.generation.utils",
)
"""Modules that bring in all else."""

if __name__ == "__main__":
    _warm()
    serve(sys.argv[1])
