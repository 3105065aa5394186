"""The paper's figures agree with each other, as far as they are given."""

from __future__ import annotations

import pytest

from benchmarks.expert_upcycling.paper import PaperRow, read_paper
from benchmarks.expert_upcycling.sections import SECTIONS

ROWS = [(name, row) for name, section in read_paper().sections.items() for row in section.rows]


@pytest.mark.parametrize(("name", "row"), [pair for pair in ROWS if pair[1].eta is not None and pair[1].gap])
def test_the_printed_share_is_that_of_the_printed_losses(name: str, row: PaperRow) -> None:
    """To what rounding to three digits may change, with half a digit in each of two differences."""
    assert row.eta is not None
    assert row.gap is not None
    assert row.vs_source is not None
    assert row.eta == pytest.approx(-row.vs_source / row.gap, abs=0.001 / row.gap), name


def test_every_section_of_the_paper_is_one_of_ours() -> None:
    assert read_paper().sections.keys() <= {section.key for section in SECTIONS}


def test_what_is_not_printed_is_computed_or_missing() -> None:
    row = PaperRow(point={}, upcycled=2.0, fixed_source=2.1, fixed_target=1.9)
    assert row.closed == pytest.approx(0.5)
    assert PaperRow(point={}, upcycled=2.0, fixed_source=2.1).closed is None
    assert PaperRow(point={}, upcycled=2.0, fixed_target=1.9).vs_source is None
    assert PaperRow(point={}, upcycled=2.0, eta=0.8).closed == 0.8
