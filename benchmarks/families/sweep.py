"""One family, or all: each in a process of its own, so that a crash or a hang is a verdict on it alone."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from benchmarks.families.compare import Source, is_stock, verdict
from benchmarks.families.configs import FAULTS, Small, Unbuilt, find, told
from benchmarks.families.growths import Growth, grow, growths
from benchmarks.families.rules import VOCABULARY
from benchmarks.families.weights import drawn, load, logits, tokens

SECONDS = 400
"""After which a family has hung."""

SEED = 0

Result = dict[str, Any]


def sweep(
    families: Sequence[str],
    results: Path,
    at_once: int,
    tell: Callable[[Result], None],
    judge: Callable[[str, Path], Result],
) -> None:
    """Append the result of every family to a file, as a line of JSON each, with the state of growc under `code`.

    `judge` makes a result of the name of a family and an empty folder.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    waiting, running = [*families], dict[int, tuple[str, float, Path]]()
    with tempfile.TemporaryDirectory() as work:
        while waiting or running:
            if waiting and len(running) < at_once:
                name = waiting.pop(0)
                place = Path(work) / name
                place.mkdir()
                pid = forked(lambda name=name, place=place: _alone(judge, name, place), place)
                running[pid] = name, time.time(), place
                continue
            if ended := _ended(running):
                name, _, place = running.pop(ended[0])
                result = answer(place) or {"family": name, "died": f"{ended[1]}: {last_words(place)}"}
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result | {"code": code()}) + "\n")
                tell(result)


def read(results: Path) -> list[Result]:
    """What a file of results holds so far; of several results of one family the last."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return [*{result["family"]: result for result in map(json.loads, lines)}.values()]


@cache
def code() -> str:
    """A digest of growc's files, which are not imported for it."""
    found = importlib.util.find_spec("growc")
    assert found is not None and found.origin is not None
    files = sorted(Path(found.origin).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def family(model_type: str, work: Path) -> Result:
    """Verdicts on all growths of one family, in an empty folder.

    Returns:
        With `family`, and either `unbuilt` (why there is no source) or `kinds`, `mixtures` and `verdicts`.
    """
    try:
        small, source = source_of(model_type, work / "source")
    except Unbuilt as error:
        return {"family": model_type, "unbuilt": str(error)}
    except FAULTS as error:
        return {"family": model_type, "unbuilt": told(error)}
    asked = list(growths(source.experts))
    child = work / "growths"
    child.mkdir()
    _, status = os.waitpid(forked(lambda: _grown(work / "source", asked, work, source), child), 0)
    outcomes = answer(child) or {}
    died = {"traceback": f"the process died with {spoken(status)}: {last_words(child)}"}
    found = {growth.name: outcomes.get(growth.name, died) for growth in asked}
    # What transformers loads by itself is compared before anything imports growc.
    ordered = sorted(asked, key=lambda growth: not is_stock(found[growth.name]))
    verdicts = {growth.name: verdict(source, growth, found[growth.name]) for growth in ordered}
    return {
        "family": model_type,
        "kinds": small.kinds,
        "mixtures": list(small.mixtures),
        "verdicts": {growth.name: verdicts[growth.name] for growth in asked},
    }


def source_of(model_type: str, folder: Path) -> tuple[Small, Source]:
    """A small checkpoint of a family, saved in `folder`, and what transformers reads from there.

    Raises:
        Unbuilt: there is none.
        ValueError: transformers reads another one than it saved; or another of `FAULTS`.
    """
    small = find(model_type, runs)
    ids = tokens(VOCABULARY, SEED)
    saved = drawn(small.config, SEED)
    saved.save_pretrained(folder)
    read = load(folder)
    if _unlike(saved, read):  # some classes set a number of their own whenever they are loaded
        saved = read.float()
        saved.save_pretrained(folder)
        read = load(folder)
    if lost := _unlike(saved, read):
        raise ValueError(f"transformers reads {lost} otherwise than it saved it")
    dtype = torch.float64
    try:
        logits(read, ids)
    except FAULTS:  # some classes compute in float32 whatever they are asked
        dtype = torch.float32
        read = load(folder, dtype)
        logits(read, ids)
    return small, Source(read, ids, small.count if small.experts else None, dtype)


def _unlike(one: PreTrainedModel, other: PreTrainedModel) -> str | None:
    """The first tensor that two models of one config, in whatever types, do not share."""
    tensors = other.state_dict()
    return next((n for n, t in one.state_dict().items() if not torch.equal(t.double(), tensors[n].double())), None)


def _alone(judge: Callable[[str, Path], Result], name: str, work: Path) -> Result:
    """A result in a group of processes of its own, which is ended as one."""
    os.setpgrp()
    torch.set_num_threads(1)
    return judge(name, work)


def runs(config: PreTrainedConfig) -> None:
    """Run a model of a config, which raises one of `FAULTS` or is well."""
    logits(drawn(config, SEED), tokens(VOCABULARY, SEED))


def _grown(folder: Path, asked: list[Growth], work: Path, source: Source) -> dict[str, Any]:
    os.environ["GROWC_CACHE"] = str(work / "cache")
    windows = source.ids.numpy() if source.dtype is torch.float64 else None
    return {growth.name: grow(folder, growth, work / f"{i}", windows) for i, growth in enumerate(asked)}


def forked(do: Callable[[], Any], place: Path) -> int:
    """Run `do` in a child, which leaves its answer in `place`; the child's number."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        log = os.open(place / "log", os.O_CREAT | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        (place / "answer.json").write_text(json.dumps(do()), encoding="utf-8")
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)


def answer(place: Path) -> Any:
    """What a child left in `place`; None if it died before."""
    path = place / "answer.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def last_words(place: Path) -> str:
    """The last line that a child printed."""
    lines = (place / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    return " ".join(lines[-1:])[:200]


def _ended(running: dict[int, tuple[str, float, Path]]) -> tuple[int, str] | None:
    """A child that has ended, and how; one that takes too long is ended."""
    for pid, (_, began, _) in running.items():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return pid, spoken(status)
        if time.time() - began > SECONDS:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return pid, f"no answer within {SECONDS} s"
    time.sleep(0.05)
    return None


def spoken(status: int) -> str:
    """How a child ended."""
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
