"""Tests of the second account of growths."""
