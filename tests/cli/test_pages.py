"""The pages of initialisations: complete, found by any of their names, and listed under their operator."""

from __future__ import annotations

import inspect
import json

import click
import pytest
from click.testing import CliRunner

from growc.cli.main import main
from growc.cli.pages import operator_table, operators_json, page
from growc.operators.experts import EXPERT_INITS
from growc.operators.initialisation import Initialisation
from growc.operators.routers import ROUTER_INITS

INITS: dict[str, type[Initialisation]] = {
    **{f"experts.{name}": cls for name, cls in EXPERT_INITS.items()},
    **{f"routers.{name}": cls for name, cls in ROUTER_INITS.items()},
}


@pytest.mark.parametrize("name", INITS)
def test_a_page_has_all_that_defines_an_initialisation(name: str) -> None:
    cls, text = INITS[name], page(name)
    assert text.startswith(f"{name}  (expert_upcycling: {{{'experts' if 'experts' in name else 'router'}: {{init: ")
    assert (inspect.getdoc(cls) or "-") in text
    for field in ("formula", "source", "preserves", "cost"):
        assert getattr(cls, field) in text
    assert cls.preserves.startswith(str(cls.claim))
    for field, info in cls.model_fields.items():
        if field != "init":
            (line,) = (line for line in text.splitlines() if line.startswith(f"{field}: "))
            assert info.description, "every parameter says what it is, in what unit"
            assert line.endswith(info.description)
            assert f" = {'null' if info.default is None else info.default}" in line


def test_pages_show_bounds() -> None:
    assert "fraction: number > 0 <= 1 = 0.5" in page("experts.drop")
    assert "dictionary: integer >= 2 <= 65536 = 512" in page("experts.sparse_code_mix")


@pytest.mark.parametrize("name", [*EXPERT_INITS, *ROUTER_INITS])
def test_a_bare_name_prints_every_page_of_that_name(name: str) -> None:
    own = [dotted for dotted in INITS if dotted.partition(".")[2] == name]
    assert page(name) == "\n\n\n".join(map(page, own))
    assert len(own) == (name in EXPERT_INITS) + (name in ROUTER_INITS)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("experts.drp", "experts.drop"),
        ("router.split", "routers.split"),
        ("slit", "split"),
        ("sparse_code", "sparse_code_mix"),
        ("expert_upcycing", "expert_upcycling"),
        ("grow33", "GROW"),
    ],
)
def test_a_misspelt_name_is_guessed(typed: str, meant: str) -> None:
    with pytest.raises(click.UsageError, match=f"did you mean {meant}"):
        page(typed)


def test_the_page_of_an_operator_lists_its_initialisations_with_one_line_each() -> None:
    lines = page("expert_upcycling").splitlines()
    for field, table in (("experts", EXPERT_INITS), ("router", ROUTER_INITS)):
        start = next(place for place, line in enumerate(lines) if line.startswith(f"{field}: "))
        listed = lines[start + 1 : start + 1 + len(table)]
        assert [line.split()[0] for line in listed] == list(table)
        for line, cls in zip(listed, table.values(), strict=True):
            assert line.endswith((inspect.getdoc(cls) or "-").splitlines()[0])
        assert not lines[start + 1 + len(table)].startswith(" ")
    assert "`growc explain experts.NAME`, `growc explain routers.NAME`" in lines[-1]


def test_initialisations_are_listed_under_their_operator() -> None:
    rows = json.loads(operators_json())["operators"]
    upcycling = next(row for row in rows if row["op"] == "expert_upcycling")
    assert {"op", "site", "paper", "summary"} < upcycling.keys()
    assert [init["name"] for init in upcycling["initialisations"]] == list(INITS)
    for init in upcycling["initialisations"]:
        cls = INITS[init["name"]]
        assert init["preserves"] == cls.claim
        assert init["summary"] == (inspect.getdoc(cls) or "-").splitlines()[0]
    table = operator_table().splitlines()
    start = next(place for place, line in enumerate(table) if line.startswith("expert_upcycling "))
    assert [line.split()[0] for line in table[start + 1 : start + 1 + len(INITS)]] == list(INITS)


def test_the_command_prints_the_page() -> None:
    done = CliRunner().invoke(main, ["explain", "experts.shuffle"])
    assert done.exit_code == 0
    assert done.output == page("experts.shuffle") + "\n"
