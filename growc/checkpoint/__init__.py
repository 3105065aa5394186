"""Weights and training state on disk, read and written by streams, whole or not at all."""
