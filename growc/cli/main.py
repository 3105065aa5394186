"""The commands. Heavy rooms are imported inside them, so that help and completion are instant."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from growc import __version__
from growc.checkpoint.layout import LAYOUTS, Layout
from growc.cli.options import FILE, FormatChoice, allow_code, allow_unlike, no_cache, output_format, overrides, workers
from growc.cli.session import Session
from growc.diagnostics import ExitCode

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What libraries would say of themselves says nothing to a user of growc."""


@click.group("growc", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="growc")
def main() -> None:
    """A compiler for growing neural networks.

    Exit codes: 0 clean; 1 findings; 2 could not run; 3 (run, grow) interrupted and resumable.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@main.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True, type=FILE)
@click.option("--measure", is_flag=True, help="Load the source's weights and measure the loss around growth.")
@overrides
@allow_code
@allow_unlike
@no_cache
@output_format
def check(
    specs: tuple[Path, ...],
    measure: bool,
    overrides: tuple[str, ...],
    allow_code: bool,
    allow_unlike: bool,
    output_format: FormatChoice,
) -> None:
    """Check specs without weights or an accelerator.

    Everything that can be known before a run: the language, the source, where it grows, the shape of every tensor, the
    invariants; and every operator's claim, proved on a small float64 twin.
    """
    with Session(output_format, overrides) as session:
        from growc.cli.check import checked

        for spec in specs:
            session.progress(f"checking {spec}")
            session.collect(str(spec), partial(checked, spec, overrides, allow_code, measure, allow_unlike))
        session.show_findings()


@main.command()
@click.argument("spec", type=FILE)
@click.option("--out", type=FILE, help="Save the frozen plan, for `growc run`.")
@overrides
@allow_code
@allow_unlike
@no_cache
@output_format
def plan(
    spec: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    allow_code: bool,
    allow_unlike: bool,
    output_format: FormatChoice,
) -> None:
    """Print what a spec will change, stage by stage, and what it costs."""
    with Session(output_format, overrides) as session:
        from growc.cli.check import planned

        session.progress(f"planning {spec}")
        session.show_plan(planned(spec, overrides, allow_code, allow_unlike), out)


@main.command()
@click.argument("target", metavar="SPEC|PLAN.json", type=FILE)
@click.option("--run-dir", required=True, type=FILE, help="Folder of the run; made if it does not exist.")
@click.option("--nproc", default=1, show_default=True, type=click.IntRange(min=1), help="Processes on this machine.")
@overrides
@allow_code
@allow_unlike
@no_cache
def run(
    target: Path, run_dir: Path, nproc: int, overrides: tuple[str, ...], allow_code: bool, allow_unlike: bool
) -> None:
    """Execute a spec or a frozen plan; called again, it resumes.

    A stale plan is refused. SIGINT and SIGTERM save and stop: exit code 3 says that the same command goes on from
    there. Under torchrun, every rank runs this command.
    """
    if overrides and target.suffix == ".json":
        raise click.UsageError("--set changes a spec; a plan is frozen (make another one with `growc plan`)")
    with Session("human", overrides, interrupted=ExitCode.INTERRUPTED) as session:
        from growc.report.command import report
        from growc.run import command

        echo = partial(click.echo, err=True)
        code = command.run(target, run_dir, nproc, overrides, allow_code, echo, allow_unlike=allow_unlike)
        if code is ExitCode.CLEAN:
            session.say(f"report: {report([run_dir], None)}")
        elif code is ExitCode.INTERRUPTED:
            click.echo("stopped; the same command goes on from what is saved", err=True)
        session.end(code)


@main.command()
@click.argument("spec", type=FILE)
@click.option("--stage", required=True, metavar="NAME", help="The grow stage.")
@click.option("--from", "from_", required=True, type=FILE, help="A checkpoint folder.")
@click.option("--to", required=True, type=FILE, help="The folder to write; it must not exist.")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="same",
    show_default=True,
    help="How the tensors are stored: as in the source, as published on the hub (in most families one per expert), "
    "fused (as in memory), or as a torch distributed checkpoint.",
)
@click.option("--text-only", is_flag=True, help="Leave the towers of a model for pictures or sound behind.")
@click.option(
    "--verify",
    is_flag=True,
    help="Read all that was written again, prove it against the plan and against an independent reading of the "
    "operators, and write a manifest.",
)
@workers
@overrides
@allow_code
@no_cache
def grow(
    spec: Path,
    stage: str,
    from_: Path,
    to: Path,
    layout: Layout,
    text_only: bool,
    verify: bool,
    workers: int,
    overrides: tuple[str, ...],
    allow_code: bool,
) -> None:
    """Grow a checkpoint folder as one stage of a spec says: file to file, without training or an accelerator.

    Called again after a kill or a full disk, it goes on where it stopped.
    """
    with Session("human", overrides, interrupted=ExitCode.INTERRUPTED) as session:
        from growc.checkpoint import command
        from growc.checkpoint.request import Request
        from growc.files.progress import Printer

        request = Request(spec, stage, from_, to, overrides, allow_code, layout=layout, text_only=text_only)
        session.progress(f"growing {from_}")
        audit = command.audit_in_a_child if verify else None
        warnings = command.grow(
            request, command.prepare_in_a_child, workers=workers, verify=verify, audit=audit, listener=Printer()
        )
        session.warn(warnings)
        session.say(f"grown: {to}")


@main.command()
@click.argument("folder", metavar="DIR", type=FILE)
def verify(folder: Path) -> None:
    """Read a checkpoint that was grown with --verify again, and compare it with its manifest."""
    with Session("human", ()) as session:
        from growc.files import verify as files
        from growc.files.progress import Printer

        files.verify(folder, listener=Printer())
        session.say(f"verified: {folder}")


@main.command()
@click.argument("folder", metavar="DIR", type=FILE)
@click.option("--to", required=True, type=FILE, help="The folder to write; it must not exist.")
@workers
def pack(folder: Path, to: Path, workers: int) -> None:
    """Store a checkpoint whose experts are copies as bases and deltas, without loss.

    Equal tensors, and equal experts within a stack, are stored once. Copies that have been trained since are stored as
    deltas if growth.json tells which experts are siblings: keep it beside weights that were trained elsewhere.
    """
    with Session("human", ()) as session:
        from rich.filesize import decimal

        from growc.checkpoint import packing
        from growc.files.progress import Printer

        packed, warnings = packing.pack(folder, to, workers=workers, listener=Printer())
        session.warn(warnings)
        gained = "" if packed.packed < packed.whole else ": nothing is gained"
        session.say(f"packed: {to}, {decimal(packed.whole)} in {decimal(packed.packed)}{gained}")


@main.command()
@click.argument("folder", metavar="DIR", type=FILE)
@click.option("--to", required=True, type=FILE, help="The folder to write; it must not exist.")
@workers
def unpack(folder: Path, to: Path, workers: int) -> None:
    """Give a packed checkpoint back byte for byte, proved by the digests that were taken when it was packed."""
    with Session("human", ()) as session:
        from growc.files.packing import unpack as files
        from growc.files.progress import Printer

        files.unpack(folder, to, workers=workers, listener=Printer())
        session.say(f"unpacked: {to}")


@main.command()
@click.argument("run_dirs", metavar="RUN_DIR...", nargs=-1, required=True, type=FILE)
@click.option("--out", type=FILE, help="The file to write.  [default: report.html in the first run]")
def report(run_dirs: tuple[Path, ...], out: Path | None) -> None:
    """Write one self-contained HTML file on one or several runs."""
    with Session("human", ()) as session:
        from growc.report import command

        session.say(str(command.report(run_dirs, out)))


@main.command()
@output_format
def operators(output_format: FormatChoice) -> None:
    """List the growth operators, and how copies may start."""
    from growc.cli.pages import operator_table, operators_json

    click.echo(operators_json() if output_format == "json" else operator_table())


@main.command()
@click.argument("topic", metavar="NAME|CODE")
def explain(topic: str) -> None:
    """Show the page of an operator, of an initialisation such as experts.drop, or of a diagnostic such as GROW106."""
    from growc.cli.pages import page

    click.echo(page(topic))


@main.command()
def schema() -> None:
    """Print the JSON Schema of the language, for editors."""
    import json

    from growc.spec import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
