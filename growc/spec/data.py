"""The `data` section: which text, how it is cut into tokens, and which part of it stages name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from growc.spec.fields import Name, Part, complaint

Path = Annotated[str, Field(min_length=1, description="a file, a folder or a glob, relative to the spec")]


class PythonSource(Part):
    """The Python interpreter's own library: real text that every machine has."""

    kind: Literal["python_source"] = Field(description="the Python interpreter's own library")


class Text(Part):
    """Plain UTF-8 text files."""

    kind: Literal["text"] = Field(description="plain UTF-8 text files")
    path: Path


class Jsonl(Part):
    """Files with one JSON object on each line."""

    kind: Literal["jsonl"] = Field(description="one JSON object on each line")
    path: Path
    field: str = Field(default="text", min_length=1, description="the key of each object that holds the text")


class Tokens(Part):
    """Flat binary files of token ids, little-endian, without a header."""

    kind: Literal["tokens"] = Field(description="flat binary token ids, little-endian, without a header")
    path: Path
    dtype: Literal["uint16", "uint32"] = Field(description="the type of one token id")


CorpusSpec = Annotated[PythonSource | Text | Jsonl | Tokens, Field(discriminator="kind")]


class Validation(Part):
    """Held-out text: a fraction of the training text, or a source of its own.

    In YAML a source's keys may stand directly: `{kind: text, path: held_out.txt}`.
    """

    fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="the fraction of the training text that is held out, before it is split into parts",
    )
    source: CorpusSpec | None = Field(default=None, description="held-out text from a source of its own")
    sequences: int = Field(default=64, ge=1, description="at most this many sequences are evaluated each time")

    @model_validator(mode="before")
    @classmethod
    def _inline_source(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "kind" not in value or "source" in value:
            return value
        values = cast(dict[str, Any], value)
        own = {key: values[key] for key in ("fraction", "sequences") if key in values}
        return own | {"source": {key: values[key] for key in values if key not in own}}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.fraction is None) == (self.source is None):
            what = "neither a fraction nor a source" if self.fraction is None else "both a fraction and a source"
            raise complaint("GROW113", f"validation has {what}", "write {fraction: 0.02}, or {kind: text, path: ...}")
        return self


class Data(Part):
    """The text that a model is trained and evaluated on."""

    tokenizer: str = Field(
        default="bytes", min_length=1, description="`bytes`, the id of a tokenizer on the hub, or a folder"
    )
    sequence_length: int = Field(default=256, ge=2, description="tokens in one training sequence")
    train: CorpusSpec = Field(description="where the training text comes from")
    parts: dict[Name, Annotated[float, Field(gt=0, le=1)]] = Field(
        default={"train": 1.0},
        min_length=1,
        description="disjoint parts of the training text, as name: fraction; train stages name one",
    )
    validation: Validation = Field(
        default=Validation(fraction=0.02),
        description="held-out text: {fraction: 0.02}, or a source with the keys of `train`",
    )
