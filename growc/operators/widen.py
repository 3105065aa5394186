"""A wider model, each of its sizes as given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field
from typing_extensions import override

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.width_fields import width_fields
from growc.diagnostics import fail
from growc.operators.claims import Paper, Preserves, Problem
from growc.operators.example import Example
from growc.operators.widening import Widening


class Widen(Widening):
    """Make some axes of a model longer by copies of their features, to any size.

    Where copies do not divide, those of the residual stream are scaled so that norms find what they found (LEMON, arXiv
    2310.07999, solves the same by another eps), and a query head stays with the key-value head of its source.
    """

    op: ClassVar = "widen"
    paper: ClassVar = Paper("2310.07999", "LEMON: Lossless model expansion", 2023)

    to: dict[str, Annotated[int, Field(ge=1)]] = Field(
        min_length=1,
        description="keys of the model's config, with what they become: hidden_size, intermediate_size, "
        "num_attention_heads, num_key_value_heads, moe_intermediate_size, as the family calls them",
    )

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        known = width_fields(model)
        for field in self.to:
            if model.names.get(field, field) in known:
                continue
            message = f"{field} sets no width of {model.model_type} that growc knows"
            yield Problem("GROW398", message, f"widths: {', '.join(known)}", ("to", field))
        if all(model.config.get(field) == size for field, size in self.sizes(model).items()):
            yield Problem("GROW399", "every size stays what it is", "give a size above the source's", ("to",))

    @override
    def sizes(self, model: ModelGraph) -> Mapping[str, int]:
        return {model.names.get(field, field): size for field, size in self.to.items()}

    @override
    def on_small(self, model: ModelGraph, small: ModelGraph) -> Self:
        asked = self.sizes(model)
        sizes = {field: small.config[field] * size / model.config[field] for field, size in asked.items()}
        for field, size in sizes.items():
            if not size.is_integer():
                message = f"its {field} would be {size:g} in small"
                fail("GROW406", message, help="measure the claim with `growc check --measure`")
        return self.model_copy(update={"to": {field: int(size) for field, size in sizes.items()}})


EXAMPLES = {
    "the units": Example({"to": {"intermediate_size": 72}}, Preserves.EXACTLY, source="dense"),
    "the stream, unevenly": Example({"to": {"hidden_size": 48}, "noise": 0.1}, Preserves.EXACTLY),
    "query heads, unevenly": Example({"to": {"num_attention_heads": 6, "hidden_size": 48}}, Preserves.EXACTLY),
    "all heads": Example(
        {"to": {"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 64}}, Preserves.EXACTLY
    ),
}
