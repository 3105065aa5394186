"""From finished run folders to result files: `python benchmarks/expert_upcycling/collect.py RUN_DIR...`.

A result file has the arms and groups of the run's `summary.json`, and what it takes to run it again: the command, the
commit of the code that ran last (found by its hash), the machine and the versions, as the journal noted them, and the
time it took.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from benchmarks.expert_upcycling.results import RESULTS, ROOT
from growc.files.atomic import read_json, write_json
from growc.plan.freeze import read_plan
from growc.plan.plan import Plan
from growc.records.folder import RunFolder
from growc.records.lines import rows

MOST_COMMITS = 500
"""How far back the commit of a run is looked for."""


def main(folders: Sequence[str], results: Path = RESULTS) -> None:
    """Collect every folder into `results`."""
    if not folders:
        sys.exit("give the --run-dir of finished runs")
    results.mkdir(exist_ok=True)
    for folder in folders:
        result = collect(RunFolder(Path(folder)))
        path = results / f"{result['name']}.json"
        write_json(path, result)
        print(f"{folder} -> {path}")


def collect(folder: RunFolder) -> dict[str, Any]:
    """The result of one run; the program ends with a message if the run is not finished."""
    if not folder.summary.exists():
        sys.exit(f"{folder.path} is no finished run: it has no {folder.summary.name}")
    plan, summary, journal = read_plan(folder.plan), read_json(folder.summary), rows(folder.journal)
    sessions = list(_sessions(journal))
    machines = [_machine(session[0]) for session in sessions]
    last = machines[-1]
    return {
        "name": plan.name,
        "spec": spec_of(plan),
        "command": command(plan, last.get("ranks", 1), last.get("threads")),
        "date": datetime.fromtimestamp(journal[-1]["time"], UTC).date().isoformat(),
        "wall_seconds": sum(session[-1]["time"] - session[0]["time"] for session in sessions),
        "commit": commit_of(sessions[-1][0].get("code", "")),
        "machines": [one for index, one in enumerate(machines) if one not in machines[:index]],
        "model": plan.source,
        "train_tokens": sum(plan.cost.train_tokens.values()),
        "arms": summary["arms"],
        "groups": summary["groups"],
    }


def spec_of(plan: Plan) -> str:
    """The spec's path from the root of the repository, wherever that stood."""
    parts = PurePath(plan.spec_path).parts
    start = max((index for index, part in enumerate(parts) if part == "specs"), default=len(parts) - 1)
    return str(PurePosixPath(*parts[start:]))


def command(plan: Plan, ranks: int, threads: int | None) -> str:
    """What runs this plan again."""
    words = ["growc", "run", spec_of(plan), "--run-dir", f"runs/{plan.name}"]
    words += ["--nproc", str(ranks)] if ranks > 1 else []
    words += [word for override in plan.overrides for word in ("--set", override)]
    return " ".join(([f"OMP_NUM_THREADS={threads}"] if threads else []) + [shlex.quote(word) for word in words])


def _sessions(journal: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The events of every start; the time from an interruption to the resumption is in none."""
    starts = [index for index, event in enumerate(journal) if event["event"] == "run_started"]
    for start, end in zip(starts, [*starts[1:], len(journal)], strict=True):
        yield [event for event in journal[start:end] if event["event"] != "data"] or [journal[start]]


def _machine(started: dict[str, Any]) -> dict[str, Any]:
    own = {key: started[key] for key in ("ranks", "layout", "device") if key in started}
    return own | started.get("machine", {})


def commit_of(code: str, root: Path = ROOT) -> str | None:
    """The newest commit whose growc/ has this hash (`growc.files.versions`)."""
    known = _git(root, "rev-list", f"--max-count={MOST_COMMITS}", "HEAD", "--", "growc").decode().split()
    return next((commit for commit in known if _code_at(root, commit) == code), None)


def _code_at(root: Path, commit: str) -> str:
    """`growc.files.versions.code_digest` as it would be at a commit."""
    content = hashlib.sha256()
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", commit, "growc"))) as archive:
        members = {PurePosixPath(m.name).relative_to("growc"): m for m in archive if m.name.endswith(".py")}
        for path in sorted(members):
            file = archive.extractfile(members[path])
            assert file is not None
            content.update(str(path).encode() + b"\0" + file.read() + b"\0")
    return content.hexdigest()


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:])
