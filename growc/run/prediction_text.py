"""What is known of a growth before a weight is touched, in a sentence."""

from __future__ import annotations

from growc.diagnostics.invariant import bound
from growc.measures.skipping import Skipping
from growc.run.grow import DryRun, Prediction


def change_says(nats: float, digits: str = "+.1e") -> str:
    """The change of a loss; its digits only where they are more than rounding."""
    most = bound("loss", nats)
    return f"by less than {most:.0e} nats" if most else f"{nats:{digits}} nats"


def prediction_says(before: float, prediction: Prediction) -> str:
    """What plain duplication would do, by the K_eff law; `before` is the validation loss in nats."""
    mean = sum(prediction.k_eff.values()) / len(prediction.k_eff)
    loss = float(prediction.losses.mean())
    return (
        f"plain duplication would meet {mean:.2f} different experts per token (K_eff) and move the validation loss "
        f"{before:.4f} -> {loss:.4f} ({change_says(loss - before, '+.4f')}, predicted on the source)"
    )


def dry_run_says(before: float, dry: DryRun) -> str:
    """What a release of siblings would do, by a dry run; `before` is the validation loss in nats."""
    rates = list(dry.collisions.values())
    loss = float(dry.losses.mean())
    return (
        f"free siblings would collide in {min(rates):.1%} to {max(rates):.1%} of the selections of a layer and move "
        f"the validation loss {before:.4f} -> {loss:.4f} ({change_says(loss - before, '+.4f')}, by a dry run)"
    )


def skipping_says(before: float, skipping: Skipping) -> str:
    """What dynamic skipping would do; `before` is the validation loss in nats without it."""
    shares = list(skipping.skipped.values())
    loss = float(skipping.losses.mean())
    return (
        f"dynamic skipping would leave out {min(shares):.1%} to {max(shares):.1%} of the expert calls of a layer and "
        f"move the validation loss {before:.4f} -> {loss:.4f} ({change_says(loss - before, '+.4f')}, measured)"
    )
