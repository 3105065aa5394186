"""What is told of a long pass, and threads that share it."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from growc.files.progress import Meter, Printer, Progress, line
from growc.files.workers import in_parallel


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_says_what_how_much_how_fast_and_how_long() -> None:
    progress = Progress("copying", 10**9, 4 * 10**9, 5e8, 3725.0)
    assert line(progress, bar=False) == "copying: 1.0 GB of 4.0 GB  500.0 MB/s  1:02:05 left"
    assert line(progress, bar=True) == "copying: [######                  ] 1.0 GB of 4.0 GB  500.0 MB/s  1:02:05 left"
    assert line(Progress("copying", 0, 0, 0.0, None), bar=False) == "copying: 0 bytes of 0 bytes  0 bytes/s"


def test_a_log_gets_few_lines_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    meter = Meter(Printer(), "copying", 10**9)
    for _ in range(1000):
        meter.add(10**6)
    lines = written.getvalue().splitlines()
    assert 1 <= len(lines) <= 2
    assert lines[-1].startswith("copying: 1.0 GB of 1.0 GB")
    assert "#" not in written.getvalue()


def test_a_terminal_gets_a_bar_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    meter = Meter(Printer(), "verifying", 10**9)
    meter.add(5 * 10**8)
    assert written.getvalue().startswith("verifying: [############            ] 500.0 MB of 1.0 GB")
    assert not written.getvalue().endswith("\n")
    meter.add(5 * 10**8)
    assert "\r\x1b[2Kverifying: 1.0 GB of 1.0 GB" in written.getvalue()
    assert written.getvalue().endswith("\n")


def test_what_an_earlier_call_did_counts_as_done_but_not_as_speed() -> None:
    told: list[Progress] = []
    meter = Meter(told.append, "copying", 100, done=90)
    meter.add(5)
    assert (told[0].done, told[0].total) == (95, 100)
    assert told[0].left is not None
    assert told[0].left == pytest.approx(5 / told[0].speed)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_is_worked_on_once(workers: int) -> None:
    assert sorted(in_parallel(lambda n: n * n, range(100), workers)) == [n * n for n in range(100)]


def test_a_fault_stops_the_others_and_is_raised_after_what_was_done() -> None:
    done: list[int] = []
    before = threading.active_count()

    def work(number: int) -> int:
        if number == 50:
            raise ZeroDivisionError
        done.append(number)
        return number

    found: list[int] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(in_parallel(work, range(10**6), 3))
    assert sorted(found) == sorted(done)
    assert len(done) < 10**5
    assert threading.active_count() == before


def test_closing_early_waits_for_the_threads() -> None:
    before = threading.active_count()
    results = in_parallel(lambda n: n, iter(range(10**9)), 3)
    next(results)
    results.close()
    assert threading.active_count() == before
