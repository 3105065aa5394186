"""Checkpoints whose experts are replicas, stored as bases and deltas, and given back byte for byte."""
