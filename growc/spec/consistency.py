"""What a spec must fulfil beyond each value's own type, as far as it can be told without the model."""

from __future__ import annotations

from collections.abc import Iterator

from growc.diagnostics import Diagnostic, Span
from growc.spec.nodes import Node, Path, nearest
from growc.spec.origins import RESERVED, check_origins
from growc.spec.schema import AdamW, Data, Model, Sgd, Spec, Stage, Wsd
from growc.spec.wording import guess, listed

LARGEST_DECAY = 0.98
"""Of a mean that is kept in bf16.

Its 8 significant bits round by up to 2^-8 of what is kept, and a step moves the mean by 1 - decay of what it is away
from the gradient (or its square). So it stands still while it is 2^-8 / (1 - decay) of itself away: 8 % at 0.95, a
fifth at 0.98, and from 1 - 2^-8 (0.996) on all of it, so that it never falls again. AdamW divides by the root of the
second moment: a fifth there is a tenth of an update.
"""


def check(spec: Spec, root: Node, *, allow_code: bool) -> Iterator[Diagnostic]:
    """Every contradiction in a spec; `root` gives the places."""

    def at(*path: str | int) -> Span:
        return nearest(root, path).span

    models: dict[Path, Model] = {("model",): spec.model, **{("sources", n): m for n, m in spec.sources.items()}}
    for place, model in models.items():
        if model.module is not None and not allow_code:
            message = "`module` runs Python code of yours"
            yield Diagnostic("GROW114", message, "say --allow-code if you trust it", at(*place, "module"))
    for index, stage in enumerate(spec.stages):
        yield from _name(spec, root, index)
        yield from check_origins(spec, root, index)
        if stage.train is not None:
            yield from _training(spec, root, index)
    if spec.data is not None and (total := sum(spec.data.parts.values())) > 1 + 1e-9:
        message = f"the parts sum to {total:g}, which is more than all of the data"
        yield Diagnostic("GROW131", message, "they are fractions and must not overlap", at("data", "parts"))
    if spec.baselines and all(stage.grow is None for stage in spec.stages):
        message = "baselines compare with growth, and no stage grows"
        yield Diagnostic("GROW135", message, "add a grow stage, or remove them", at("baselines"))


def _name(spec: Spec, root: Node, index: int) -> Iterator[Diagnostic]:
    """A stage's own name."""
    name, names = spec.stages[index].name, [stage.name for stage in spec.stages]
    span = nearest(root, ("stages", index, "name")).span
    if (first := names.index(name)) < index:
        line = nearest(root, ("stages", first, "name")).span.line
        help = f"the first is on line {line}; give one another name"
        yield Diagnostic("GROW120", f"a second stage is called `{name}`", help, span)
    if name in RESERVED:
        yield Diagnostic("GROW129", f"no stage can be called `{name}`", "choose another name", span)


def _training(spec: Spec, root: Node, index: int) -> Iterator[Diagnostic]:
    """What a train stage trains on, and how."""
    stage, data = spec.stages[index], spec.data
    assert stage.train is not None
    place: Path = ("stages", index, "train")
    if data is None:
        message = f"`{stage.name}` trains, and the spec has no `data`"
        yield Diagnostic("GROW134", message, "add `data: {train: {kind: python_source}}`", nearest(root, place).span)
    else:
        yield from _part(data, stage, root, place)
        yield from _batch(spec, stage, data, root, place)
    schedule = spec.training_for(stage).schedule
    if isinstance(schedule, Wsd) and schedule.warmup + schedule.anneal > 1 + 1e-9:
        own = stage.train.schedule is not None
        span = nearest(root, (*place, "schedule") if own else ("training", "schedule")).span
        message = f"warmup {schedule.warmup:g} and anneal {schedule.anneal:g} are more than the whole stage"
        yield Diagnostic("GROW133", message, "both are fractions of one stage; let them sum to at most 1", span)
    yield from _moments(spec, root, index)


def _moments(spec: Spec, root: Node, index: int) -> Iterator[Diagnostic]:
    """Whether moments in bf16 would follow the gradients."""
    own, training = spec.stages[index].train, spec.training_for(spec.stages[index])
    assert own is not None
    if training.precision.moments == "fp32":
        return
    stage: Path = ("stages", index, "train")
    if isinstance(training.optimizer, Sgd):
        here = own.precision is not None and "moments" in own.precision.model_fields_set
        span = nearest(root, (*(stage if here else ("training",)), "precision", "moments")).span
        message = "sgd keeps no mean of gradients that could be bf16"
        yield Diagnostic("GROW635", message, "leave moments at fp32, or train with adamw or muon", span)
        return
    for key in ("beta1", "beta2") if isinstance(training.optimizer, AdamW) else ("momentum", "beta1", "beta2"):
        decay = getattr(training.optimizer, key)
        if decay > LARGEST_DECAY:  # which no default is
            here = own.optimizer is not None and key in own.optimizer.model_fields_set
            span = nearest(root, (*(stage if here else ("training",)), "optimizer", key)).span
            message = f"a mean that decays by {key} {decay:g} moves by less than bf16 resolves"
            help = f"set {key} to at most {LARGEST_DECAY:g}, or precision.moments to fp32"
            yield Diagnostic("GROW636", message, help, span)


def _part(data: Data, stage: Stage, root: Node, place: Path) -> Iterator[Diagnostic]:
    assert stage.train is not None
    part = stage.train.data
    if part in data.parts:
        return
    span = nearest(root, (*place, "data")).span
    if "data" in stage.train.model_fields_set:
        yield Diagnostic("GROW130", f"the data has no part `{part}`", guess(part, data.parts), span)
    else:
        message = f"`{stage.name}` does not say which part of the data it trains on"
        yield Diagnostic("GROW130", message, f"add `data:` with {listed(data.parts, 'or')}", span)


def _batch(spec: Spec, stage: Stage, data: Data, root: Node, place: Path) -> Iterator[Diagnostic]:
    tokens, length = spec.training_for(stage).batch_tokens, data.sequence_length
    if tokens % length == 0:
        return
    assert stage.train is not None
    if stage.train.batch_tokens is not None:
        span = nearest(root, (*place, "batch_tokens")).span
    elif "batch_tokens" in spec.training.model_fields_set:
        span = nearest(root, ("training", "batch_tokens")).span
    else:
        span = nearest(root, ("data", "sequence_length")).span
    below = tokens // length * length
    message = f"a batch of {tokens} tokens is not a whole number of sequences of {length}"
    help = f"set batch_tokens to {below} or {below + length}" if below else f"set batch_tokens to {length} or more"
    yield Diagnostic("GROW132", message, help, span)
