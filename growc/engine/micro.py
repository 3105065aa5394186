"""How many sequences a rank computes at once; gradients of the rest of its share are added up."""

from __future__ import annotations

from growc.diagnostics import fail
from growc.spec.training import AUTO_TOKENS, Training


def micro_batch(training: Training, sequence_length: int, ranks: int) -> int:
    """Sequences in a micro-batch: `training.micro_batch`, or the most that divide a rank's share and have few tokens.

    Errors: GROW623 (ranks do not divide the batch), GROW625 (micro-batches do not divide a rank's share).
    """
    sequences = training.batch_tokens // sequence_length
    if sequences % ranks:
        fail("GROW623", f"a batch of {sequences} sequences does not divide among {ranks} ranks",
             help="make batch_tokens a multiple of sequence_length * ranks")  # fmt: skip
    share, asked = sequences // ranks, training.micro_batch
    if asked == "auto":
        return max(n for n in range(1, share + 1) if share % n == 0 and (n == 1 or n * sequence_length <= AUTO_TOKENS))
    if share % asked:
        fail("GROW625", f"micro-batches of {asked} sequences do not divide a rank's share of {share}",
             help="set training.micro_batch to a divisor of batch_tokens / sequence_length / ranks")  # fmt: skip
    return asked
