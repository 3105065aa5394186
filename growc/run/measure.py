"""`growc check --measure`: load the source, and settle what the static checks could only list.

One process, the weights as they are: the K_eff prediction and the loss before and after each growth that starts from
the source itself. Growth after training can only be measured by the run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from growc.checks.findings import Context, Findings, loss_limit
from growc.data import open_corpus, prepare
from growc.diagnostics import Diagnostic, Severity, fail
from growc.diagnostics.invariant import Invariant, bound
from growc.engine.distribute import alone, build_model
from growc.engine.layout import Layout
from growc.engine.losses import ready_head, validation_losses
from growc.growth.graph import GrowNode, State
from growc.measures.calibration import Parent
from growc.operators.facets import LetsSiblingsCompete, free_top_k_of
from growc.records.folder import RunFolder
from growc.records.loss_invariant import loss_status
from growc.run import grow as growing
from growc.run.prediction_text import dry_run_says, prediction_says, skipping_says
from growc.run.source import write_source
from growc.run.state import load_state


def measure(context: Context) -> Findings:
    """Measure every grow stage that starts from the source.

    Raises:
        GrowcError: the spec has no data, the source has no weights, or no growth starts from it.
    """
    spec = context.loaded.spec
    nodes = [node for node in context.graph.grow_nodes() if node.starts == (State(None),)]
    measurable = [node for node in nodes if node.root.source.kind != "config"]
    if spec.data is None:
        fail("GROW451", "there is no data to measure on", help="add a data section to the spec",
             span=context.loaded.span("name"))  # fmt: skip
    if not measurable:
        what = "the model is only a config, without weights" if nodes else "no growth starts from the source itself"
        fail("GROW452", f"nothing can be measured before the run: {what}",
             help="the run measures every growth; `growc check` without --measure proves the operators on a twin",
             span=context.loaded.span("model"))  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="growc-measure-") as folder:
        root = Path(folder)
        vocabulary = min(node.root.model.config["vocab_size"] for node in measurable)
        prepare(spec.data, vocabulary, root / "data", context.loaded.base_dir, spec.training.seed)
        with alone():
            return sum((_measure(context, node, root) for node in measurable), Findings())


def _measure(context: Context, node: GrowNode, root: Path) -> Findings:
    spec, device = context.loaded.spec, torch.device("cpu")
    assert spec.data is not None
    corpus = open_corpus(root / "data")
    windows = corpus.validation.windows(spec.data.sequence_length, spec.data.validation.sequences)
    place = growing.Place(Layout(1, 1), device, node.training.precision.compute, node.training.seed, windows)
    source = RunFolder(root).source(node.root.key, place.seed if node.root.source.drawn else None)
    if not source.exists():
        write_source(source, node.root, node.loaded.base_dir, place.seed)
    model = build_model(node.root.model.config, place.layout, device, place.seed, place.precision)
    _, state = load_state(source, model)
    ready_head(model, device)
    before = validation_losses(model, windows, device).mean()

    tokens = corpus.part(node.data) if node.data else None
    sequences = node.training.batch_tokens // spec.data.sequence_length

    def batches(count: int) -> list[torch.Tensor]:
        assert tokens is not None
        length = context.graph.source.cost.sequence_length
        return [torch.from_numpy(tokens.batch(place.seed, i, sequences, length)) for i in range(count)]

    graph, detail = node.root.model, ""
    for index, rewrite in enumerate(node.rewrites):
        planned = growing.replan(rewrite, graph)
        decision = growing.decide(planned, [Parent(model, state)], batches, place)
        replicas = {site: decision.replicas[site.layer] for site in planned.mixtures}
        law = index == 0 and free_top_k_of(planned.operator)
        prediction = growing.predict(model, graph, replicas, place) if law else None
        if prediction:
            detail = prediction_says(float(before), prediction)
        if isinstance(planned.operator, LetsSiblingsCompete):
            detail = dry_run_says(float(before), growing.dry_run(model, planned.mixtures, place))
        model, graph, state = growing.apply(planned, decision, [Parent(model, state)], place)
        if skipping := growing.skipping(planned, model, graph, batches, place):
            now = validation_losses(model, windows, device).mean()
            detail = skipping_says(float(now), skipping)
    after = validation_losses(model, windows, device).mean()
    increase = float(after - before)
    limit, loaded = loss_limit(node) or (None, None)
    status = loss_status(increase, limit)
    told = bound("loss", increase, limit) or increase
    invariant = Invariant(
        "loss", node.name, status, told, limit,
        f"measured {float(before):.4f} -> {float(after):.4f}; {detail}",
    )  # fmt: skip
    finding = Diagnostic(
        "GROW450", f"growth in stage {node.name} raises the validation loss by {increase:.2e} nats, over {limit}",
        "relax invariants.loss.max_increase, or grow with an exact operator",
        loaded.span("invariants", "loss", "max_increase") if loaded else None, Severity.ERROR,
    )  # fmt: skip
    return Findings((finding,) if status == "broken" else (), (invariant,))
