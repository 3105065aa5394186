"""Training data: found, split without overlap, tokenized once, and drawn by step."""

from growc.data.corpus import Corpus, open_corpus
from growc.data.prepare import prepare
from growc.data.sampler import Tokens

__all__ = ["Corpus", "Tokens", "open_corpus", "prepare"]
