"""A fuzzer for `growc grow` and what it reads: `python -m tests.fuzz --seconds 600 --seed 1`."""
