"""growc: a compiler for growing neural networks."""

__version__ = "0.1.0"
