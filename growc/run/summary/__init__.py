"""`summary.json`: what every stage reached, and how every arm compares with its controls."""

from growc.run.summary.write import write_summary

__all__ = ["write_summary"]
