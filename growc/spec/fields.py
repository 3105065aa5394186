"""What the parts of the schema share: the base model, names, and complaints with a code of their own."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class Part(BaseModel):
    """A part of a spec: frozen, and nothing in it is unknown or unbounded."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def complaint(code: str, message: str, help: str, *keys: str) -> PydanticCustomError:
    """A validator's refusal as a diagnostic, about these keys of the value, or about all of it."""
    context: dict[str, Any] = {"text": message, "help": help, "keys": keys}
    # The type is our code, not one of pydantic's literals; the texts are data, so their braces mean nothing.
    return PydanticCustomError(code, "{text}", context)  # pyright: ignore[reportArgumentType]


def _name(text: str) -> str:
    if not re.match(NAME, text):
        help = "use letters, digits, `-` and `_`, at most 64, and a letter or digit first"
        raise complaint("GROW107", f"`{text}` cannot be a name: names become folders", help)
    return text


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": NAME})]
"""The name of a stage or a part of the data; it becomes a folder, and a dot in it would read as `.stable`."""


def _not_a_truth_value(value: object) -> object:
    # `true == 1`, so pydantic lets true pass for the literal 1.
    return str(value).lower() if isinstance(value, bool) else value


One = Annotated[Literal[1], BeforeValidator(_not_a_truth_value)]
Auto = Literal["auto"]
