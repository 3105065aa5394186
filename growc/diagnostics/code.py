"""What one diagnostic code is, and the exit codes they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees."""

    CLEAN = 0
    FINDINGS = 1
    CANNOT_RUN = 2
    INTERRUPTED = 3


@dataclass(frozen=True)
class Code:
    """One kind of finding: a title, what it means and how to mend it, and the exit code it leads to."""

    title: str
    text: str
    exit: ExitCode = ExitCode.FINDINGS
