"""Times of sessions and stages, by the journal."""

from __future__ import annotations

from collections.abc import Sequence

from growc.records.journal import Event


def sessions(journal: Sequence[Event]) -> list[list[Event]]:
    """The events of every start of the run. The time between an interruption and its resumption is in none.

    What the launcher writes before the ranks start belongs to the start that follows.
    """
    found: list[list[Event]] = []
    for event in journal:
        if event.event == "run_started":
            found.append([])
        if found:
            found[-1].append(event)
    return found or ([list(journal)] if journal else [])


def length(session: Sequence[Event]) -> float:
    """Seconds from the first to the last event."""
    return session[-1].time - session[0].time


def wall(stage: str, journal: Sequence[Event]) -> float:
    """Seconds of a stage over all sessions: from its start to its end, or to the last event before an interruption."""
    total = 0.0
    for session in sessions(journal):
        times = {event.event: event.time for event in session if event.stage == stage}
        if "stage_started" in times:
            total += times.get("stage_finished", session[-1].time) - times["stage_started"]
    return total
