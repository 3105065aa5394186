"""What `from` may say: the states that a stage starts from, and every mistake in naming them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from growc.diagnostics import Diagnostic, Span
from growc.operators.facets import Mixes
from growc.spec.nodes import ListNode, Node, nearest
from growc.spec.schema import Cosine, Spec, Stage, Wsd
from growc.spec.wording import guess, listed, quoted

STABLE = "stable"
SOURCE, SOURCES = "source", "sources"
RESERVED = (SOURCE, SOURCES)


@dataclass(frozen=True)
class Origin:
    """A state, as `from` names it: of the stage `stage`, or (None) the source called `source`, "" for `model`."""

    stage: str | None
    source: str = ""
    stable: bool = False


def origins(spec: Spec, position: int) -> tuple[Origin, ...]:
    """The states that the stage at `position` starts from."""
    names = spec.stages[position].origins
    if names:
        return tuple(map(_origin, names))
    return (Origin(spec.stages[position - 1].name if position else None),)


def _origin(name: str) -> Origin:
    first, _, rest = name.partition(".")
    if first in RESERVED:
        return Origin(None, rest)
    return Origin(first, stable=rest == STABLE)


def check_origins(spec: Spec, root: Node, index: int) -> Iterator[Diagnostic]:
    """What is wrong with the `from` of the stage at `index`, and with what its operators make of it."""
    stage, place = spec.stages[index], nearest(root, ("stages", index, "from"))
    spans = [item.span for item in place.items] if isinstance(place, ListNode) else [place.span]
    wrong = False
    for name, span in zip(stage.origins, spans, strict=False):
        for fault in _named(spec, index, name, span):
            wrong = True
            yield fault
    if not wrong:
        yield from _repeated(stage, spans)
    yield from _mixed(stage, root, index, place.span)


def _named(spec: Spec, index: int, name: str, span: Span) -> Iterator[Diagnostic]:
    names = [stage.name for stage in spec.stages]
    first, dot, state = name.partition(".")
    if first == SOURCES:
        if not dot:
            help = f"write {listed((f'{SOURCES}.{each}' for each in spec.sources), 'or')}" if spec.sources else _ADD
            yield Diagnostic("GROW121", f"`{SOURCES}` is no state, but those of several models", help, span)
        elif state not in spec.sources:
            help = guess(state, spec.sources) or _ADD
            yield Diagnostic("GROW121", f"no source is called {quoted(state)}", help, span)
    elif first == SOURCE:
        if dot:
            message = f"the model itself has no state {quoted(state)}"
            yield Diagnostic("GROW121", message, f"write `{SOURCE}`, or `{SOURCES}.NAME` for another model", span)
    elif index == 0:
        help = "remove `from`; the first stage starts from the model"
        yield Diagnostic("GROW124", "nothing comes before the first stage", help, span)
    elif first not in names:
        help = guess(first, [*names[:index], SOURCE])
        yield Diagnostic("GROW121", f"no stage is called `{first}`", help, span)
    elif first not in names[:index]:
        what = "the stage itself" if first == spec.stages[index].name else "a later stage"
        help = f"a stage can start from {listed(names[:index], 'or')}; move `{first}` up if it comes first"
        yield Diagnostic("GROW122", f"`{first}` is {what}", help, span)
    elif dot and state != STABLE:
        help = f"write `{first}` for its end, or `{first}.{STABLE}` for its state before the anneal"
        yield Diagnostic("GROW121", f"a stage has no state `{state}`", help, span)
    elif dot and not _anneals(spec, spec.stages[names.index(first)]):
        message = f"`{first}` has no anneal, so it has no state before it"
        if _falls_all_along(spec, spec.stages[names.index(first)]):
            message = f"the learning rate of `{first}` falls from its warm-up on, so it has no stable state"
        yield Diagnostic("GROW123", message, f"write `{first}`", span)


_ADD = "add it under `sources`, as `sources: {NAME: {path: FOLDER}}`"


def _anneals(spec: Spec, stage: Stage) -> bool:
    if stage.train is None:
        return False
    schedule = spec.training_for(stage).schedule
    return isinstance(schedule, Wsd) and schedule.anneal > 0


def _falls_all_along(spec: Spec, stage: Stage) -> bool:
    return stage.train is not None and isinstance(spec.training_for(stage).schedule, Cosine)


def _repeated(stage: Stage, spans: list[Span]) -> Iterator[Diagnostic]:
    for position, name in enumerate(stage.origins):
        if name in stage.origins[:position]:
            yield Diagnostic("GROW127", f"`{name}` is listed twice", "list each state once", spans[position])


def _mixed(stage: Stage, root: Node, index: int, span: Span) -> Iterator[Diagnostic]:
    """Whether as many states are listed as the operators of the stage take."""
    several, grow = len(stage.origins) > 1, list(stage.grow or ())
    if several and not (grow and isinstance(grow[0], Mixes)):
        what = f"`{grow[0].op}` grows one model" if grow else f"`{stage.name}` trains, which goes on from one state"
        message = f"{what}, and `from` lists {len(stage.origins)}"
        yield Diagnostic("GROW125", message, "keep one, or mix them by an operator that does, in a stage before", span)
    for position, operator in enumerate(grow):
        if not isinstance(operator, Mixes) or (position == 0 and several):
            continue
        at = nearest(root, ("stages", index, "grow", position, "op")).span
        if position:
            message = f"`{operator.op}` mixes several models, and finds the one that `{grow[0].op}` made"
            yield Diagnostic("GROW126", message, "make it the first operator of a stage of its own", at)
        else:
            message = f"`{operator.op}` mixes several models, and `{stage.name}` starts from one"
            yield Diagnostic("GROW126", message, "list their states, as `from: [source, NAME, NAME]`", at)


def unused(specs: list[Spec], root: Node) -> Iterator[Diagnostic]:
    """The sources from which no stage of any of `specs` starts: those that are meant at the points of a sweep."""
    used = {origin.source for spec in specs for at in range(len(spec.stages)) for origin in origins(spec, at)}
    for name in dict.fromkeys(name for spec in specs for name in spec.sources):
        if name not in used:
            help = f"write `from: {SOURCES}.{name}` in a stage, or remove it"
            place = nearest(root, (SOURCES, name))
            yield Diagnostic("GROW128", f"no stage starts from `{SOURCES}.{name}`", help, place.span)
