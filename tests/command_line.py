"""The command line, in this process: for tests that are about what a command does and not about a process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from growc.cli.main import main


def growc(*arguments: object) -> Result:
    """What `growc` with these arguments prints, and its exit code; a fault of growc's own is raised."""
    return CliRunner(catch_exceptions=False).invoke(main, [str(argument) for argument in arguments])
