"""Training data: found, split without overlap, tokenized once, and drawn by step."""

from growc.run.data.corpus import Corpus, open_corpus
from growc.run.data.prepare import prepare
from growc.run.data.sampler import Tokens

__all__ = ["Corpus", "Tokens", "open_corpus", "prepare"]
