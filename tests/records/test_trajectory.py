"""How far an arm goes along each of its stages, and the texts of the states that it passes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from growc.growth.graph import Port, State
from growc.records.trajectory import Trajectory, segments


@dataclass(frozen=True)
class Ten:
    """Ten steps of 256 tokens, the last two of them anneal; none for a growth."""

    name: str
    starts: tuple[State, ...]
    grows: bool = False
    batch_tokens: int = 256

    def steps_to(self, port: Port) -> int:
        return 0 if self.grows else 8 if port == "stable" else 10


def test_a_stage_counts_as_far_as_the_next_one_goes_on_from() -> None:
    way = Trajectory(segments([
        Ten("pretrain", (State(None),)), Ten("grow", (State("pretrain", "stable"),), grows=True),
        Ten("cpt", (State("grow"),)),
    ]))  # fmt: skip
    assert [(each.stage.name, each.offset, each.steps) for each in way.segments] == [
        ("pretrain", 0, 8), ("grow", 8 * 256, 0), ("cpt", 8 * 256, 10),
    ]  # fmt: skip
    assert way.tokens == 18 * 256
    assert way.growth is way.segments[1]
    assert way.trunk == way.segments


def test_of_branches_all_tokens_count_and_the_first_is_the_trunk() -> None:
    way = Trajectory(segments([
        Ten("a", (State(None),)), Ten("b", (State("a", "stable"),)), Ten("c", (State("a"),)),
        Ten("mix", (State("b"), State("c")), grows=True),
    ]))  # fmt: skip
    assert [each.steps for each in way.segments] == [10, 10, 10, 0], "one branch takes all of what they share"
    assert way.segments[-1].offset == 30 * 256
    assert [each.stage.name for each in way.trunk] == ["a", "b", "mix"]


@pytest.mark.parametrize(
    "state",
    [State(None), State(None, source="math"), State("cpt"), State("cpt", "stable"), State("seed=1/cpt", "stable")],
)
def test_a_state_is_read_as_it_is_written(state: State) -> None:
    assert State.read(str(state)) == state
