"""Models that are mixed must mean the same by a token id: rows of their embeddings are averaged, or shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from growc.diagnostics import Diagnostic
from growc.files.vocabulary import difference
from growc.growth.graph import GrowthGraph
from growc.model.source import ModelSource

FolderOf = Callable[[ModelSource], Path | None]

HELP = "mix models of one tokenizer, or pass --allow-unlike-tokenizers if you know that these ids do not matter"


def unlike_tokenizers(graph: GrowthGraph, folder_of: FolderOf) -> Iterator[Diagnostic]:
    """What parents of one stage mean differently (GROW219): the first token id of each pair with the stage's first.

    Args:
        graph: with the stages.
        folder_of: where a source's files lie, if they are there.
    """
    told: set[tuple[object, ...]] = set()
    for node in graph.grow_nodes():
        first, *others = [graph.source_of(node, state) for state in node.starts]
        for other in others:
            folders = folder_of(first), folder_of(other)
            pair = (*folders, node.stage)
            if folders[0] is None or folders[1] is None or folders[0] == folders[1] or pair in told:
                continue
            told.add(pair)
            if (found := difference(folders[0], folders[1])) is not None:
                number, one, another = found
                yield Diagnostic(
                    "GROW219",
                    f"stage {node.stage} mixes models that mean different tokens by one id: {number} is {one!r} in "
                    f"{first.origin}, and {another!r} in {other.origin}",
                    HELP,
                    node.loaded.span("stages", node.position, "from"),
                )
