"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import click
from typing_extensions import override

from growc.files.cache import OFF, VARIABLE

FormatChoice: TypeAlias = Literal["human", "json", "github", "sarif", "junit"]
FORMATS: tuple[FormatChoice, ...] = ("human", "json", "github", "sarif", "junit")


class _File(click.Path):
    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("a path cannot be empty", param, ctx)
        return super().convert(value, param, ctx)


FILE = _File(path_type=Path)
"""A path; whether it can be read is a diagnostic's to say."""

overrides = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override one value of the spec, as stages[1].grow[0].factor=4; may be repeated.",
)
allow_code = click.option("--allow-code", is_flag=True, help="Let the spec's model.module import and run Python code.")

UNLIKE = "--allow-unlike-tokenizers"
allow_unlike = click.option(
    UNLIKE, "allow_unlike", is_flag=True, help="Let a stage mix models that mean different tokens by one id."
)


def _leave_cache(context: click.Context, _: click.Parameter, given: bool) -> None:
    """Turn the cache off for this call and for the processes that it starts."""
    if not given:
        return
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = OFF

    def restore() -> None:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before

    context.call_on_close(restore)


no_cache = click.option(
    "--no-cache",
    is_flag=True,
    expose_value=False,
    callback=_leave_cache,
    help="Find everything anew: neither read nor keep what earlier calls found of models.",
)
workers = click.option(
    "--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Threads that move bytes."
)
output_format = click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    default="human",
    show_default=True,
    help="With json, stdout is one JSON object and nothing else.",
)
